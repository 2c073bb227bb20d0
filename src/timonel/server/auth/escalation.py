"""Nobody grants what they do not hold: the check on writes of roles and bindings.

It runs after mutating admission and before validation, as upstream's storage layer does.
Upstream: pkg/registry/rbac/*/policybased/storage.go, pkg/registry/rbac/validation/rule.go (ConfirmNoEscalation).
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.objects.meta import Object
from timonel.server.auth import rules as rulelib
from timonel.server.auth.rbac import GROUP, RbacAuthorizer, RoleMissing
from timonel.server.auth.rules import Rule
from timonel.server.auth.union import MASTERS
from timonel.server.request import AdmissionCall, Attributes, Authorizer, Operation, User, Verdict

_ROLES, _BINDINGS = ("roles", "clusterroles"), ("rolebindings", "clusterrolebindings")


class EscalationCheck:
    """Runs in the mutating phase, where it changes nothing: its place in the order is before validation."""

    name = "RBACEscalationCheck"
    stores = True

    def __init__(self, rbac: RbacAuthorizer, authorizer: Authorizer) -> None:
        self._rbac = rbac
        self._authorizer = authorizer

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return (
            resource.group == GROUP and not subresource and operation in (Operation.CREATE, Operation.UPDATE)
        )

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        if MASTERS in call.user.groups:
            return
        if call.resource.plural in _ROLES:
            self._check_role(call, call.obj)
        else:
            self._check_binding(call, call.obj)

    async def validate(self, call: AdmissionCall) -> None:
        """Nothing: see admit."""

    def _check_role(self, call: AdmissionCall, role: Object) -> None:
        changes = call.old is None or any(
            (role.get(key) or None) != (call.old.get(key) or None) for key in ("rules", "aggregationRule")
        )
        if not changes or self._may(call, "escalate", call.resource.plural, call.name):
            return
        self._confirm(call, role.get("rules") or [])
        if "aggregationRule" in role and self._missing(call.user, "", rulelib.EVERYTHING):
            raise errors.forbidden(
                call.resource.plural,
                call.name,
                "must have cluster-admin privileges to use the aggregationRule",
                GROUP,
            )

    def _check_binding(self, call: AdmissionCall, binding: Object) -> None:
        if call.old is not None and all(
            (binding.get(key) or None) == (call.old.get(key) or None) for key in ("roleRef", "subjects")
        ):
            return
        ref = binding.get("roleRef") or {}
        kind, name = ref.get("kind", ""), ref.get("name", "")
        if kind not in ("Role", "ClusterRole") or not name:
            return  # validation refuses it
        if self._may(call, "bind", f"{kind.lower()}s", name):
            return
        try:
            wanted = self._rbac.rules_of(kind, call.namespace, name)
        except RoleMissing as e:
            raise errors.not_found(call.resource.plural, name, GROUP) from e
        self._confirm(call, wanted)

    def _may(self, call: AdmissionCall, verb: str, resource: str, name: str) -> bool:
        asked = Attributes(
            call.user, verb, group=GROUP, version="v1", resource=resource, namespace=call.namespace, name=name
        )
        return self._authorizer.authorize(asked).verdict is Verdict.ALLOW

    def _missing(self, user: User, namespace: str, wanted: Sequence[Rule]) -> list[Rule]:
        held, _ = self._rbac.rules_for(user, namespace)
        return rulelib.uncovered(held, wanted)

    def _confirm(self, call: AdmissionCall, wanted: Sequence[Rule]) -> None:
        held, problems = self._rbac.rules_for(call.user, call.namespace)
        missing = rulelib.uncovered(held, wanted)
        if not missing:
            return
        lines = sorted(map(rulelib.describe, rulelib.compact(missing)))
        why = (
            f"user {quote(call.user.name)} (groups=[{' '.join(map(quote, call.user.groups))}]) is attempting to grant"
            " RBAC permissions not currently held:\n" + "\n".join(lines)
        )
        if problems:
            why += f"; resolution errors: [{', '.join(problems)}]"
        raise errors.forbidden(call.resource.plural, call.name, why, GROUP)
