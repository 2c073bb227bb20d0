"""Custom resources in OpenAPI: their schemas as the definitions give them, under the names that clients expect.

A document is written when somebody asks for it, from the bytes of the stored definitions, and not kept. Clients keep
what they have read as long as its hash, which the index tells, is the same.

Version 2 knows less than definitions may say; there, what it has no words for is left out, so that clients that
validate by it refuse nothing that the server takes.

Upstream: apiextensions-apiserver/pkg/controller/openapi/{builder/builder,v2/conversion}.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from timonel.schema.openapi import Described, Kinds, OpenApi, Refer
from timonel.server.custom.definition import Version
from timonel.server.custom.serving import CustomResources

if TYPE_CHECKING:
    from timonel.server.custom.live import Live

Json = dict[str, Any]
Schema = Mapping[str, Any]

PREFIX = "/openapi/v3/"
GVK = "x-kubernetes-group-version-kind"
SELECTABLE = "x-kubernetes-selectable-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
PART_VERBS = ("get", "patch", "update")
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
EMBEDDED_API_VERSION = (
    "apiVersion defines the versioned schema of this representation of an object. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
EMBEDDED_KIND = (
    "kind is a string value representing the type of this object. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
METADATA = (
    "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
LIST_METADATA = (
    "Standard list metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
# words of schemas that version 2 does not have
BEYOND_V2 = ("allOf", "anyOf", "oneOf", "not", "nullable", "default", "x-kubernetes-validations")


class Publication:
    """The documents of the built-in resources with those of custom ones (`server.openapi.Published`)."""

    def __init__(self, builtin: OpenApi, resources: CustomResources) -> None:
        self._builtin = builtin
        self._resources = resources
        self._kept: tuple[tuple[bool, str], bytes] | None = None

    @property
    def index(self) -> bytes:
        own, more = self._builtin.index, self._hashes()
        if not more:
            return own
        paths = orjson.loads(own)["paths"]
        for (group, version), digest in more.items():
            at = f"apis/{group}/{version}"
            paths.setdefault(at, {"serverRelativeURL": f"{PREFIX}{at}?hash={digest}"})
        return orjson.dumps({"paths": paths})

    def _hashes(self) -> dict[tuple[str, str], str]:
        """By group and version; changes when a document does."""
        found: dict[tuple[str, str], list[str]] = {}
        for live in self._resources:
            for version in live.definition.versions:
                if version.served:
                    own = found.setdefault((live.definition.group, version.name), [])
                    own.append(f"{live.definition.name} {live.definition.digest}")
        return {
            gv: hashlib.sha256(repr(sorted(own)).encode()).hexdigest().upper() for gv, own in found.items()
        }

    def v3(self, group: str, version: str) -> bytes | None:
        found = self._builtin.v3(group, version)
        if found is not None:
            return found
        resources, kinds = self._of(lambda live, v: (live.definition.group, v.name) == (group, version))
        return self._builtin.custom_v3(resources, kinds) if resources else None

    @property
    def v2(self) -> bytes:
        return self._v2(protobuf=False) or self._builtin.v2

    @property
    def v2_protobuf(self) -> bytes:
        return self._v2(protobuf=True) or self._builtin.v2_protobuf

    def _v2(self, *, protobuf: bool) -> bytes | None:
        """None where there are no custom resources. Old clients ask for it each time, so the last one is kept."""
        of = (protobuf, repr(sorted(self._hashes().items())))
        if self._kept is None or self._kept[0] != of:
            resources, kinds = self._of(lambda live, v: True)
            if not resources:
                self._kept = None
                return None
            self._kept = of, self._builtin.custom_v2(resources, kinds, protobuf=protobuf)
        return self._kept[1]

    def _of(self, wanted: Callable[[Live, Version], bool]) -> tuple[list[Json], Kinds]:
        resources: list[Json] = []
        kinds: dict[tuple[str, str, str], Described] = {}
        for live in sorted(self._resources, key=lambda found: found.definition.name):
            for version in live.definition.versions:
                if version.served and wanted(live, version):
                    resources.append(resource_of(live, version))
                    kinds |= kinds_of(live, version)
        return resources, kinds


def resource_of(live: Live, version: Version) -> Json:
    """As `schema.openapi` has the resources of the schema."""
    definition = live.definition
    own = {"group": definition.group, "version": version.name, "kind": definition.names.kind}
    parts: list[Json] = []
    if version.scale is not None:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        parts.append({**scale, "name": "scale", "verbs": PART_VERBS, "patches": PATCHES})
    if version.status:
        parts.append({**own, "name": "status", "verbs": PART_VERBS, "patches": PATCHES})
    return {
        **own,
        "list_kind": definition.names.list_kind,
        "plural": definition.names.plural,
        "namespaced": definition.namespaced,
        "verbs": VERBS,
        "subresources": parts,
        "patches": PATCHES,
    }


def full_name(group: str, version: str, kind: str) -> str:
    return ".".join([*reversed(group.split(".")), version, kind])


def kinds_of(live: Live, version: Version) -> Kinds:
    definition, names = live.definition, live.definition.names
    group, v = definition.group, version.name
    name, list_name = full_name(group, v, names.kind), full_name(group, v, names.list_kind)

    def of_object(refer: Refer, is_v3: bool) -> Json:
        schema = object_schema(live.source.schema(v), refer, is_v3=is_v3)
        schema[GVK] = [{"group": group, "version": v, "kind": names.kind}]
        if is_v3 and version.selectable:
            schema[SELECTABLE] = [{"fieldPath": path.removeprefix(".")} for path in version.selectable]
        return schema

    def of_list(refer: Refer, is_v3: bool) -> Json:
        prefix = "#/components/schemas/" if is_v3 else "#/definitions/"
        items = {
            "type": "array",
            "description": f"List of {names.plural}. More info: {CONVENTIONS}",
            "items": {"$ref": prefix + name},
        }
        return {
            "description": f"{names.list_kind} is a list of {names.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": API_VERSION},
                "kind": {"type": "string", "description": KIND},
                "items": items,
                "metadata": referring(refer("meta.v1.ListMeta"), LIST_METADATA, is_v3=is_v3),
            },
            GVK: [{"group": group, "version": v, "kind": names.list_kind}],
        }

    return {
        (group, v, names.kind): Described(name, of_object),
        (group, v, names.list_kind): Described(list_name, of_list),
    }


def referring(ref: Json, text: str, *, is_v3: bool) -> Json:
    """A reference has no neighbours in version 3."""
    return {"description": text, "allOf": [ref]} if is_v3 else {"description": text, **ref}


def object_schema(schema: Schema | None, refer: Refer, *, is_v3: bool) -> Json:
    if schema is None or (not is_v3 and schema.get(KEEPS_UNKNOWN)):
        return {"type": "object"}  # a client must not think that there are no other fields
    found = _node(schema, refer, is_v3=is_v3)
    metadata = referring(refer("meta.v1.ObjectMeta"), METADATA, is_v3=is_v3)
    found["properties"] = {
        **(found.get("properties") or {}),
        "apiVersion": {"type": "string", "description": API_VERSION},
        "kind": {"type": "string", "description": KIND},
        "metadata": metadata,
    }
    found.setdefault("type", "object")
    return found


def _node(schema: Schema, refer: Refer, *, is_v3: bool) -> Json:
    found = dict(schema)
    if not is_v3:
        _simplify(found)
    properties = found.get("properties")
    if properties:
        found["properties"] = {k: _node(below, refer, is_v3=is_v3) for k, below in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), Mapping):
            found[key] = _node(found[key], refer, is_v3=is_v3)
    if found.get(EMBEDDED) and (is_v3 or not found.get(KEEPS_UNKNOWN)):
        found["properties"] = {
            **(found.get("properties") or {}),
            "apiVersion": {"type": "string", "description": EMBEDDED_API_VERSION},
            "kind": {"type": "string", "description": EMBEDDED_KIND},
            "metadata": referring(refer("meta.v1.ObjectMeta"), METADATA, is_v3=is_v3),
        }
        found["required"] = list(dict.fromkeys([*(found.get("required") or ()), "kind", "apiVersion"]))
    return found


def _simplify(found: Json) -> None:
    """What kubectl would make too much of goes. Upstream: v2.ToStructuralOpenAPIV2."""
    if found.get("nullable") or found.get(KEEPS_UNKNOWN):
        for key in ("items", "properties", "additionalProperties", "required"):
            found.pop(key, None)
    if found.get("nullable") or found.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    for key in BEYOND_V2:
        found.pop(key, None)
