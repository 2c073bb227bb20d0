"""Sets of field paths, kept as tries: what a manager owns, what a change touches.

A set maps path elements to sets. The elements are those of FieldsV1: `f:name` a field or map key, `k:{...}` an item of
a list by its keys, `v:...` an item of a set by its value. A path is a member when the trie at its end has `MEMBER`.
Sets are values: operations return new ones and share what they can.

On the wire a member without anything below it is `{}`, and `.` marks one that has.

Upstream: sigs.k8s.io/structured-merge-diff/fieldpath/{set,element,serialize-pe}.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

Set = dict[str, Any]
Path = tuple[str, ...]

MEMBER = "."
_MARK: Set = {}
LEAF: Set = {MEMBER: _MARK}
EMPTY: Set = {}


class SetError(ValueError):
    """A FieldsV1 tree that is none."""


def union(one: Set, two: Set) -> Set:
    if not one:
        return two
    if not two:
        return one
    found = dict(one)
    for element, below in two.items():
        mine = found.get(element)
        found[element] = below if mine is None else union(mine, below)
    return found


def intersection(one: Set, two: Set) -> Set:
    found: Set = {}
    for element, below in one.items():
        other = two.get(element)
        if other is None:
            continue
        if element == MEMBER:
            found[MEMBER] = _MARK
        elif both := intersection(below, other):
            found[element] = both
    return found


def difference(one: Set, two: Set) -> Set:
    """Without the members of `two`; members below those stay. `one` itself where they have nothing in common."""
    if two.keys().isdisjoint(one):
        return one
    found: Set = {}
    for element, below in one.items():
        other = two.get(element)
        if other is None:
            found[element] = below
        elif element != MEMBER and (rest := difference(below, other)):
            found[element] = rest
    return found


def without(one: Set, two: Set) -> Set:
    """Without the members of `two` and all that is below them."""
    if not two:
        return one
    found: Set = {}
    for element, below in one.items():
        other = two.get(element)
        if other is None or element == MEMBER:
            found[element] = below
        elif MEMBER not in other and (rest := without(below, other)):
            found[element] = rest
    return found


def of_paths(*paths: Path) -> Set:
    found: Set = {}
    for path in paths:
        at = found
        for element in path:
            at = at.setdefault(element, {})
        at[MEMBER] = _MARK
    return found


def members(one: Set, path: Path = ()) -> Iterator[Path]:
    """All paths in upstream's order: the members among the elements first, then what is below each."""
    elements = sorted((e for e in one if e != MEMBER), key=_order)
    for element in elements:
        if MEMBER in one[element]:
            yield (*path, element)
    for element in elements:
        yield from members(one[element], (*path, element))


def _order(element: str) -> tuple[int, str]:
    return ("fkvi".index(element[0]), element)


# ---- wire


def from_wire(tree: Any) -> Set:
    """Of a `fieldsV1`. Raises SetError."""
    if not isinstance(tree, dict):
        raise SetError("fieldsV1 is not an object")
    found: Set = {}
    for element, below in tree.items():
        if element == MEMBER:
            found[MEMBER] = _MARK
            continue
        if element[:2] not in ("f:", "k:", "v:", "i:"):
            raise SetError(f"unknown path element: {element!r}")
        if element[:2] in ("k:", "v:"):
            element = element[:2] + _canonical(element[2:])
        found[element] = from_wire(below) or LEAF
    return found


def _canonical(text: str) -> str:
    try:
        return to_json(orjson.loads(text))
    except orjson.JSONDecodeError as e:
        raise SetError(f"path element is no JSON: {text!r}") from e


def to_wire(one: Set) -> dict[str, Any]:
    return {
        element: {} if element == MEMBER or (len(below) == 1 and MEMBER in below) else to_wire(below)
        for element, below in sorted(one.items())
    }


def to_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


# ---- words


def show(path: Path) -> str:
    """A path as conflicts name it: `.spec.containers[name="c"].image`."""
    return "".join(map(_show_element, path))


def _show_element(element: str) -> str:
    kind, text = element[0], element[2:]
    if kind == "f":
        return f".{text}"
    if kind == "k":
        keys = orjson.loads(text)
        return f"[{','.join(f'{k}={to_json(v)}' for k, v in keys.items())}]"
    if kind == "v":
        return f"[={text}]"
    return f"[{text}]"
