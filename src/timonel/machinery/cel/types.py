"""The types of CEL, and those that a structural schema declares.

A type is an immutable value, compared by kind, name and parameters; what a schema says beyond that (the most elements a
value may have, the fewest bytes it takes, how its lists merge) rides along for the cost estimate and for access to the
tree, and is no part of the comparison.

Upstream: cel-go common/types/types.go, checker/format.go; apiserver/pkg/cel/types.go.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from timonel.records import dataclass

_WORDS = """
true false null in as break const continue else for function if import let loop package namespace return var void while
"""
RESERVED = frozenset(_WORDS.split())
NO_LIMIT = (1 << 63) - 1
"""The `max_elements` of a value whose size nothing bounds."""


class Type:
    """One type. `params` are a list's element, a map's key and value, an opaque type's arguments."""

    __slots__ = (
        "fields",
        "key",
        "kind",
        "list_keys",
        "list_type",
        "max_elements",
        "min_size",
        "name",
        "nullable",
        "params",
    )

    def __init__(
        self,
        kind: str,
        name: str = "",
        params: tuple[Type, ...] = (),
        *,
        fields: Mapping[str, Field] | None = None,
        max_elements: int = 0,
        min_size: int = 0,
        list_type: str = "",
        list_keys: tuple[str, ...] = (),
        nullable: bool = False,
    ) -> None:
        self.kind = kind
        self.name = name or kind
        self.params = params
        self.fields = fields
        self.max_elements = max_elements
        self.min_size = min_size
        self.list_type = list_type
        self.list_keys = list_keys
        self.nullable = nullable
        self.key: tuple[Any, ...] = (kind, self.name, tuple(param.key for param in params))

    def __eq__(self, other: builtins.object) -> bool:
        return isinstance(other, Type) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<Type {display(self)}>"

    def __str__(self) -> str:
        """As cel-go's `Type.String()`: what "must evaluate to …" prints."""
        return display(self, _RUNTIME_NAMES)

    def field(self, name: str) -> Field | None:
        """The field that an expression calls `name`: words of the language need no underscores behind a dot."""
        if self.fields is None:
            return None
        found = self.fields.get(name)
        if found is None and name in RESERVED:
            return self.fields.get(f"__{name}__")
        return found

    def unwrapped(self) -> Type:
        """What an optional type may hold; any other type itself."""
        return self.params[0] if self.kind == "opaque" and self.name == "optional_type" else self

    @property
    def elem(self) -> Type:
        """The element of a list, the value of a map."""
        return self.params[-1] if self.params else DYN


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object type: its type, and its key in the tree (the name in a rule is escaped)."""

    type: Type
    key: str


_RUNTIME_NAMES = {
    "null": "null_type",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}


def display(of: Type, names: Mapping[str, str] | None = None) -> str:
    """As the checker's messages print a type."""
    kind = of.kind
    if kind == "list":
        return f"list({display(of.params[0], names)})"
    if kind == "map":
        return f"map({display(of.params[0], names)}, {display(of.params[1], names)})"
    if kind == "error":
        return "!error!"
    if kind == "type":
        return f"type({display(of.params[0], names)})" if of.params else "type"
    if kind == "opaque" and of.params:
        return f"{of.name}({', '.join(display(param, names) for param in of.params)})"
    if names is not None:
        return names.get(of.name, of.name)
    return of.name


DYN = Type("dyn")
ERROR = Type("error")
NULL = Type("null")
BOOL = Type("bool", min_size=4)
INT = Type("int", min_size=1)
UINT = Type("uint", min_size=1)
DOUBLE = Type("double", min_size=1)
STRING = Type("string", min_size=2, max_elements=NO_LIMIT)
BYTES = Type("bytes", min_size=2, max_elements=NO_LIMIT)
TIMESTAMP = Type("timestamp", min_size=21, max_elements=NO_LIMIT)
DURATION = Type("duration", min_size=3, max_elements=NO_LIMIT)
TYPE = Type("type")


def list_of(
    elem: Type, *, max_elements: int = NO_LIMIT, list_type: str = "", list_keys: tuple[str, ...] = ()
) -> Type:
    return Type(
        "list",
        "list",
        (elem,),
        max_elements=max_elements,
        min_size=2,
        list_type=list_type,
        list_keys=list_keys,
    )


def map_of(key: Type, value: Type, *, max_elements: int = NO_LIMIT) -> Type:
    return Type("map", "map", (key, value), max_elements=max_elements, min_size=2)


def object(name: str, fields: Mapping[str, Type | Field], *, min_size: int = 2) -> Type:
    """An object type; a field may be given as a type when its key in the tree is its name."""
    named = {
        field: value if isinstance(value, Field) else Field(value, field) for field, value in fields.items()
    }
    return Type("object", name, fields=named, min_size=min_size)


def opaque(name: str, *params: Type) -> Type:
    """A type that only functions know, such as `kubernetes.Quantity`."""
    return Type("opaque", name, params)


def optional_of(inner: Type) -> Type:
    return Type("opaque", "optional_type", (inner,))


def type_of(inner: Type) -> Type:
    return Type("type", "type", (inner,))


def param(name: str) -> Type:
    """A type parameter of a function's declaration, or one that the checker has yet to find."""
    return Type("param", name)


LIST_DYN = list_of(DYN)
MAP_DYN = map_of(STRING, DYN)


def of_schema(schema: Mapping[str, Any], *, name: str = "object", root: bool = False) -> Type | None:
    """The type that a structural schema's node declares; None where a rule cannot see values of it.

    `name` names the object types (`name.spec`, `name.list.@idx`); `root` adds apiVersion, kind and metadata.
    """
    from timonel.machinery.cel.declared import declare

    return declare(schema, name=name, root=root)
