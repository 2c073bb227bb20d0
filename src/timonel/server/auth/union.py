"""Several authorizers as one: the first that allows or denies decides; those without an opinion add their reasons.

Upstream: apiserver/pkg/authorization/union/union.go, authorizerfactory/builtin.go.
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


class Always:
    """The modes AlwaysAllow and AlwaysDeny."""

    def __init__(self, verdict: Verdict) -> None:
        self._decision = Decision(verdict, "" if verdict is Verdict.ALLOW else "Everything is forbidden.")

    def authorize(self, attributes: Attributes) -> Decision:
        return self._decision


class UnionAuthorizer:
    """`waits`: whether one of them may be Undecided."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers: tuple[Authorizer, ...] = ()
        self.waits = False
        self.replace(authorizers)

    def replace(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)
        self.waits = any(getattr(a, "waits", False) for a in self._authorizers)

    def authorize(self, attributes: Attributes) -> Decision:
        reasons: list[str] = []
        problems: list[str] = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(attributes)
            if decision.problem:
                problems.append(decision.problem)
            if decision.verdict is not Verdict.NO_OPINION:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        if not reasons and not problems:
            return _NO_OPINION
        problem = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]" if problems else ""
        return Decision(Verdict.NO_OPINION, "\n".join(reasons), problem)
