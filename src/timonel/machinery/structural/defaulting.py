"""Fills in the defaults of a schema.

`compile_default(schema)` gives a function that changes an object in place, or None for a schema without defaults.
Defaults go where the object around them exists: one below an absent object is not reached, unless that object has a
default itself. A null counts as absent where null is no value.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from timonel.machinery.structural.schema import Schema

Default = Callable[[Any], None]  # (value: a dict or a list)
Make = Callable[[], Any]


def compile_default(schema: Schema | None) -> Default | None:
    if schema is None:
        return None
    values = tuple(
        (key, _maker(child.default), child.nullable)
        for key, child in schema.properties.items()
        if child.has_default
    )
    members = tuple(
        (key, run) for key, child in schema.properties.items() if (run := compile_default(child)) is not None
    )
    others = _each(schema.additional)
    items = _each(schema.items)
    if not values and not members and others is None and items is None:
        return None
    return _walker(values, members, frozenset(schema.properties), others, items)


def _each(schema: Schema | None) -> tuple[Default | None, Make | None] | None:
    """(what fills a member in, what takes the place of a null)."""
    run = compile_default(schema)
    if schema is None or (run is None and not schema.has_default):
        return None
    return run, None if schema.nullable or not schema.has_default else _maker(schema.default)


def _maker(value: Any) -> Make:
    """Makes copies of a default."""
    if type(value) is dict or type(value) is list:
        raw = orjson.dumps(value)
        return lambda: orjson.loads(raw)
    return lambda: value


def _walker(
    values: tuple[tuple[str, Make, bool], ...],
    members: tuple[tuple[str, Default], ...],
    known: frozenset[str],
    others: tuple[Default | None, Make | None] | None,
    items: tuple[Default | None, Make | None] | None,
) -> Default:
    def default(value: Any) -> None:
        if type(value) is list:
            if items is not None:
                _fill(items, value, range(len(value)))
            return
        for key, make, nullable in values:
            if key not in value or (value[key] is None and not nullable):
                value[key] = make()
        for key, run in members:
            item = value.get(key)
            if type(item) is dict or type(item) is list:
                run(item)
        if others is not None:
            _fill(others, value, [key for key in value if key not in known])

    return default


def _fill(rule: tuple[Default | None, Make | None], value: Any, places: Any) -> None:
    run, make = rule
    for place in places:
        item = value[place]
        if item is None and make is not None:
            item = value[place] = make()
        if run is not None and (type(item) is dict or type(item) is list):
            run(item)
