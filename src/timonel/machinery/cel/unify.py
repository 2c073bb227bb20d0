"""Which types fit where: assignability with type parameters, which are bound as they are met.

Upstream: cel-go checker/{types,mapping}.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.machinery.cel.types import DYN, Type

Bindings = dict[str, Type]

_NULLABLE = frozenset(("null", "object", "opaque", "timestamp", "duration"))


def assignable(bindings: Bindings, target: Sequence[Type], source: Sequence[Type]) -> Bindings | None:
    """The bindings under which each type of one list fits the other's, or None; the given ones stay as they are."""
    if len(target) != len(source):
        return None
    tried = dict(bindings)
    for one, other in zip(target, source, strict=True):
        if not _fits(tried, one, other):
            return None
    return tried


def _fits(bindings: Bindings, one: Type, other: Type) -> bool:
    if one is other or one == other:
        return True
    if other.kind == "param":
        valid, bound = _substitutes(bindings, one, other)
        if valid:
            return True
        if bound:
            return False
    if one.kind == "param":
        return _substitutes(bindings, other, one)[0]
    if one.kind in ("dyn", "error") or other.kind in ("dyn", "error"):
        return True
    if one.kind == "null":
        return other.kind in _NULLABLE
    if one.kind != other.kind:
        return False
    if one.kind == "opaque":
        return (
            one.name == other.name
            and len(one.params) == len(other.params)
            and all(_fits(bindings, a, b) for a, b in zip(one.params, other.params, strict=True))
        )
    if one.kind in ("list", "map"):
        return all(_fits(bindings, a, b) for a, b in zip(one.params, other.params, strict=True))
    return one.kind == "type" or one.name == other.name


def _substitutes(bindings: Bindings, value: Type, param: Type) -> tuple[bool, bool]:
    """Whether `value` may stand for `param`, and whether the parameter had a binding already."""
    bound = bindings.get(param.name)
    if bound is not None:
        if bound == value:
            return True, True
        if _fits(bindings, value, bound):
            bindings[param.name] = most_general(value, bound)
            return True, True
        return False, True
    if not _occurs(bindings, param, value):
        bindings[param.name] = value
        return True, False
    return False, False


def _occurs(bindings: Bindings, param: Type, within: Type) -> bool:
    if param == within:
        return True
    if within.kind == "param":
        bound = bindings.get(within.name)
        return bound is not None and _occurs(bindings, param, bound)
    return any(_occurs(bindings, param, inner) for inner in within.params)


def most_general(one: Type, other: Type) -> Type:
    """The wider of two types that fit each other."""
    return one if _is_wider(one, other) else other


def _is_wider(one: Type, other: Type) -> bool:
    if one.kind in ("dyn", "param"):
        return True
    if other.kind in ("dyn", "param") or one.kind != other.kind:
        return False
    if one.kind == "type":
        return True
    if one.name != other.name or len(one.params) != len(other.params):
        return False
    return all(_is_wider(a, b) for a, b in zip(one.params, other.params, strict=True))


def substitute(bindings: Bindings, of: Type, *, to_dyn: bool = False) -> Type:
    """The type with bound parameters replaced; the unbound become dyn when `to_dyn`."""
    if of.kind == "param":
        bound = bindings.get(of.name)
        if bound is not None:
            return substitute(bindings, bound, to_dyn=to_dyn)
        return DYN if to_dyn else of
    if not of.params:
        return of
    params = tuple(substitute(bindings, inner, to_dyn=to_dyn) for inner in of.params)
    if all(new is old for new, old in zip(params, of.params, strict=True)):
        return of
    return Type(
        of.kind,
        of.name,
        params,
        max_elements=of.max_elements,
        min_size=of.min_size,
        list_type=of.list_type,
        list_keys=of.list_keys,
        nullable=of.nullable,
    )
