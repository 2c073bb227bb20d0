"""What compiled expressions call while they run, and how Python's errors become CEL's.

Compiled code subscripts trees directly, so a missing key is Python's KeyError and a value of the wrong type its
TypeError until `failed` names them as upstream does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from timonel.machinery.cel import times
from timonel.machinery.cel.errors import CostExceeded, EvaluationError
from timonel.machinery.cel.functions import Overload
from timonel.machinery.cel.operators import key_text
from timonel.machinery.cel.types import Type
from timonel.machinery.cel.values import (
    NO_OVERLOAD,
    NOTHING,
    Duration,
    Object,
    Optional,
    Timestamp,
    UInt,
    equals,
    no_overload,
    type_name,
)

ERRORS = (
    EvaluationError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class Meter:
    """What one evaluation has cost so far, and where it stops."""

    __slots__ = ("cost", "limit")

    def __init__(self, limit: int) -> None:
        self.cost = 0
        self.limit = limit


def failed(error: BaseException) -> EvaluationError:
    """The CEL error that an exception in compiled code stands for."""
    if isinstance(error, EvaluationError):
        return error
    if isinstance(error, KeyError) and error.args:
        return EvaluationError(f"no such key: {key_text(error.args[0])}")
    if isinstance(error, OverflowError):
        return EvaluationError("integer overflow")
    if isinstance(error, RecursionError):
        return EvaluationError("recursion limit exceeded")
    if isinstance(error, MemoryError):
        return EvaluationError("out of memory")
    key = _missing_from_no_map(error)
    return EvaluationError(NO_OVERLOAD if key is None else f"no such key: {key}")


def _missing_from_no_map(error: BaseException) -> str | None:
    """The field that compiled code looked for in what is no map (null, mostly): cel-go calls it missing, too.

    Compiled code subscripts without asking, for speed; which key it was stands before the subscript.
    """
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if not isinstance(error, TypeError) or at is None or at.tb_frame.f_code.co_filename != "<cel>":
        return None
    from dis import get_instructions

    before = None
    for step in get_instructions(at.tb_frame.f_code):
        if step.offset == at.tb_lasti:
            key = before.argval if before is not None and before.opname == "LOAD_CONST" else None
            return key if step.opname == "BINARY_SUBSCR" and isinstance(key, str) else None
        before = step
    return None


def absorbed(error: BaseException) -> EvaluationError:
    """An error that `&&`, `||` or a macro may outweigh; running out of budget is never outweighed."""
    if isinstance(error, CostExceeded):
        raise error
    return failed(error)


def exceeded() -> CostExceeded:
    return CostExceeded()


def has_value(tree: Any, key: str) -> bool:
    """`has` of a declared field that may be null: null counts as absent."""
    if isinstance(tree, Optional):
        return tree is not NOTHING and has_value(tree.value, key)
    return tree.get(key) is not None


def value_of(tree: Any, key: str) -> Any:
    """A declared field that may be null."""
    if isinstance(tree, Optional):
        return without_null(tree[key])
    value = tree[key]
    if value is None:
        raise KeyError(key)
    return value


def without_null(optional: Optional) -> Optional:
    return NOTHING if optional.value is None else optional


def as_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError(NO_OVERLOAD)


def _as_double(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _as_int(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _as_timestamp(value: Any) -> Any:
    if type(value) is not str:
        return value
    moment = times.parse_timestamp(value) or times.parse_date(value)
    if moment is None:
        raise EvaluationError(f"failed to parse timestamp: {value}")
    return moment


def _as_duration(value: Any) -> Any:
    if type(value) is not str:
        return value
    duration = times.parse_worded_duration(value)
    if duration is None:
        raise EvaluationError(f"failed to parse duration: {value}")
    return duration


def _as_bytes(value: Any) -> Any:
    if type(value) is not str:
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise EvaluationError(f"failed to decode base64: {value}") from None


Converter = Callable[[Any], Any]
_SCALARS: Mapping[str, Converter] = {
    "double": _as_double,
    "timestamp": _as_timestamp,
    "duration": _as_duration,
    "bytes": _as_bytes,
}


def converter(of: Type, *, depth: int = 12) -> Converter | None:
    """How a tree's value becomes what the type says (text a timestamp, a whole number a double); None where it is."""
    scalar = _SCALARS.get(of.kind)
    if scalar is not None:
        return scalar
    if depth == 0:
        return None
    if of.kind == "list":
        each = converter(of.params[0], depth=depth - 1)
        return None if each is None else _list_converter(each)
    if of.kind == "map":
        each = converter(of.params[1], depth=depth - 1)
        return None if each is None else _map_converter(each)
    if of.kind == "object" and of.fields:
        inners = {}
        for field in of.fields.values():
            inner = converter(field.type, depth=depth - 1)
            if inner is not None:
                inners[field.key] = inner
        return _object_converter(inners) if inners else None
    return None


def optional_converter(each: Converter | None) -> Converter:
    """The same for the value of an optional, if it has one."""

    def convert(value: Any) -> Any:
        if each is None or value is NOTHING or not isinstance(value, Optional):
            return value
        return Optional(each(value.value))

    return convert


def _list_converter(each: Converter) -> Converter:
    return lambda values: values if values is None else [each(value) for value in values]


def _map_converter(each: Converter) -> Converter:
    return lambda mapping: (
        mapping if mapping is None else {key: each(value) for key, value in mapping.items()}
    )


