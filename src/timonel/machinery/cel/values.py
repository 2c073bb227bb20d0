"""What expressions compute with, and equality, order and kinds over it.

Most values are Python's own: bool, int (an int64), float, str, bytes, None, list, dict. What Python lacks is here.
Everything is immutable by convention: no function changes a value that it was given.

Upstream: cel-go common/types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from timonel.machinery.cel.errors import EvaluationError

INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
NO_OVERLOAD = "no such overload"


class UInt(int):
    """A uint64. Arithmetic on it goes through `operators`, which make a UInt again."""

    __slots__ = ()


class Duration:
    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        if not INT_MIN <= nanos <= INT_MAX:
            raise EvaluationError("integer overflow")
        self.nanos = nanos

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.nanos == other.nanos

    def __lt__(self, other: Duration) -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: Duration) -> bool:
        return self.nanos <= other.nanos

    def __hash__(self) -> int:
        return hash(("duration", self.nanos))

    def __repr__(self) -> str:
        return f"Duration({self.nanos})"


class Timestamp:
    """An instant, in nanoseconds since 1970; `offset` (seconds) is the zone that it was written with."""

    __slots__ = ("nanos", "offset")

    SMALLEST = -62135596800 * 10**9
    LARGEST = 253402300799 * 10**9 + 999999999

    def __init__(self, nanos: int, offset: int = 0) -> None:
        if not self.SMALLEST <= nanos <= self.LARGEST:
            raise EvaluationError("timestamp overflow")
        self.nanos = nanos
        self.offset = offset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.nanos == other.nanos

    def __lt__(self, other: Timestamp) -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: Timestamp) -> bool:
        return self.nanos <= other.nanos

    def __hash__(self) -> int:
        return hash(("timestamp", self.nanos))

    def __repr__(self) -> str:
        return f"Timestamp({self.nanos})"


class TypeValue:
    """What `type(x)` gives: compared by name, as `int` and `list` are written in an expression."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(("type", self.name))

    def __repr__(self) -> str:
        return f"TypeValue({self.name!r})"


class Optional:
    """`optional.of(value)`; the one without a value is NOTHING."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optional) and equals(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, key: Any) -> Optional:
        """As `.?key`: what compiled code does with `value.key` when it does not know that the value is optional."""
        from timonel.machinery.cel.operators import optional_select

        return optional_select(self, key)

    def __repr__(self) -> str:
        return "NOTHING" if self is NOTHING else f"Optional({self.value!r})"


class _Nothing:
    __slots__ = ()


NOTHING = Optional(_Nothing())


@runtime_checkable
class Opaque(Protocol):
    """A value of a library's own type: its type's name, and equality. Values passed in may be opaque, too."""

    cel_type: str


class Object(dict[str, Any]):
    """An object that an expression made (`Object.spec{…}`, `JSONPatch{…}`): its fields, and its type's name."""

    __slots__ = ("cel_type",)

    def __init__(self, cel_type: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.cel_type = cel_type


_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    list: "list",
    tuple: "list",
    dict: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeValue: "type",
    Optional: "optional_type",
}


def type_name(value: Any) -> str:
    """The name of a value's type, as `type()` compares it and as messages print it."""
    name = _NAMES.get(type(value))
    if name is not None:
        return name
    if hasattr(value, "cel_type"):
        return str(value.cel_type)
    if isinstance(value, Mapping):
        return "map"
    if isinstance(value, (list, tuple)):
        return "list"
    return type(value).__name__


def no_overload(function: str, *args: Any) -> EvaluationError:
    return EvaluationError(f"{NO_OVERLOAD}: {function}({', '.join(type_name(arg) for arg in args)})")


_NUMBERS = (int, float)


