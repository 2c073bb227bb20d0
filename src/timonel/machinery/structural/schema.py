"""A schema of a CustomResourceDefinition as a record: what the compilers of this package read.

`Schema.of(tree)` takes one node of an openAPIV3Schema as it stands in the definition. Formats that are not known are
gone, as upstream drops them before it validates anything; everything else is kept, also what is not structural.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/{structural,convert}.go,
apiextensions-apiserver/pkg/apiserver/validation/{validation,formats}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache, partial
from typing import Any

from timonel.machinery.structural import formats
from timonel.records import dataclass

Tree = Mapping[str, Any]
PLAIN = frozenset({"type", "format", "description"})
NONE: Mapping[str, Any] = {}  # one for all: most places in a schema have no properties


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """One place in a schema. `types` is what values may be; both integer and string for int-or-string."""

    type: str = ""
    types: tuple[str, ...] = ()
    nullable: bool = False
    format: str = ""
    has_default: bool = False
    default: Any = None

    maximum: int | float | None = None
    exclusive_maximum: bool = False
    minimum: int | float | None = None
    exclusive_minimum: bool = False
    multiple_of: int | float | None = None
    max_length: int | None = None
    min_length: int | None = None
    pattern: str = ""
    max_items: int | None = None
    min_items: int | None = None
    unique_items: bool = False
    max_properties: int | None = None
    min_properties: int | None = None
    required: tuple[str, ...] = ()
    enum: tuple[Any, ...] = ()

    all_of: tuple[Schema, ...] = ()
    any_of: tuple[Schema, ...] = ()
    one_of: tuple[Schema, ...] = ()
    no: Schema | None = None

    items: Schema | None = None
    properties: Mapping[str, Schema] = field(default_factory=lambda: NONE)
    additional: Schema | None = None
    allows_additional: bool | None = None  # None: the schema does not say

    preserve_unknown: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str = ""
    list_map_keys: tuple[str, ...] = ()
    map_type: str = ""
    rules: tuple[Tree, ...] = ()
    tree: Tree = field(default_factory=dict)  # as it stands in the definition

    @classmethod
    def of(cls, tree: Tree, *, all_formats: bool = False) -> Schema:
        """`all_formats`: also those that are no formats of the type beside them, as for defaults."""
        if tree.keys() <= PLAIN:
            return _plain(tree.get("type", ""), tree.get("format", ""), all_formats)
        return cls._of(tree, all_formats)

    @classmethod
    def _of(cls, tree: Tree, all_formats: bool) -> Schema:
        kind = tree.get("type", "")
        int_or_string = bool(tree.get("x-kubernetes-int-or-string"))
        types = ("integer", "string") if int_or_string else (kind,) if kind else ()
        items, additional = tree.get("items"), tree.get("additionalProperties")
        form = tree.get("format", "")
        below = partial(cls.of, all_formats=all_formats)
        return cls(
            type=kind,
            types=types,
            nullable=bool(tree.get("nullable")),
            format=form if all_formats else formats.known(form, types),
            has_default=tree.get("default") is not None,
            default=tree.get("default"),
            maximum=tree.get("maximum"),
            exclusive_maximum=bool(tree.get("exclusiveMaximum")),
            minimum=tree.get("minimum"),
            exclusive_minimum=bool(tree.get("exclusiveMinimum")),
            multiple_of=tree.get("multipleOf"),
            max_length=tree.get("maxLength"),
            min_length=tree.get("minLength"),
            pattern=tree.get("pattern", ""),
            max_items=tree.get("maxItems"),
            min_items=tree.get("minItems"),
            unique_items=bool(tree.get("uniqueItems")),
            max_properties=tree.get("maxProperties"),
            min_properties=tree.get("minProperties"),
            required=tuple(tree.get("required") or ()),
            enum=tuple(tree.get("enum") or ()),
            all_of=tuple(map(below, tree.get("allOf") or ())),
            any_of=tuple(map(below, tree.get("anyOf") or ())),
            one_of=tuple(map(below, tree.get("oneOf") or ())),
            no=below(tree["not"]) if isinstance(tree.get("not"), dict) else None,
            items=below(items) if isinstance(items, dict) else None,
            properties={k: below(v) for k, v in tree["properties"].items()}
            if tree.get("properties")
            else NONE,
            additional=below(additional) if isinstance(additional, dict) else None,
            allows_additional=None if additional is None else additional is not False,
            preserve_unknown=bool(tree.get("x-kubernetes-preserve-unknown-fields")),
            embedded=bool(tree.get("x-kubernetes-embedded-resource")),
            int_or_string=int_or_string,
            list_type=tree.get("x-kubernetes-list-type") or "",
            list_map_keys=tuple(tree.get("x-kubernetes-list-map-keys") or ()),
            map_type=tree.get("x-kubernetes-map-type") or "",
            rules=tuple(tree.get("x-kubernetes-validations") or ()),
            tree=tree,
        )

    def child(self, key: str) -> Schema | None:
        """The schema of a member of an object, if there is one."""
        return self.properties.get(key, self.additional)


@lru_cache(maxsize=256)
def _plain(kind: str, form: str, all_formats: bool) -> Schema:
    """Most places in a schema say no more than a type: there is one record for all of them."""
    return Schema._of({"type": kind, "format": form}, all_formats)


# The members of every object that the API, not the schema, describes.
META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
