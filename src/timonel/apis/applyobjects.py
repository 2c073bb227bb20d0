"""The objects that mutating policies construct: `Object{…}`, `Object.spec{…}`, with whatever fields.

Whether a name goes with its place and the fields are those of the kind is told when the configuration is applied.

Upstream: apiserver/pkg/cel/mutation/{typeresolver,dynamic}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from timonel.machinery.cel import Environment, types
from timonel.machinery.cel.types import Field, Type

ROOT = "Object"


class _AnyField(Mapping[str, Field]):
    """Every field there could be, of any type."""

    def __getitem__(self, key: str) -> Field:
        return Field(types.DYN, key)

    def get(self, key: str, default: object = None) -> Field:
        return self[key]

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1


class MutationEnvironment(Environment):
    __slots__ = ()

    def _object(self, name: str) -> Type | None:
        if name == ROOT or name.startswith(f"{ROOT}."):
            return Type("object", name, fields=_AnyField())
        return super()._object(name)
