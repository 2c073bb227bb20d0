"""Who watches a resource, found by what is watched: an event asks those whom it may concern, not everyone.

Most watchers look at one place: a namespace, an object of some name, the pods of a node. A `Place` is a field and the
value that it must have. It only narrows down who is asked; what an event means to a watcher is the watcher's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

Place = tuple[str, str]  # a field that entries can be selected by, and its value
W = TypeVar("W")

NAMESPACE, NAME = "metadata.namespace", "metadata.name"


class Placed(Protocol):
    """`watchcache.Entry`."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, str]: ...


def value_of(entry: Placed, field: str) -> str:
    if field == NAMESPACE:
        return entry.namespace
    return entry.name if field == NAME else entry.fields.get(field, "")


class Watchers(Generic[W]):
    def __init__(self) -> None:
        self._place_of: dict[W, Place | None] = {}
        self._everywhere: dict[W, None] = {}
        self._at: dict[str, dict[str, dict[W, None]]] = {}  # by field and value

    def add(self, watcher: W, place: Place | None = None) -> None:
        self._place_of[watcher] = place
        if place is None:
            self._everywhere[watcher] = None
        else:
            self._at.setdefault(place[0], {}).setdefault(place[1], {})[watcher] = None

    def discard(self, watcher: W) -> None:
        place = self._place_of.pop(watcher, None)
        if place is None:
            self._everywhere.pop(watcher, None)
            return
        field, value = place
        here = self._at[field][value]
        del here[watcher]
        if not here:
            del self._at[field][value]
            if not self._at[field]:
                del self._at[field]

    def __len__(self) -> int:
        return len(self._place_of)

    def __iter__(self) -> Iterator[W]:
        return iter(self._place_of)

    def concerned(self, old: Placed | None, new: Placed | None) -> list[W]:
        """Those whose place the object was in, or is in."""
        found = list(self._everywhere)
        for field, watchers in self._at.items():
            values = {value_of(entry, field) for entry in (old, new) if entry is not None}
            for value in values:
                found += watchers.get(value, ())
        return found
