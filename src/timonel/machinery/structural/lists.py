"""Lists of type set and map: no item twice.

`compile_lists(schema)` gives a function that yields causes, or None for a schema without such lists.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/listtype/validation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.machinery.structural.schema import Schema

Lists = Callable[[Any, str], Iterator[Cause]]  # (value, path)


def compile_lists(schema: Schema | None) -> Lists | None:
    if schema is None:
        return None
    own = {"set": _repeated_items, "map": _repeated_keys}.get(schema.list_type)
    items = compile_lists(schema.items)
    members = {
        key: inner for key, below in schema.properties.items() if (inner := compile_lists(below)) is not None
    }
    others = compile_lists(schema.additional)
    if own is None and items is None and others is None and not members:
        return None

    def run(value: Any, path: str) -> Iterator[Cause]:
        if type(value) is list:
            if own is not None:
                yield from own(schema, value, path)
            if items is not None:
                for index, item in enumerate(value):
                    yield from items(item, f"{path}[{index}]")
        elif type(value) is dict:
            if others is not None:
                for key, item in value.items():
                    yield from others(item, f"{path}[{key}]")
            for key, below in members.items():
                if key in value:
                    yield from below(value[key], field.child(path, key))

    return run


def _repeated_items(schema: Schema, items: list[Any], path: str) -> Iterator[Cause]:
    for index in _seconds(items):
        yield field.duplicate(f"{path}[{index}]", items[index])


def _repeated_keys(schema: Schema, items: list[Any], path: str) -> Iterator[Cause]:
    for index, item in enumerate(items):
        if item is not None and type(item) is not dict:
            yield field.invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")
            return
    keys = [
        {key: item[key] for key in schema.list_map_keys if key in item} if item is not None else {}
        for item in items
    ]
    for index in _seconds(keys):
        yield field.duplicate(f"{path}[{index}]", keys[index])


def _seconds(items: list[Any]) -> Iterator[int]:
    """Where something appears for the second time; a third time is not told."""
    times: dict[Any, int] = {}
    for index, item in enumerate(items):
        known = (
            orjson.dumps(item, option=orjson.OPT_SORT_KEYS) if type(item) in (dict, list) else _exact(item)
        )
        times[known] = times.get(known, 0) + 1
        if times[known] == 2:
            yield index


def _exact(item: Any) -> tuple[type, Any]:
    """True is not 1, and neither is 1.0."""
    return type(item), item
