"""Built-in types as expressions see them: what a policy's expressions are checked against.

Fields are looked up as they are asked for, since types refer to each other and some to themselves.

Upstream: apiserver/pkg/cel/openapi/resolver, apiserver/pkg/cel/common/schemas.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from timonel.machinery.cel import types
from timonel.machinery.cel.declared import escape, unescape
from timonel.machinery.cel.types import Field, Type

Lookup = Callable[[str], Mapping[str, Any]]

_SCALARS = {
    "string": types.STRING,
    "quantity": types.STRING,
    "boolean": types.BOOL,
    "int32": types.INT,
    "int64": types.INT,
    "number": types.DOUBLE,
    "double": types.DOUBLE,
    "bytes": types.BYTES,
    "time": types.TIMESTAMP,
    "microtime": types.TIMESTAMP,
}


class _Fields(Mapping[str, Field]):
    def __init__(self, name: str, lookup: Lookup) -> None:
        self._name, self._lookup = name, lookup

    @property
    def _known(self) -> Mapping[str, Any]:
        fields: Mapping[str, Any] = self._lookup(self._name)["fields"]
        return fields

    def __getitem__(self, key: str) -> Field:
        name = unescape(key)
        return Field(_type(self._known[name], self._lookup), name)

    def __iter__(self) -> Iterator[str]:
        return (escaped for name in self._known if (escaped := escape(name)) is not None)

    def __len__(self) -> int:
        return len(self._known)


def declared(name: str, lookup: Lookup) -> Type:
    """The type called `name`; `lookup` as `schema.Schema.type`."""
    return Type("object", name, fields=_Fields(name, lookup))


def _type(given: Mapping[str, Any], lookup: Lookup) -> Type:
    kind = given["t"]
    if kind == "ref":
        return declared(given["ref"], lookup)
    if kind == "list":
        return types.list_of(_type(given["of"], lookup))
    if kind == "map":
        return types.map_of(types.STRING, _type(given["of"], lookup))
    return _SCALARS.get(kind, types.DYN)
