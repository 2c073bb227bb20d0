"""A definition as upstream's rules see it: what all versions have in common stands at the top, once.

The paths of causes follow from that: the schema of a definition whose versions all have the same one is at
`spec.validation`, not at `spec.versions[0].schema`.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/v1/conversion.go, pkg/apis/apiextensions/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timonel.objects.meta import Object
from timonel.records import dataclass

Tree = Mapping[str, Any]
SHARED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
PLAIN = frozenset({"type", "format", "title", "description"})
SCALARS = frozenset({"boolean", "integer", "number", "string"})


@dataclass(frozen=True, slots=True)
class Hub:
    """`spec` as it is on the wire; `versions` without what `shared` has."""

    spec: Tree
    versions: tuple[Tree, ...]
    shared: Tree

    @property
    def first_name(self) -> str:
        return str(self.versions[0].get("name", "")) if self.versions else ""

    @property
    def keeps_unknown(self) -> bool:
        return bool(self.spec.get("preserveUnknownFields"))

    def schemas(self) -> Iterator[Tree]:
        """All schemas that the definition has, each once."""
        for holder in (self.shared, *self.versions):
            schema = schema_in(holder)
            if schema is not None:
                yield schema

    def schema_of(self, version: str) -> Tree | None:
        shared = schema_in(self.shared)
        if shared is not None:
            return shared
        return next((schema_in(v) for v in self.versions if v.get("name") == version), None)

    def subresources_of(self, version: Tree) -> Tree | None:
        if any(v.get("subresources") is not None for v in self.versions):
            return version.get("subresources")
        return self.shared.get("subresources")


def schema_in(holder: Tree) -> Tree | None:
    found: Tree | None = (holder.get("schema") or {}).get("openAPIV3Schema")
    return found


def hub_of(crd: Object) -> Hub:
    spec: Tree = crd.get("spec") or {}
    versions: list[Tree] = spec.get("versions") or []
    if not versions:
        return Hub(spec, (), {})
    first = versions[0]
    same = [key for key in SHARED if all(version.get(key) == first.get(key) for version in versions)]
    return Hub(
        spec,
        tuple({k: v for k, v in version.items() if k not in same} for version in versions),
        {key: first[key] for key in same if first.get(key) is not None},
    )


# ---- walks over a schema


def is_plain(schema: Tree) -> bool:
    """Whether it says no more than that values are scalars, as most do: then nothing is wrong with it."""
    return schema.keys() <= PLAIN and schema.get("type") in SCALARS


def subschemas(schema: Tree) -> list[Tree]:
    """The schema and every schema in it, outermost first."""
    found: list[Tree] = []
    _collect(schema, found)
    return found


def _collect(schema: Tree, found: list[Tree]) -> None:
    found.append(schema)
    if schema.keys() <= PLAIN:
        return
    for key in ("items", "additionalProperties", "additionalItems", "not"):
        below = schema.get(key)
        if isinstance(below, dict):
            _collect(below, found)
        elif isinstance(below, list):
            for one in below:
                _collect(one, found)
    for key in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(key) or ():
            _collect(one, found)
    for key in ("properties", "patternProperties", "definitions", "dependencies"):
        for one in (schema.get(key) or {}).values():
            if isinstance(one, dict):
                _collect(one, found)


def has_defaults(schema: Tree) -> bool:
    return any(one.get("default") is not None for one in subschemas(schema))


def has_extensions(schema: Tree) -> bool:
    """Whether it says anything that only structural schemas may say."""
    return any(
        one.get("x-kubernetes-embedded-resource")
        or one.get("x-kubernetes-preserve-unknown-fields") is not None
        or one.get("x-kubernetes-int-or-string")
        or one.get("x-kubernetes-list-map-keys")
        or one.get("x-kubernetes-list-type") is not None
        or one.get("x-kubernetes-validations")
        for one in subschemas(schema)
    )
