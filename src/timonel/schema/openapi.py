"""OpenAPI documents of what is served, for `kubectl explain`, `apply`, `diff` and other clients.

`OpenApi(schema)` gives version 3 per group version, and version 2 as one document in JSON or in protobuf, which is what
older clients ask for. Built when somebody asks, descriptions included, and kept as bytes.

Upstream: kube-openapi/pkg/{builder,builder3,handler,handler3}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import orjson

from timonel.records import dataclass
from timonel.schema import gnostic, retired
from timonel.schema.store import Schema, TypeData

Json = dict[str, Any]

_GVK = "x-kubernetes-group-version-kind"
_ACTION = "x-kubernetes-action"
_FULL = "io.k8s.apimachinery.pkg."
_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number", "format": "double"},
    "double": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
}
_EXTENSIONS = _FULL.replace("apimachinery", "apiextensions-apiserver") + "apis.apiextensions.v1."
_NAMED = {
    "time": _FULL + "apis.meta.v1.Time",
    "microtime": _FULL + "apis.meta.v1.MicroTime",
    "quantity": _FULL + "api.resource.Quantity",
    "intstr": _FULL + "util.intstr.IntOrString",
    "raw": _FULL + "runtime.RawExtension",
    "any": _EXTENSIONS + "JSON",
    "props-or-bool": _EXTENSIONS + "JSONSchemaPropsOrBool",
    "props-or-array": _EXTENSIONS + "JSONSchemaPropsOrArray",
    "props-or-strings": _EXTENSIONS + "JSONSchemaPropsOrStringArray",
}


# writes the reference to a type of the schema (`meta.v1.ObjectMeta`)
Refer = Callable[[str], Json]


@dataclass(frozen=True, slots=True)
class Described:
    """A kind that the schema does not have: its full name, and its schema in version 3 or else 2."""

    full: str
    schema: Callable[[Refer, bool], Json]


Kind = tuple[str, str, str]  # group, version and kind
Kinds = Mapping[Kind, Described]


class OpenApi:
    def __init__(
        self,
        schema: Schema,
        *,
        groups: Iterable[str] | None = None,
        widened: Mapping[str, Mapping[str, TypeData]] | None = None,
        retired: Iterable[Json] = (),
    ) -> None:
        """`groups` are those that are served; None: all that the schema has.

        `widened`: type -> fields that are published beside, or instead of, those of the schema. `retired`: resources of
        versions that the schema's index does not have, in the same form as there.
        """
        self._schema = schema
        self._widened = dict(widened or {})
        self._retired = list(retired)
        self._served = None if groups is None else frozenset(groups)
        self._v3: dict[tuple[str, str], bytes] = {}
        self._docs: dict[str, dict[str, dict[str, str]]] = {}

    # ---- documents

    def group_versions(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((r["group"], r["version"]) for r in self._resources()))

    @cached_property
    def index(self) -> bytes:
        """/openapi/v3: where the document of each group version is; the hash tells when it changes."""
        paths = {}
        for group, version in self.group_versions():
            at = _place(group, version)
            digest = (
                hashlib.sha256(f"{self._schema.digest} {at} {sorted(self._widened)}".encode())
                .hexdigest()
                .upper()
            )
            paths[at] = {"serverRelativeURL": f"/openapi/v3/{at}?hash={digest}"}
        return orjson.dumps({"paths": paths})

    def v3(self, group: str, version: str) -> bytes | None:
        """/openapi/v3/apis/GROUP/VERSION; None where nothing is served."""
        found = self._v3.get((group, version))
        if found is None:
            wanted = (group, version)
            resources = [r for r in self._resources() if (r["group"], r["version"]) == wanted]
            if not resources:
                return None
            found = self._v3[group, version] = orjson.dumps(self._document_v3(resources))
        return found

    @cached_property
    def v2(self) -> bytes:
        """/openapi/v2 as JSON."""
        return orjson.dumps(self._document_v2)

    @cached_property
    def v2_protobuf(self) -> bytes:
        """/openapi/v2 as application/com.github.proto-openapi.spec.v2@v1.0+protobuf."""
        return gnostic.document(self._document_v2)

    def _resources(self) -> list[Json]:
        served, known = self._served, (*self._schema.resource_index, *self._retired)
        return [r for r in known if served is None or r["group"] in served]

    def _info(self) -> Json:
        return {"title": "Kubernetes", "version": self._schema.kubernetes_version}

    def _document_v3(self, resources: list[Json], kinds: Kinds | None = None) -> Json:
        writer = _Writer(self, "#/components/schemas/", is_v3=True, kinds=kinds)
        paths = {p: item for resource in resources for p, item in _paths(resource, writer).items()}
        return {
            "openapi": "3.0.0",
            "info": self._info(),
            "paths": paths,
            "components": {"schemas": dict(sorted(writer.schemas().items()))},
        }

    @property
    def _document_v2(self) -> Json:
        return self._document_v2_of(self._resources(), None)

    def _document_v2_of(self, resources: list[Json], kinds: Kinds | None) -> Json:
        writer = _Writer(self, "#/definitions/", is_v3=False, kinds=kinds)
        paths = {p: item for resource in resources for p, item in _paths(resource, writer).items()}
        return {
            "swagger": "2.0",
            "info": self._info(),
            "paths": paths,
            "definitions": dict(sorted(writer.schemas().items())),
        }

    # ---- documents with resources that the schema does not have

    def custom_v3(self, resources: Iterable[Json], kinds: Kinds) -> bytes:
        """The document of a group version that has these resources alone."""
        return orjson.dumps(self._document_v3(list(resources), kinds))

    def custom_v2(self, resources: Iterable[Json], kinds: Kinds, *, protobuf: bool) -> bytes:
        """Version 2 with these resources besides its own."""
        document = self._document_v2_of([*self._resources(), *resources], kinds)
        return gnostic.document(document) if protobuf else orjson.dumps(document)

    # ---- what the writer asks

    def type(self, name: str) -> TypeData:
        found = self._schema.type(name)
        more = self._widened.get(name)
        return found if more is None else {**found, "fields": {**found["fields"], **more}}

    def name_of(self, group: str, version: str, kind: str) -> str | None:
        return self._schema.name_of(group, version, kind)

    @cached_property
    def retired(self) -> frozenset[Kind]:
        """Kinds of retired versions, each of which has a schema of its own even where it is like a served one."""
        return frozenset((r["group"], r["version"], r["kind"]) for r in self._retired)

    def docs_of(self, name: str) -> dict[str, str]:
        """Of a type, and of a retired one those of the type that took over."""
        name = retired.successor(name) or name
        package = name.rpartition(".")[0]
        if package not in self._docs:
            self._docs[package] = self._schema.docs(package)
        found: dict[str, str] = self._docs[package].get(name, {})
        return found

    @cached_property
    def special_docs(self) -> dict[str, str]:
        found: dict[str, str] = self._schema.section("special#docs")
        return found


def _place(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


# ---- schemas


class _Writer:
    """Writes schemas and remembers which ones they refer to."""

    def __init__(self, api: OpenApi, prefix: str, *, is_v3: bool, kinds: Kinds | None = None) -> None:
        self._api = api
        self._kinds = kinds or {}
        self._described: dict[str, Described] = {}
        self._retired: dict[str, Kind] = {}  # by full name
        self._prefix = prefix
        self.is_v3 = is_v3
        self._wanted: dict[str, None] = {}
        self._special: dict[str, None] = {}

    def ref_to_kind(self, group: str, version: str, kind: str) -> Json:
        described = self._kinds.get((group, version, kind))
        if described is not None:
            self._described[described.full] = described
            return {"$ref": self._prefix + described.full}
        if (group, version, kind.removesuffix("List")) in self._api.retired:
            full = retired.full_name(group, version, kind)
            self._retired[full] = (group, version, kind)
            return {"$ref": self._prefix + full}
        name = self._api.name_of(group, version, kind)
        return self._ref(name) if name else {"type": "object"}

    def _ref(self, name: str) -> Json:
        self._wanted[name] = None
        return {"$ref": self._prefix + self._api.type(name)["full"]}

    def schemas(self) -> Json:
        """All that was referred to, and what that refers to in turn."""
        found: Json = {}
        for full, described in self._described.items():
            found[full] = described.schema(self._ref, self.is_v3)
        for full, kind in list(self._retired.items()):
            found[full] = self._retired_kind(*kind)
        done: set[str] = set()
        while rest := [name for name in self._wanted if name not in done]:
            for name in rest:
                done.add(name)
                found[self._api.type(name)["full"]] = self._struct(name)
        for full in self._special:
            found[full] = self._with_text(
                _special_schema(full, self.is_v3), self._api.special_docs.get(full, "")
            )
        return found

    def _retired_kind(self, group: str, version: str, kind: str) -> Json:
        own = {_GVK: [{"group": group, "version": version, "kind": kind}]}
        name = self._api.name_of(group, version, kind)
        if name is not None:
            return {**self._struct(name), **own}
        items = {"type": "array", "items": self.ref_to_kind(group, version, kind.removesuffix("List"))}
        fields: Json = {
            "apiVersion": {"type": "string"},
            "items": items,
            "kind": {"type": "string"},
            "metadata": self._property({"t": "ref", "ref": "meta.v1.ListMeta"}, ""),
        }
        return {"type": "object", "properties": fields, "required": ["items"], **own}

    @staticmethod
    def _with_text(schema: Json, text: str) -> Json:
        return {"description": text, **schema} if text else schema

    def _struct(self, name: str) -> Json:
        data, docs = self._api.type(name), self._api.docs_of(name)
        properties = {key: self._property(field, docs.get(key, "")) for key, field in data["fields"].items()}
        schema: Json = {"type": "object"}
        if properties:
            schema["properties"] = properties
        if required := [key for key, field in data["fields"].items() if field.get("req")]:
            schema["required"] = required
        if data.get("gvk"):
            schema[_GVK] = [{"group": g, "version": v, "kind": k} for g, v, k in data["gvk"]]
        if data.get("map"):
            schema["x-kubernetes-map-type"] = data["map"]
        return self._with_text(schema, docs.get("", ""))

    def _property(self, field: TypeData, text: str) -> Json:
        schema = self._value(field)
        if "$ref" in schema and self.is_v3 and (text or field["t"] == "ref"):
            # A reference has no neighbours in version 3.
            schema = {
                "allOf": [schema],
                **({"default": {}} if field.get("emit") and field["t"] == "ref" else {}),
            }
        for key, word in (
            ("list", "x-kubernetes-list-type"),
            ("keys", "x-kubernetes-list-map-keys"),
            ("map", "x-kubernetes-map-type"),
            ("merge", "x-kubernetes-patch-merge-key"),
            ("strategy", "x-kubernetes-patch-strategy"),
        ):
            if key in field:
                schema[word] = field[key]
        if "default" in field:
            schema["default"] = field["default"]
        return self._with_text(schema, text)

    def _value(self, field: TypeData) -> Json:
        kind = field["t"]
        if kind == "ref":
            return self._ref(field["ref"])
        if kind == "list":
            return {"type": "array", "items": self._value(field["of"])}
        if kind == "map":
            return {"type": "object", "additionalProperties": self._value(field["of"])}
        if kind in _SCALARS:
            return dict(_SCALARS[kind])
        full = _NAMED[kind]
        self._special[full] = None
        return {"$ref": self._prefix + full}


def _special_schema(full: str, is_v3: bool) -> Json:
    name = full.rpartition(".")[2]
    if name in ("Time", "MicroTime"):
        return {"type": "string", "format": "date-time"}
    if name == "Quantity":
        return {"oneOf": [{"type": "string"}, {"type": "number"}]} if is_v3 else {"type": "string"}
    if name == "IntOrString":
        if is_v3:
            return {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"type": "string", "format": "int-or-string"}
    return {} if name.startswith("JSON") else {"type": "object"}


# ---- paths


def _paths(resource: Json, writer: _Writer) -> Json:
    """The path items of a resource and its subresources."""
    base = "/" + _place(resource["group"], resource["version"])
    root = f"{base}/namespaces/{{namespace}}" if resource["namespaced"] else base
    collection = f"{root}/{resource['plural']}"
    found: Json = {}
    verbs = set(resource["verbs"])
    inside, is_v3 = resource["namespaced"], writer.is_v3
    item = _collection(resource, verbs, writer)
    _put(found, collection, item, namespaced=inside, named=False, is_v3=is_v3)
    item = _item(resource, verbs, writer)
    _put(found, f"{collection}/{{name}}", item, namespaced=inside, named=True, is_v3=is_v3)
    if resource["namespaced"] and "list" in verbs:
        everywhere = {"get": _operation("list", resource, writer)}
        path = f"{base}/{resource['plural']}"
        _put(found, path, everywhere, namespaced=False, named=False, is_v3=is_v3)
    for sub in resource["subresources"]:
        path = f"{collection}/{{name}}/{sub['name']}"
        item = _item(sub, set(sub["verbs"]), writer, "post")
        _put(found, path, item, namespaced=inside, named=True, is_v3=is_v3)
    return found


def _put(found: Json, path: str, item: Json, *, namespaced: bool, named: bool, is_v3: bool) -> None:
    if item:
        parameters = [n for n, wanted in (("name", named), ("namespace", namespaced)) if wanted]
        found[path] = {**item, "parameters": [_path_parameter(n, is_v3) for n in parameters]}


def _collection(resource: Json, verbs: set[str], writer: _Writer) -> Json:
    words = (("list", "get"), ("create", "post"), ("deletecollection", "delete"))
    return {method: _operation(verb, resource, writer) for verb, method in words if verb in verbs}


def _item(resource: Json, verbs: set[str], writer: _Writer, create: str = "") -> Json:
    words = (("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete"), ("create", create))
    return {method: _operation(verb, resource, writer) for verb, method in words if verb in verbs and method}


_ACTIONS = {"create": "post", "update": "put"}
_QUERIES = {
    "create": ("dryRun", "fieldManager", "fieldValidation"),
    "update": ("dryRun", "fieldManager", "fieldValidation"),
    "patch": ("dryRun", "fieldManager", "fieldValidation", "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"),
    "deletecollection": ("dryRun", "fieldSelector", "labelSelector", "limit", "continue"),
    "list": (
        "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
        "timeoutSeconds", "watch",
    ),
    "get": ("pretty",),
}  # fmt: skip
_QUERY_TYPES = {
    "force": "boolean", "watch": "boolean", "orphanDependents": "boolean", "limit": "integer",
    "timeoutSeconds": "integer", "gracePeriodSeconds": "integer",
}  # fmt: skip
_PATCHES = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip


def _operation(verb: str, resource: Json, writer: _Writer) -> Json:
    group, version, kind = resource["group"], resource["version"], resource["kind"]
    answered = resource.get("list_kind", f"{kind}List") if verb == "list" else kind
    schema = writer.ref_to_kind(group, version, answered)
    parameters = [_query(name, writer.is_v3) for name in _QUERIES[verb]]
    operation: Json = {
        _ACTION: _ACTIONS.get(verb, verb),
        _GVK: {"group": group, "version": version, "kind": kind},
        "parameters": parameters,
    }
    sent = {"type": "object"} if verb == "patch" else schema
    consumed = (
        resource.get("patches", _PATCHES) if verb == "patch" else ("application/json", "application/yaml")
    )
    if writer.is_v3:
        if verb in ("create", "update", "patch"):
            operation["requestBody"] = {"content": {t: {"schema": sent} for t in consumed}, "required": True}
        content = {"application/json": {"schema": schema}}
        operation["responses"] = {"200": {"description": "OK", "content": content}}
    else:
        if verb in ("create", "update", "patch"):
            parameters.append({"name": "body", "in": "body", "required": True, "schema": sent})
            operation["consumes"] = list(consumed)
        operation["produces"] = ["application/json", "application/yaml"]
        operation["responses"] = {"200": {"description": "OK", "schema": schema}}
    return operation


def _query(name: str, is_v3: bool) -> Json:
    kind = _QUERY_TYPES.get(name, "string")
    value: Json = (
        {"schema": {"type": kind, "uniqueItems": True}} if is_v3 else {"type": kind, "uniqueItems": True}
    )
    return {"name": name, "in": "query", **value}


def _path_parameter(name: str, is_v3: bool) -> Json:
    value: Json = {"schema": {"type": "string"}} if is_v3 else {"type": "string"}
    return {"name": name, "in": "path", "required": True, **value}