def _object_converter(inners: Mapping[str, Converter]) -> Converter:
    def convert(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        changed = {key: inner(tree[key]) for key, inner in inners.items() if key in tree}
        return {**tree, **changed}

    return convert


class Dispatch:
    """A call whose overload the types left open: the first that the values fit is taken."""

    __slots__ = ("function", "known", "overloads")

    def __init__(self, function: str, overloads: Iterable[Overload]) -> None:
        self.function = function
        self.overloads = tuple(overloads)
        self.known: dict[tuple[type, ...], Callable[..., Any]] = {}
        """What was taken for values of these types, where the types alone decide."""

    def __call__(self, *args: Any) -> Any:
        kinds = tuple(map(type, args))
        run = self.known.get(kinds)
        if run is not None:
            return run(*args)
        for one in self.overloads:
            if all(accepts(wanted, value) for wanted, value in zip(one.args, args, strict=True)):
                if _DECISIVE.issuperset(kinds):
                    self.known[kinds] = one.run
                return one.run(*args)
        raise no_overload(self.function, *args)


_DECISIVE = frozenset((bool, int, float, str, bytes, type(None), UInt, Timestamp, Duration))
_KIND_NAMES = {
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
    "null": "null_type",
}


def accepts(wanted: Type, value: Any) -> bool:
    """Whether a value is of the type, judged by its outermost kind (and the elements of lists of scalars)."""
    kind = wanted.kind
    if kind in ("dyn", "param", "error"):
        return True
    name = type_name(value)
    if kind in ("object", "opaque"):
        return name == wanted.name
    if name != _KIND_NAMES.get(kind, kind):
        return False
    if kind == "list" and value:
        elem = wanted.params[0]
        return elem.kind in ("dyn", "param") or all(accepts(elem, one) for one in value)
    return True


def make_map(entries: Iterable[tuple[Any, Any, bool]]) -> dict[Any, Any]:
    """A map literal whose keys are not all known to be different strings; the flag marks optional entries."""
    made: dict[Any, Any] = {}
    for key, value, optional in entries:
        if not isinstance(key, (str, int)):
            raise EvaluationError(f"unsupported key type: {type_name(key)}")
        if optional:
            if value is NOTHING:
                continue
            value = _present(value)
        if key in made:
            raise EvaluationError(f"Failed with repeated key: {key_text(key)}")
        made[key] = value
    return made


def _present(value: Any) -> Any:
    if isinstance(value, Optional):
        return value.value
    raise no_overload("optional entry", value)


def make_list(elems: Iterable[tuple[Any, bool]]) -> list[Any]:
    made = []
    for value, optional in elems:
        if not optional:
            made.append(value)
        elif value is not NOTHING:
            made.append(_present(value))
    return made


def make_object(name: str, fields: Iterable[tuple[str, Any, bool]]) -> Object:
    made = {}
    for key, value, optional in fields:
        if not optional:
            made[key] = value
        elif value is not NOTHING:
            made[key] = _present(value)
    return Object(name, made)


def insert(mapping: dict[Any, Any], entries: Any) -> None:
    """`transformMapEntry`: add a step's entries, which must be new."""
    if not isinstance(entries, Mapping):
        raise EvaluationError(NO_OVERLOAD)
    for key, value in entries.items():
        if key in mapping:
            raise EvaluationError(f"insert failed: key {key_text(key)} already exists")
        mapping[key] = value


class Failed:
    """A bound variable whose value could not be computed: its error is raised where it is used."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = absorbed(error)


def use(value: Any) -> Any:
    if type(value) is Failed:
        raise value.error
    return value


def comparer(of: Type) -> Callable[[Any, Any], bool] | None:
    """Equality where lists that are sets or maps by key compare without order; None where order always counts."""
    if not _has_unordered(of, 12):
        return None
    return lambda left, right: equals_as(of, left, right)


def _has_unordered(of: Type, depth: int) -> bool:
    if of.list_type in ("set", "map"):
        return True
    if depth == 0:
        return False
    if of.kind == "object" and of.fields:
        return any(_has_unordered(field.type, depth - 1) for field in of.fields.values())
    return any(_has_unordered(inner, depth - 1) for inner in of.params)


def equals_as(of: Type, left: Any, right: Any) -> bool:
    if left is None or right is None or type(left) is not type(right):
        return equals(left, right)
    if of.kind == "list":
        if len(left) != len(right):
            return False
        elem = of.params[0]
        if of.list_type == "set":
            return all(any(equals_as(elem, one, other) for other in right) for one in left)
        if of.list_type == "map":
            mine, theirs = _by_keys(of, left), _by_keys(of, right)
            return mine.keys() == theirs.keys() and all(
                equals_as(elem, mine[key], theirs[key]) for key in mine
            )
        return all(equals_as(elem, one, other) for one, other in zip(left, right, strict=True))
    if of.kind == "object" and of.fields:
        by_key = {field.key: field.type for field in of.fields.values()}
        if left.keys() != right.keys():
            return False
        return all(
            equals_as(by_key[key], left[key], right[key]) if key in by_key else equals(left[key], right[key])
            for key in left
        )
    if of.kind == "map":
        return left.keys() == right.keys() and all(
            equals_as(of.params[1], left[key], right[key]) for key in left
        )
    return equals(left, right)


def _by_keys(of: Type, values: Any) -> dict[tuple[Any, ...], Any]:
    return {tuple(str(value.get(key)) for key in of.list_keys): value for value in values}


def joiner(of: Type) -> Callable[[Any, Any], list[Any]]:
    """`+` of lists that are sets (what is there is not added again) or maps by key (what is there is replaced)."""
    elem = of.params[0]

    def union(left: Any, right: Any) -> list[Any]:
        made = list(left)
        for one in right:
            if not any(equals_as(elem, one, other) for other in made):
                made.append(one)
        return made

    def merge(left: Any, right: Any) -> list[Any]:
        return list({**_by_keys(of, left), **_by_keys(of, right)}.values())

    return union if of.list_type == "set" else merge
