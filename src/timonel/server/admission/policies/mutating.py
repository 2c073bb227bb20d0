"""MutatingAdmissionPolicy: policies with bindings change writes. Who is asked again follows the rules of webhooks.

Upstream: apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from timonel.aio.clock import stopwatch
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.errors import Cause, StatusError
from timonel.machinery.field import quote
from timonel.server.admission.attributes import name_of
from timonel.server.admission.expressions import EvaluationFailed, settled
from timonel.server.admission.policies.invocations import (
    Around,
    Found,
    Invocation,
    given,
    invocations,
    namespace_object,
)
from timonel.server.admission.policies.patches import MutationFailed, Mutations
from timonel.server.admission.policies.source import BoundTo, Policy, Source
from timonel.server.admission.reinvocation import Reinvocation
from timonel.server.request import AdmissionCall, OnlyMutates, Operation

POLICIES = "mutatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"


class MutatingPolicies(OnlyMutates):
    name = "MutatingAdmissionPolicy"

    def __init__(self, around: Around, forget: Callable[[], None]) -> None:
        self._around = around
        self._source = Source(
            POLICIES, BINDINGS, reader=around.reader, places=around.forms.places, forget=forget
        )

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return self._source.handles(resource, subresource, operation)

    async def admit(self, call: AdmissionCall) -> None:
        found = await invocations(self._around, self._source.active, call)
        problems = [
            _text(m.policy, m.binding, m.text) for m in found.misconfigured if not m.policy.fails_open
        ]
        reason = ""
        if found.invocations:
            told = await self._run(found, call)
            if told and not problems:
                reason = "Invalid"
            problems += told
        if problems:
            raise _refused(call, problems, reason)

    async def _run(self, found: Found, call: AdmissionCall) -> list[str]:
        """Carry out all invocations; the problems of those that fail closed."""
        memory: Reinvocation = call.memory.setdefault(self.name, Reinvocation())
        memory.begin(call)
        namespace = namespace_object(self._around, call)
        problems: list[str] = []
        for invocation in found.invocations:
            mutations = _mutations_of(invocation.policy)
            seen = await given(self._around, found, invocation, call, namespace)
            try:
                if mutations.conditions is not None and not await settled(
                    partial(mutations.conditions.are_met, seen)
                ):
                    continue
            except EvaluationFailed as failure:
                problems += _told(invocation, str(failure))
                continue
            if memory.skips(call, invocation.key):
                continue
            before, started, failed = call.obj, stopwatch(), False
            for step, is_patch in mutations.steps:
                if call.obj is None:
                    break
                seen = await given(self._around, found, invocation, call, namespace)
                endpoint = getattr(invocation.form, "endpoint", None)
                try:
                    after = await settled(partial(mutations.mutated, step, is_patch, seen, endpoint))
                    call.obj = await invocation.form.take(after, call.obj)
                except MutationFailed as failure:
                    failed = True
                    problems += _told(invocation, str(failure))
            self._count(invocation, failed, stopwatch() - started)
            if call.obj != before:
                memory.changed()
                call.again = True
            if invocation.policy.spec.get("reinvocationPolicy") == "IfNeeded":
                memory.invoked.add(invocation.key)
        memory.end(call)
        return problems

    def _count(self, invocation: Invocation, failed: bool, seconds: float) -> None:
        names = (invocation.policy.name, invocation.binding.name)
        action, error = ("deny", "invalid_error") if failed else ("allow", "no_error")
        self._around.figures.checked("mutating", *names, action, error, seconds)


def _mutations_of(policy: Policy) -> Mutations:
    if policy.compiled is None:
        policy.compiled = Mutations(policy.spec)
    mutations: Mutations = policy.compiled
    return mutations


def _told(invocation: Invocation, why: str) -> list[str]:
    policy = invocation.policy
    return [] if policy.fails_open else [_text(policy, invocation.binding, why)]


def _text(policy: Policy, binding: BoundTo | None, why: str) -> str:
    if binding is None:
        return f"policy {quote(policy.name)} denied request: {why}"
    return f"policy '{policy.name}' with binding '{binding.name}' denied request: {why}"


def _refused(call: AdmissionCall, problems: list[str], reason: str) -> StatusError:
    rtype = call.resource
    kind = errors.Invalid if reason == "Invalid" else errors.Forbidden
    return kind(
        problems[0],
        name=name_of(call),
        group=rtype.group,
        kind=rtype.plural,
        causes=[Cause("", problem) for problem in problems],
        code=403,
    )
