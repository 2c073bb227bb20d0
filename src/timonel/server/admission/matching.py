"""Which requests a webhook or policy wants to see: rules, namespace selector, object selector. Pure.

Upstream: apiserver/pkg/admission/plugin/webhook/predicates/*, admission/plugin/policy/matching/matching.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from timonel.machinery import errors, selectors
from timonel.machinery.selectors import LabelSelector
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.request import AdmissionCall, Operation, Reader

GROUP = "admissionregistration.k8s.io"
# what decides about admission is itself decided by nobody, so that a wrong one can be taken away
_EXEMPT = frozenset(
    (
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    )
)


class Place(NamedTuple):
    """A resource in a version, as rules name it."""

    group: str
    version: str
    resource: str
    subresource: str = ""


def is_exempt(group: str, plural: str) -> bool:
    return group == GROUP and plural in _EXEMPT


@dataclass(frozen=True, slots=True)
class Rule:
    """A RuleWithOperations; `names` empty: all."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    scope: str
    names: frozenset[str] = frozenset()

    def could_match(self, place: Place, operation: str) -> bool:
        """Whatever the object is called and wherever it lives."""
        return (
            _has(self.operations, operation)
            and _has(self.groups, place.group)
            and _has(self.versions, place.version)
            and any(
                resource in ("*", place.resource) and subresource in ("*", place.subresource)
                for resource, subresource in self.resources
            )
        )

    def matches(self, place: Place, operation: str, namespace: str, name: str) -> bool:
        if not self.could_match(place, operation) or (self.names and name not in self.names):
            return False
        if self.scope not in ("Namespaced", "Cluster"):
            return True
        is_namespace = (place.group, place.resource) == ("", "namespaces")
        in_namespace = bool(namespace) and not is_namespace
        return in_namespace is (self.scope == "Namespaced")


def _has(allowed: frozenset[str], value: str) -> bool:
    return "*" in allowed or value in allowed


def rule(tree: Object) -> Rule:
    pairs = (resource.partition("/") for resource in tree.get("resources") or ())
    return Rule(
        frozenset(tree.get("operations") or ()),
        frozenset(tree.get("apiGroups") or ()),
        frozenset(tree.get("apiVersions") or ()),
        tuple((name, part) for name, _, part in pairs),
        tree.get("scope") or "*",
        frozenset(tree.get("resourceNames") or ()),
    )


@dataclass(frozen=True, slots=True)
class Match:
    """The criteria of one webhook, policy or binding. Without rules: everything."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    is_equivalent: bool
    namespaces: LabelSelector
    objects: LabelSelector

    def could_match(self, places: Iterable[Place], operation: Operation) -> bool:
        return any(r.could_match(place, operation.value) for r in self.rules for place in places)

    def place(self, own: Place, others: Sequence[Place], call: AdmissionCall) -> Place | None:
        """In which of the forms of its resource the request is wanted; its own comes first."""
        operation, namespace, name = call.operation.value, namespace_of(call), call.name
        if any(r.matches(own, operation, namespace, name) for r in self.excluded):
            return None
        if self.is_equivalent and any(
            r.matches(place, operation, namespace, name) for r in self.excluded for place in others
        ):
            return None
        if any(r.matches(own, operation, namespace, name) for r in self.rules):
            return own
        if not self.is_equivalent:
            return None
        return next(
            (p for r in self.rules for p in others if r.matches(p, operation, namespace, name)),
            None,
        )

    def selects(self, call: AdmissionCall, reader: Reader) -> bool:
        """By the labels of the namespace and of the object. Raises NotFound for a namespace that does not exist."""
        return self.selects_object(call.obj, call.old) and self._selects_namespace(call, reader)

    def selects_object(self, *objects: Object | None) -> bool:
        """The new or the old state; things without metadata have no labels to select by."""
        if self.objects.is_everything:
            return True
        return any(
            self.objects.matches(obj["metadata"].get("labels"))
            for obj in objects
            if obj is not None and isinstance(obj.get("metadata"), Mapping)
        )

    def _selects_namespace(self, call: AdmissionCall, reader: Reader) -> bool:
        if self.namespaces.is_everything:
            return True
        if call.resource.qualified == "namespaces":
            has_new = call.obj is not None and call.operation in (Operation.CREATE, Operation.UPDATE)
            obj = call.obj if has_new and not call.subresource else call.old or call.obj
            return self.namespaces.matches(((obj or {}).get("metadata") or {}).get("labels"))
        if not call.namespace:
            return True
        found = reader.get("namespaces", "", call.namespace)
        if found is None:
            raise errors.not_found("namespaces", call.namespace)
        return self.namespaces.matches(found["metadata"].get("labels"))


def match(tree: Object, rules: str = "rules") -> Match:
    """Of a webhook, or of MatchResources whose rules are called otherwise. Raises ValueError for bad selectors."""
    return Match(
        tuple(map(rule, tree.get(rules) or ())),
        tuple(map(rule, tree.get("excludeResourceRules") or ())),
        tree.get("matchPolicy", "Equivalent") == "Equivalent",
        selectors.from_label_selector(tree.get("namespaceSelector") or {}),
        selectors.from_label_selector(tree.get("objectSelector") or {}),
    )


def namespace_of(call: AdmissionCall) -> str:
    """A Namespace is said to be in itself, as upstream has it."""
    return call.name if call.resource.qualified == "namespaces" else call.namespace
