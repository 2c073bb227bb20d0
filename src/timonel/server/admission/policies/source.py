"""The policies of one kind with their bindings, compiled when they are first needed.

Upstream: apiserver/pkg/admission/plugin/policy/generic/policy_source.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.admission.matching import Match, Place, is_exempt, match
from timonel.server.request import Operation, Reader

logger = logging.getLogger(__name__)

# reviews change nothing, and deciding about them by policy could lock everybody out
_EXCLUDED = frozenset(
    (
        "selfsubjectreviews.authentication.k8s.io",
        "tokenreviews.authentication.k8s.io",
        "localsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectrulesreviews.authorization.k8s.io",
        "subjectaccessreviews.authorization.k8s.io",
    )
)


@dataclass(frozen=True, slots=True)
class BoundTo:
    """A binding of a policy. `match` None: whatever the policy matches."""

    name: str
    tree: Object
    match: Match | None

    @property
    def spec(self) -> Object:
        found: Object = self.tree["spec"]
        return found


@dataclass(slots=True)
class Policy:
    name: str
    tree: Object
    match: Match
    bindings: tuple[BoundTo, ...] = ()
    compiled: Any = None  # what the plugin makes of its expressions, at their first use

    @property
    def spec(self) -> Object:
        found: Object = self.tree["spec"]
        return found

    @property
    def fails_open(self) -> bool:
        return self.spec.get("failurePolicy") == "Ignore"


def _criteria(what: str, name: str, tree: Object) -> Match | None:
    """None: written by somebody who did not validate it."""
    try:
        return match(tree, "resourceRules")
    except ValueError as problem:
        logger.error("Could not use %s %s: %s", what, name, problem)
        return None


class Source:
    """Follows policies and bindings; both are qualified plurals. `forget` is called with every change."""

    def __init__(
        self,
        policies: str,
        bindings: str,
        *,
        reader: Reader,
        places: Callable[[str, str], list[Place]],
        forget: Callable[[], None],
    ) -> None:
        self._places, self._forget = places, forget
        self._policies: dict[str, Policy] = {}
        self._bindings: dict[str, BoundTo] = {}
        self.active: tuple[Policy, ...] = ()  # those with bindings, by name
        reader.on_change(policies, self._policy_changed)
        reader.on_change(bindings, self._binding_changed)

    def _policy_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        name = str(obj["metadata"]["name"])
        if new is None:
            self._policies.pop(name, None)
        elif old is None or old["spec"] != new["spec"] or name not in self._policies:
            constraints = new["spec"].get("matchConstraints") or {}
            criteria = _criteria("policy", name, constraints)
            if criteria is None:
                self._policies.pop(name, None)
            else:
                self._policies[name] = Policy(name, new, criteria)
        self._arrange()

    def _binding_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        name = str(obj["metadata"]["name"])
        if new is None:
            self._bindings.pop(name, None)
        else:
            resources = new["spec"].get("matchResources")
            found = None if resources is None else _criteria("binding", name, resources)
            if found is None and resources is not None:
                self._bindings.pop(name, None)
            else:
                self._bindings[name] = BoundTo(name, new, found)
        self._arrange()

    def _arrange(self) -> None:
        by_policy: dict[str, list[BoundTo]] = {}
        for name in sorted(self._bindings):
            binding = self._bindings[name]
            by_policy.setdefault(binding.spec.get("policyName", ""), []).append(binding)
        for policy in self._policies.values():
            policy.bindings = tuple(by_policy.get(policy.name, ()))
        self.active = tuple(self._policies[n] for n in sorted(self._policies) if self._policies[n].bindings)
        self._forget()

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if not self.active or is_exempt(resource.group, resource.plural) or resource.qualified in _EXCLUDED:
            return False
        places = self._places(resource.qualified, subresource)
        return any(policy.match.could_match(places, operation) for policy in self.active)
