"""ValidatingAdmissionPolicy: policies with bindings refuse writes, warn about them, or note them for the audit.

Upstream: apiserver/pkg/admission/plugin/policy/validating/dispatcher.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import orjson

from timonel.aio.clock import stopwatch
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.errors import Cause, StatusError
from timonel.records import dataclass
from timonel.server.admission.attributes import name_of
from timonel.server.admission.expressions import settled
from timonel.server.admission.policies.decisions import Refusal, Rules
from timonel.server.admission.policies.invocations import (
    Around,
    Invocation,
    given,
    invocations,
    namespace_object,
)
from timonel.server.admission.policies.source import BoundTo, Policy, Source
from timonel.server.request import AdmissionCall, OnlyValidates, Operation

POLICIES = "validatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "validatingadmissionpolicybindings.admissionregistration.k8s.io"
FAILURE = "validation.policy.admission.k8s.io/validation_failure"
LONGEST_ANNOTATION = 10 * 1024

_BY_REASON: dict[str, type[StatusError]] = {
    "Forbidden": errors.Forbidden,
    "Unauthorized": errors.Unauthorized,
    "RequestEntityTooLarge": errors.RequestEntityTooLarge,
    "Invalid": errors.Invalid,
}


@dataclass(frozen=True, slots=True)
class _Denied:
    policy: Policy
    binding: BoundTo | None
    message: str
    reason: str = ""


class ValidatingPolicies(OnlyValidates):
    name = "ValidatingAdmissionPolicy"

    def __init__(self, around: Around, forget: Callable[[], None]) -> None:
        self._around = around
        self._source = Source(
            POLICIES, BINDINGS, reader=around.reader, places=around.forms.places, forget=forget
        )

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return self._source.handles(resource, subresource, operation)

    async def validate(self, call: AdmissionCall) -> None:
        found = await invocations(self._around, self._source.active, call)
        denied = [
            _Denied(m.policy, m.binding, m.text) for m in found.misconfigured if not m.policy.fails_open
        ]
        if found.invocations:
            namespace = namespace_object(self._around, call)
            annotations: dict[str, list[str]] = {}
            for invocation in found.invocations:
                started = stopwatch()
                seen = await given(self._around, found, invocation, call, namespace)
                result = await settled(partial(_rules_of(invocation.policy).decide, seen))
                for refusal in result.refusals:
                    denied += _acted(call, invocation, refusal)
                self._count(invocation, result.refusals, stopwatch() - started)
                for key, value in result.annotations:
                    values = annotations.setdefault(f"{invocation.policy.name}/{key}", [])
                    value = value[:LONGEST_ANNOTATION]
                    if value not in values:
                        values.append(value)
                denied += (_Denied(invocation.policy, invocation.binding, text) for text in result.problems)
            for key, values in annotations.items():
                call.annotations[key] = ", ".join(values)
        if denied:
            raise _refused(call, denied[0])

    def _count(self, invocation: Invocation, refusals: Sequence[Refusal], seconds: float) -> None:
        names = (invocation.policy.name, invocation.binding.name)
        if not refusals:
            self._around.figures.checked("validating", *names, "allow", "no_error", seconds)
        for refusal in refusals:
            error = "no_error" if refusal.reason else "invalid_error"
            for action in invocation.binding.spec.get("validationActions") or ():
                self._around.figures.checked("validating", *names, action.lower(), error, seconds)


def _rules_of(policy: Policy) -> Rules:
    if policy.compiled is None:
        policy.compiled = Rules(policy.spec)
    rules: Rules = policy.compiled
    return rules


def _acted(call: AdmissionCall, invocation: Invocation, refusal: Refusal) -> list[_Denied]:
    """Do with a refusal what the binding wants; those that deny are returned."""
    policy, binding = invocation.policy, invocation.binding
    denied = []
    for action in binding.spec.get("validationActions") or ():
        if action == "Deny":
            denied.append(_Denied(policy, binding, refusal.message, refusal.reason))
        elif action == "Warn":
            call.warnings.append(
                f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': "
                f"{refusal.message}"
            )
        else:
            call.annotations[FAILURE] = _failure(invocation, refusal)
    return denied


def _failure(invocation: Invocation, refusal: Refusal) -> str:
    spec = invocation.binding.spec
    value = {
        "message": refusal.message,
        "policy": spec["policyName"],
        "binding": invocation.binding.name,
        "expressionIndex": refusal.index,
        "validationActions": spec.get("validationActions") or [],
    }
    return orjson.dumps([value]).decode()


def _refused(call: AdmissionCall, denied: _Denied) -> StatusError:
    by = f"ValidatingAdmissionPolicy '{denied.policy.name}'"
    if denied.binding is not None:
        by += f" with binding '{denied.binding.name}'"
    text = f"{by} denied request: {denied.message}"
    rtype, name = call.resource, name_of(call)
    message = errors.forbidden(rtype.plural, name, text, rtype.group).message
    kind = _BY_REASON.get(denied.reason or "Invalid", errors.Invalid)
    return kind(message, name=name, group=rtype.group, kind=rtype.plural, causes=[Cause("", text)])