def equals(left: Any, right: Any) -> bool:
    """CEL's equality: numbers by value whatever their type, other types only with their own."""
    kind, other = type(left), type(right)
    if kind is str or other is str or left is None or right is None:
        return bool(left == right) if kind is other else False
    if isinstance(left, bool) or isinstance(right, bool):
        return kind is other and left == right
    if isinstance(left, _NUMBERS):
        return isinstance(right, _NUMBERS) and left == right
    if isinstance(left, (list, tuple)):
        if not isinstance(right, (list, tuple)) or len(left) != len(right):
            return False
        return all(equals(one, another) for one, another in zip(left, right, strict=True))
    if isinstance(left, Mapping):
        return isinstance(right, Mapping) and _same_map(left, right)
    return bool(left == right)


def _same_map(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    if len(left) != len(right) or getattr(left, "cel_type", "") != getattr(right, "cel_type", ""):
        return False
    for key, value in left.items():
        found = lookup(right, key)
        if found is MISSING or not equals(value, found):
            return False
    return True


class _Missing:
    __slots__ = ()


MISSING = _Missing()


def lookup(mapping: Mapping[Any, Any], key: Any) -> Any:
    """The value under a key, or MISSING: `1` finds `1u` and `1.0`, but not `true`."""
    if type(key) is str:
        return mapping.get(key, MISSING)
    if isinstance(key, float) and not key.is_integer():
        return MISSING
    if not isinstance(key, (int, float)):
        return MISSING
    try:
        value = mapping.get(key, MISSING)
    except TypeError:
        return MISSING
    if value is MISSING:
        return MISSING
    wants_bool = isinstance(key, bool)
    for present, found in mapping.items():
        if present == key and isinstance(present, bool) == wants_bool and type(present) is not str:
            return found
    return MISSING


def contains(value: Any, container: Any) -> bool:
    """`value in container`."""
    if isinstance(container, Mapping):
        return lookup(container, value) is not MISSING
    if isinstance(container, (list, tuple)):
        if type(value) is str:
            return value in container
        return any(equals(value, one) for one in container)
    raise no_overload("@in", value, container)


_ORDERED = {"string", "bytes", "bool", "google.protobuf.Timestamp", "google.protobuf.Duration"}


def is_less(left: Any, right: Any, *, or_equal: bool = False) -> bool:
    """`<` and `<=` over values whose types are not known; the caller swaps them for `>`."""
    if (
        isinstance(left, _NUMBERS)
        and isinstance(right, _NUMBERS)
        and not (isinstance(left, bool) or isinstance(right, bool))
    ):
        return left <= right if or_equal else left < right
    name = type_name(left)
    if name not in _ORDERED or name != type_name(right):
        raise EvaluationError(NO_OVERLOAD)
    return bool(left <= right) if or_equal else bool(left < right)


def size_of(value: Any) -> int:
    """`size()` of anything that has one; 1 of what has none, as costs count it."""
    if isinstance(value, (str, bytes, list, tuple, Mapping)):
        return len(value)
    return getattr(value, "size", 1) if not callable(getattr(value, "size", 1)) else 1


def traversal_size(value: Any) -> int:
    """The cost of walking over a whole value (apiserver's `traversalCost`)."""
    if isinstance(value, str):
        return int(len(value.encode("utf-8", "surrogatepass")) * 0.1)
    if isinstance(value, bytes):
        return int(len(value) * 0.1)
    if isinstance(value, (list, tuple)):
        return sum(map(traversal_size, value))
    if isinstance(value, Mapping):
        return sum(traversal_size(key) + traversal_size(inner) for key, inner in value.items())
    return 1


def iterate(value: Any) -> Iterator[Any]:
    """What a comprehension walks over: a list's elements, a map's keys."""
    if isinstance(value, (list, tuple, Mapping)):
        return iter(value)
    raise EvaluationError(f"got '{type_name(value)}', expected iterable type")


def pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a comprehension with two variables walks over."""
    if isinstance(value, Mapping):
        return iter(value.items())
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    raise EvaluationError(f"got '{type_name(value)}', expected iterable type")
