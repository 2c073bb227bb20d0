"""Which policies a call is for: each with a binding and an object of parameters is one invocation.

Upstream: apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from timonel.machinery import errors
from timonel.machinery.errors import StatusError
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.admission.expressions import Given
from timonel.server.admission.figures import Figures
from timonel.server.admission.forms import Form, Forms
from timonel.server.admission.matching import Match
from timonel.server.admission.policies.params import BadParams, Params, shown_kind
from timonel.server.admission.policies.source import BoundTo, Policy
from timonel.server.request import AdmissionCall, Authorizer, Reader


@dataclass(frozen=True, slots=True)
class Around:
    """What the policies of one server need."""

    reader: Reader
    forms: Forms
    params: Params
    authorizer: Authorizer
    figures: Figures


@dataclass(frozen=True, slots=True)
class Invocation:
    policy: Policy
    binding: BoundTo
    form: Form
    param: Object | None

    @property
    def key(self) -> str:
        """Tells invocations apart, over the rounds of one call."""
        metadata = (self.param or {}).get("metadata") or {}
        return "/".join(
            (self.policy.name, self.binding.name, metadata.get("namespace", ""), metadata.get("name", ""))
        )


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """A policy, or a binding of it, that cannot be asked."""

    policy: Policy
    binding: BoundTo | None
    why: str

    @property
    def text(self) -> str:
        return f"failed to configure {'policy' if self.binding is None else 'binding'}: {self.why}"


@dataclass(slots=True)
class Found:
    own: Form
    invocations: list[Invocation] = field(default_factory=list)
    misconfigured: list[Misconfigured] = field(default_factory=list)


async def invocations(around: Around, policies: Sequence[Policy], call: AdmissionCall) -> Found:
    own, others = around.forms.of(call)
    found = Found(own)
    for policy in policies:
        try:
            form = _form(policy.match, own, others, call, around.reader)
        except StatusError as error:
            found.misconfigured.append(Misconfigured(policy, None, error.message))
            continue
        if form is None:
            continue
        kind = policy.spec.get("paramKind")
        if kind is not None and around.params.endpoint(kind) is None:
            why = f"failed to find resource referenced by paramKind: '{shown_kind(kind)}'"
            found.misconfigured.append(Misconfigured(policy, None, why))
            continue
        for binding in policy.bindings:
            try:
                if binding.match is not None and not _matches(
                    binding.match, own, others, call, around.reader
                ):
                    continue
                params = await around.params.of(kind, binding.spec.get("paramRef"), call.namespace)
            except (StatusError, BadParams, ValueError) as error:
                why = error.message if isinstance(error, StatusError) else str(error)
                found.misconfigured.append(Misconfigured(policy, binding, why))
                continue
            found.invocations += (Invocation(policy, binding, form, param) for param in params)
    return found


def _form(
    criteria: Match, own: Form, others: Sequence[Form], call: AdmissionCall, reader: Reader
) -> Form | None:
    if not criteria.selects_object(call.obj, call.old):
        return None
    place = criteria.place(own.place, [f.place for f in others], call)
    if place is None or not criteria.selects(call, reader):
        return None
    return own if place == own.place else next(f for f in others if f.place == place)


def _matches(criteria: Match, own: Form, others: Sequence[Form], call: AdmissionCall, reader: Reader) -> bool:
    """A binding without rules matches whatever its policy does."""
    if criteria.rules:
        return _form(criteria, own, others, call, reader) is not None
    places = [own.place, *(f.place for f in others)]
    operation, name = call.operation.value, call.name
    if any(r.matches(p, operation, call.namespace, name) for r in criteria.excluded for p in places):
        return False
    return criteria.selects(call, reader)


def namespace_object(around: Around, call: AdmissionCall) -> Object | None:
    """The namespace that a call is in. Raises NotFound."""
    if not call.namespace or call.resource.qualified == "namespaces":
        return None
    found = around.reader.get("namespaces", "", call.namespace)
    if found is None:
        raise errors.not_found("namespaces", call.namespace)
    return found


async def given(
    around: Around, found: Found, invocation: Invocation, call: AdmissionCall, namespace: Object | None
) -> Given:
    """What the expressions of an invocation see now."""
    form = invocation.form
    return Given(
        call,
        form,
        found.own,
        None if call.obj is None else await form.show(call.obj),
        None if call.old is None else await form.show(call.old),
        around.authorizer,
        namespace,
        invocation.param,
        invocation.policy.spec.get("paramKind") is not None,
    )
