"""The terms of affinity between pods, parsed once: which pods a term means, and within which topology.

Upstream: kube-scheduler/framework/types.go (AffinityTerm).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from timonel.machinery.selectors import LabelSelector, from_label_selector
from timonel.objects.meta import Object, labels_of
from timonel.records import dataclass

NamespaceLabels = Callable[[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Term:
    topology_key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    weight: int = 0

    def means(self, pod: Object, namespace_labels: NamespaceLabels) -> bool:
        namespace = pod["metadata"].get("namespace", "")
        if namespace not in self.namespaces:
            selector = self.namespace_selector
            if selector is None or not selector.matches(namespace_labels(namespace)):
                return False
        return self.selector.matches(labels_of(pod))


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one pod: required and preferred, towards and away."""

    near: tuple[Term, ...] = ()
    apart: tuple[Term, ...] = ()
    rather_near: tuple[Term, ...] = ()
    rather_apart: tuple[Term, ...] = ()

    @property
    def has_preferences(self) -> bool:
        return bool(self.rather_near or self.rather_apart or self.near)


NONE = Terms()


def terms_of(pod: Object) -> Terms:
    affinity = pod["spec"].get("affinity") or {}
    near, apart = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    if not near and not apart:
        return NONE
    namespace = pod["metadata"].get("namespace", "")
    return Terms(
        near=tuple(_required(near, namespace)),
        apart=tuple(_required(apart, namespace)),
        rather_near=tuple(_preferred(near, namespace)),
        rather_apart=tuple(_preferred(apart, namespace)),
    )


def _required(affinity: Mapping[str, Any], namespace: str) -> Iterable[Term]:
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        yield _term(term, namespace, 0)


def _preferred(affinity: Mapping[str, Any], namespace: str) -> Iterable[Term]:
    for preference in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        yield _term(preference["podAffinityTerm"], namespace, preference["weight"])


def _term(term: Mapping[str, Any], namespace: str, weight: int) -> Term:
    named, chosen = term.get("namespaces") or (), term.get("namespaceSelector")
    own = (namespace,) if not named and chosen is None else ()
    return Term(
        topology_key=term["topologyKey"],
        selector=from_label_selector(term.get("labelSelector")),
        namespaces=frozenset((*named, *own)),
        namespace_selector=None if chosen is None else from_label_selector(chosen),
        weight=weight,
    )
