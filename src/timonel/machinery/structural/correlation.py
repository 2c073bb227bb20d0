"""Which old value belongs to a new one: what is unchanged in an update is not refused again (ratcheting).

Members of objects belong together by name, items of lists of type map by their keys, items of lists without a type by
position. Items of sets and of atomic lists have no old value of their own.

Upstream: apiserver/pkg/cel/common/equality.go, apiextensions-apiserver/pkg/apiserver/validation/ratcheting.go.
"""

from __future__ import annotations

from typing import Any

from timonel.machinery.structural import numbers
from timonel.machinery.structural.schema import Schema


class Old:
    """An old value at the place that is looked at."""

    __slots__ = ("_by_key", "_same", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._by_key: dict[tuple[Any, ...], Any] | None = None
        self._same: bool | None = None

    def is_same(self, new: Any) -> bool:
        """Whether nothing has changed here. Always asked with the same `new`."""
        if self._same is None:
            self._same = numbers.equal(new, self.value)
        return self._same

    def member(self, key: str) -> Old | None:
        if type(self.value) is not dict or key not in self.value:
            return None
        return Old(self.value[key])

    def item(self, schema: Schema, index: int, new: Any) -> Old | None:
        """The old value of the item that is at `index` now."""
        if type(self.value) is not list:
            return None
        if schema.list_type == "map":
            found = self._keyed(schema).get(item_key(schema, new))
            return None if found is None else Old(found)
        if schema.list_type in ("set", "atomic") or index >= len(self.value):
            return None
        return Old(self.value[index])

    def _keyed(self, schema: Schema) -> dict[tuple[Any, ...], Any]:
        if self._by_key is None:
            self._by_key = {item_key(schema, item): item for item in reversed(self.value)}
        return self._by_key


def item_key(schema: Schema, item: Any) -> tuple[Any, ...]:
    """The values of an item's keys, as something that can be looked up. Absent is not null."""
    if type(item) is not dict:
        return ()
    return tuple(_hashable(item[key]) if key in item else ("absent",) for key in schema.list_map_keys)


def _hashable(value: Any) -> Any:
    return (type(value) is bool, value if type(value) in (str, int, float, bool) else repr(value))
