"""Which old value belongs to a new one: what is unchanged in an update is not refused again (ratcheting).

Members of objects belong together by name, items of lists of type map by their keys. Items of other lists have no old
value of their own: such a list has changed when anything in it has.

Upstream: apiserver/pkg/cel/common/equality.go, apiextensions-apiserver/pkg/apiserver/validation/ratcheting.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timonel.machinery.structural import numbers
from timonel.machinery.structural.schema import Schema


class Old:
    """An old value at the place that is looked at."""

    __slots__ = ("_by_key", "_same", "schema", "value")

    def __init__(self, value: Any, schema: Schema | None) -> None:
        self.value = value
        self.schema = schema
        self._by_key: Mapping[tuple[Any, ...], Any] | None = None
        self._same: bool | None = None

    def is_same(self, new: Any) -> bool:
        """Whether nothing has changed here. Always asked with the same `new`."""
        if self._same is None:
            self._same = self._equals(new)
        return self._same

    def _equals(self, new: Any) -> bool:
        """Items of a list of type map may have changed places."""
        old, schema = self.value, self.schema
        if schema is None or type(new) is not type(old):
            return numbers.equal(new, old)
        if type(new) is dict:
            return new.keys() == old.keys() and all(
                Old(old[key], schema.child(key)).is_same(item) for key, item in new.items()
            )
        if type(new) is list and schema.list_type == "map":
            pairs = [(self.item(item), item) for item in new]
            return len(new) == len(old) and all(was is not None and was.is_same(item) for was, item in pairs)
        return numbers.equal(new, old)

    def member(self, key: str) -> Old | None:
        if type(self.value) is not dict or key not in self.value:
            return None
        return Old(self.value[key], None if self.schema is None else self.schema.child(key))

    def item(self, new: Any) -> Old | None:
        """The old value of an item."""
        schema = self.schema
        if type(self.value) is not list or schema is None or schema.list_type != "map":
            return None
        if self._by_key is None:
            self._by_key = by_key(schema, self.value)
        found = self._by_key.get(item_key(schema, new))
        return None if found is None else Old(found, schema.items)


def by_key(schema: Schema, items: list[Any]) -> Mapping[tuple[Any, ...], Any]:
    """The items of a list of type map; of those with the same keys the first."""
    return {item_key(schema, item): item for item in reversed(items)}


def item_key(schema: Schema, item: Any) -> tuple[Any, ...]:
    """The values of an item's keys, as something that can be looked up. Absent is not null."""
    if type(item) is not dict:
        return ()
    return tuple(_hashable(item[key]) if key in item else ("absent",) for key in schema.list_map_keys)


def _hashable(value: Any) -> Any:
    return (type(value) is bool, value if type(value) in (str, int, float, bool) else repr(value))
