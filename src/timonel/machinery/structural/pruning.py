"""Takes away what a schema does not know: fields, and nulls where null is no value.

`compile_prune(schema)` gives a function that changes a decoded object in place and returns the paths of the unknown
fields (`spec.list[0].x`), or None where there were none. What is below a field that keeps unknown fields is searched
for fields that are known and do not.

A null that may not be one vanishes, unless its field has a default, which is put in its place afterwards.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/pruning/algorithm.go, schema/defaulting/prune.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timonel.machinery.structural.schema import META_FIELDS, Schema

# (value: a dict or a list) -> relative paths of unknown fields, each beginning with `.` or `[`
Prune = Callable[[Any], list[str] | None]


def compile_prune(schema: Schema | None, *, root: bool = False) -> Prune:
    """With `root`, what every object has (apiVersion, kind, metadata) is known without being in the schema."""
    if schema is None or (not root and _knows_nothing(schema)):
        return _prune_everything  # one for all leaves: most of a schema are
    return _compile(schema, keeps=schema.preserve_unknown, meta=root or schema.embedded)


def _knows_nothing(schema: Schema) -> bool:
    below = schema.properties or schema.items is not None or schema.allows_additional is not None
    return not below and not schema.preserve_unknown and not schema.embedded


def _prune_everything(value: Any) -> list[str] | None:
    if type(value) is dict:
        found = [f".{key}" for key in value]
        value.clear()
        return found
    found = []
    for index, item in enumerate(value):
        if type(item) is dict or type(item) is list:
            found += [f"[{index}]{path}" for path in _prune_everything(item) or ()]
    return found


def _keep_everything(value: Any) -> list[str] | None:
    return None


def _compile(schema: Schema, *, keeps: bool, meta: bool) -> Prune:
    """`keeps`: unknown fields stay, in the items of lists too."""
    members: dict[str, tuple[Prune | None, bool]] = {
        key: _member(child) for key, child in schema.properties.items()
    }
    if meta:
        members |= dict.fromkeys(META_FIELDS, (None, False))
    if schema.additional is not None:
        others: tuple[Prune | None, bool] | None = _member(schema.additional)
    elif schema.allows_additional is not None and not keeps:
        others = (_prune_everything, False)
    else:
        others = (None, False) if keeps else None
    each: Prune | None
    if schema.items is None:
        each = None if keeps else _prune_everything
    else:
        each = _compile(
            schema.items, keeps=keeps or schema.items.preserve_unknown, meta=schema.items.embedded
        )
    if keeps and each in (None, _keep_everything) and others == (None, False) and not _does_anything(members):
        return _keep_everything
    return _walker(members, others, each)


def _does_anything(members: dict[str, tuple[Prune | None, bool]]) -> bool:
    return any(run not in (None, _keep_everything) or drops for run, drops in members.values())


def _member(schema: Schema) -> tuple[Prune | None, bool]:
    """(what prunes the member's value, whether a null vanishes)."""
    return compile_prune(schema), not schema.nullable and not schema.has_default


def _walker(
    members: dict[str, tuple[Prune | None, bool]],
    others: tuple[Prune | None, bool] | None,
    each: Prune | None,
) -> Prune:
    get = members.get

    def prune(value: Any) -> list[str] | None:
        found: list[str] | None = None
        if type(value) is not dict:
            return _prune_items(value, each) if each is not None else None
        gone: list[str] = []
        for key, item in value.items():
            entry = get(key, others)
            if entry is None:
                gone.append(key)
                found = [f".{key}"] if found is None else [*found, f".{key}"]
            elif item is None:
                if entry[1]:
                    gone.append(key)
            elif (type(item) is dict or type(item) is list) and entry[0] is not None:
                below = entry[0](item)
                if below:
                    named = [f".{key}{path}" for path in below]
                    found = named if found is None else found + named
        for key in gone:
            del value[key]
        return found

    return prune


def _prune_items(value: list[Any], each: Prune) -> list[str] | None:
    found: list[str] | None = None
    for index, item in enumerate(value):
        if type(item) is dict or type(item) is list:
            below = each(item)
            if below:
                named = [f"[{index}]{path}" for path in below]
                found = named if found is None else found + named
    return found
