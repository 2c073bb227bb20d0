"""What objects are looked up by: each function says under which values a cache files an object.

A cache builds an index when it is first asked by a function, and keeps it up from then on. The functions are values:
two that are equal share one index.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

from timonel.machinery.selectors import LabelSelector, SelectorError
from timonel.objects import pods
from timonel.objects.meta import Object, controller_of, labels_of
from timonel.records import dataclass

Entries = Callable[[Object], Iterable[Hashable]]
ANY_LABELS = ("", "")  # what a selector is filed under that asks for no label with one value
_NOBODY = "/"  # before a namespace, in the place of a controller's uid


def namespace_of(obj: Object) -> str:
    return str(obj["metadata"].get("namespace", ""))


def by_controller(obj: Object) -> Iterable[Hashable]:
    """The uid of its controller; who has none is filed under its namespace (`orphans_of`)."""
    ref = controller_of(obj)
    return (orphans_of(namespace_of(obj)) if ref is None else ref["uid"],)


def orphans_of(namespace: str) -> str:
    return f"{_NOBODY}{namespace}"


def by_owner(obj: Object) -> Iterable[Hashable]:
    return [ref["uid"] for ref in obj["metadata"].get("ownerReferences") or ()]


def by_node(pod: Object) -> Iterable[Hashable]:
    """The name of the node that a pod is bound to."""
    name = pods.node_of(pod)
    return (name,) if name else ()


@dataclass(frozen=True, slots=True)
class ByLabel:
    """Namespace and value of one label."""

    key: str

    def __call__(self, obj: Object) -> Iterable[Hashable]:
        value = labels_of(obj).get(self.key)
        return () if value is None else ((namespace_of(obj), value),)


@dataclass(frozen=True, slots=True)
class BySelector:
    """Namespace, key and value of one label that everything has which an object of this resource selects.

    `wanted_by` finds the few whose selector may match some labels; whether it does is for the caller to see.
    """

    selector_of: Callable[[Object], LabelSelector]

    def __call__(self, obj: Object) -> Iterable[Hashable]:
        try:
            selector = self.selector_of(obj)
        except SelectorError:
            return ()  # whom it selects nobody can say
        if selector.is_nothing:
            return ()
        return ((namespace_of(obj), *min(selector.exact().items(), default=ANY_LABELS)),)


def wanted_by(namespace: str, labels: Mapping[str, str]) -> Iterable[tuple[str, str, str]]:
    """What to ask a `BySelector` index for, to find all that may select an object with these labels."""
    return [(namespace, key, value) for key, value in (ANY_LABELS, *labels.items())]
