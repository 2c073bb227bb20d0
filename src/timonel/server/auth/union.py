"""Several authorizers as one: the first that allows or denies decides; those without an opinion add their reasons.

Upstream: apiserver/pkg/authorization/union/union.go, authorizerfactory/builtin.go (privileged groups).
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.server.request import Attributes, Authorizer, Decision, Verdict

MASTERS = "system:masters"

_ALLOW = Decision(Verdict.ALLOW)
_NO_OPINION = Decision(Verdict.NO_OPINION)


class PrivilegedGroup:
    """Members of system:masters may do everything, whatever the policy says."""

    def authorize(self, attributes: Attributes) -> Decision:
        return _ALLOW if MASTERS in attributes.user.groups else _NO_OPINION


class UnionAuthorizer:
    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, attributes: Attributes) -> Decision:
        reasons: list[str] = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(attributes)
            if decision.verdict is not Verdict.NO_OPINION:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(Verdict.NO_OPINION, "\n".join(reasons)) if reasons else _NO_OPINION
