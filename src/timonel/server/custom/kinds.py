"""What the server knows of one version of a custom resource: its `ResourceType` and the code of its trees.

Nothing of a schema is read before the version is used: `Source` finds it in the stored definition then.

On the way in, metadata is what metadata is everywhere, fields that the schema does not have go, and its defaults come.
What is read from the store goes the same way, for the schema may be another one by now.

Upstream: apiextensions-apiserver/pkg/apiserver/customresource_handler.go (schemaCoercingDecoder),
pkg/registry/customresource/{strategy,status_strategy,validator}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from timonel.apis.resource import ResourceType, Scale
from timonel.machinery import errors, field, jsonpath, names
from timonel.machinery.apply import schemas, sets
from timonel.machinery.apply.fields import Fields
from timonel.machinery.apply.typed import Node
from timonel.machinery.codec import Codec, DecodeError
from timonel.machinery.errors import BadRequest, Cause, NotAcceptable
from timonel.machinery.structural import Malformed, Structural
from timonel.objects.meta import Object
from timonel.server import objectmeta
from timonel.server.custom.columns import columns_of
from timonel.server.custom.definition import Definition, Version
from timonel.server.registry import TypeMachinery

if TYPE_CHECKING:
    from timonel.machinery.cel.types import Type

STATUS_WRITES_NOT = sets.of_paths(("f:spec",), ("f:metadata",))
MAIN_WRITES_NOT = sets.of_paths(("f:status",))
LARGEST_REPLICAS = 2**31 - 1
UNKNOWN, QUOTE = "unknown field ", '"'
# resources inside of resources
INNER = ResourceType(group="", version="", kind="", plural="")
CLUSTER_INNER = ResourceType(group="", version="", kind="", plural="", namespaced=False)
GO_TYPES = {str: "string", bool: "bool", float: "float64", list: "[]interface {}"}

Schema = Mapping[str, Any]


class Metadata:
    """The metadata of every object: its codec, and its node in server-side apply (`structural.Metadata`)."""

    def __init__(self, codec: Codec, node: Node, builtin: TypeMachinery) -> None:
        self.codec = codec
        self.node = node
        self.builtin = builtin

    def normalize(self, metadata: Any, path: str) -> tuple[Object, list[str]]:
        """In its form, and the paths of unknown fields. Raises Malformed."""
        try:
            found, problems = self.codec.normalize(metadata)
        except DecodeError as e:
            raise Malformed(str(e)) from e
        return found, [f"{path}.{p.removeprefix(UNKNOWN).strip(QUOTE)}" for p in problems]

    def validate(self, metadata: Object, path: str) -> Iterator[Cause]:
        rtype = INNER if metadata.get("namespace") else CLUSTER_INNER
        named = {"name": "fakename", **metadata}  # it may be absent here
        for cause in objectmeta.validate({"metadata": named}, rtype, names.path_segment_name):
            yield Cause(cause.type, cause.message, path + cause.field.removeprefix("metadata"))


class CustomMachinery:
    """The trees of one version (`registry.TypeMachinery`)."""

    def __init__(
        self,
        definition: Definition,
        version: Version,
        schema: Callable[[], Schema | None],
        metadata: Metadata,
    ) -> None:
        self._definition = definition
        self._version = version
        self._schema = schema
        self._metadata = metadata

    @cached_property
    def structural(self) -> Structural | None:
        """None: the version has no schema, and takes everything."""
        schema = self._schema()
        if schema is None:
            return None
        keeps_unknown = self._definition.keeps_unknown
        return Structural(schema, metadata=self._metadata, keeps_unknown=keeps_unknown)

    @cached_property
    def fields(self) -> Fields:
        definition, version = self._definition, self._version
        ignored = {"": MAIN_WRITES_NOT, "status": STATUS_WRITES_NOT} if version.status else {}
        return Fields(
            schemas.root(None if definition.keeps_unknown else self._schema(), self._metadata.node),
            group=definition.group,
            version=version.name,
            kind=definition.names.kind,
            new={},
            ignored=ignored,
        )

    def declared(self) -> Type | None:
        """The type as expressions see it."""
        from timonel.machinery.cel import types  # here: most servers see no expressions

        schema = self._schema()
        return (
            None if schema is None else types.of_schema(schema, name=self._definition.names.kind, root=True)
        )

    # ---- trees in and out

    def normalize(self, tree: Any, beside: Object | None = None) -> tuple[Object, list[str]]:
        """Coerce the metadata, prune; the problems that strict validation reports. Raises DecodeError."""
        obj: Object = dict(tree)
        given = tree.get("metadata")
        try:
            obj["metadata"], unknown = self._metadata.normalize({} if given is None else given, "metadata")
            problems = [f"unknown field {field.quote(path)}" for path in unknown]
            return obj, sorted([*problems, *self.pruned(obj)])
        except Malformed as e:
            raise DecodeError(str(e)) from e

    def pruned(self, obj: Object) -> list[str]:
        if self.structural is None:
            return []
        return [f"unknown field {field.quote(path)}" for path in self.structural.prune(obj)]

    def default(self, obj: Object) -> None:
        if self.structural is not None:
            self.structural.default(obj)

    def settle(self, tree: Object) -> None:
        """Bring in order, in place, what was stored: malformed metadata goes, and old objects get a generation."""
        try:
            tree["metadata"] = self._metadata.codec.normalize(tree.get("metadata") or {})[0]
        except DecodeError:
            tree["metadata"] = _readable(tree["metadata"], self._metadata.codec)
        tree["metadata"].setdefault("generation", 1)
        with suppress(Malformed):
            self.pruned(tree)
        self.default(tree)

    def to_protobuf(self, tree: Object) -> bytes:
        if tree.get("apiVersion") != self.rtype.api_version:  # a Status, or metadata alone
            return self._metadata.builtin.to_protobuf(tree)
        raise NotAcceptable(
            "object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be "
            "encoded to a protobuf message"
        )

    def from_protobuf(self, body: bytes, fallback: str = "") -> Object:
        if fallback:  # options
            return self._metadata.builtin.from_protobuf(body, fallback)
        raise errors.UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: application/json, "
            "application/yaml"
        )

    # ---- owners of fields

    def record_update(
        self, old: Object | None, new: Object, *, manager: str, now: float, subresource: str = ""
    ) -> None:
        self.fields.record_update(old, new, manager=manager, now=now, subresource=subresource)

    def apply(
        self,
        live: Object | None,
        config: Object,
        *,
        manager: str,
        force: bool,
        now: float,
        subresource: str = "",
    ) -> Object:
        merged = self.fields.apply(
            live, config, manager=manager, force=force, now=now, subresource=subresource
        )
        try:
            return self.normalize(merged)[0]
        except DecodeError as e:
            raise BadRequest(str(e)) from e

    def strategic_merge(self, document: Object, patch: Object) -> Object:
        raise errors.UnsupportedMediaType("strategic merge patches need a Go type")

    def describe(self, path: str) -> str:
        return ""

    # ---- rules

    def validate(self, obj: Object) -> Iterator[Cause]:
        wrong = list(self._wrong_type(obj))
        if not wrong:
            yield from objectmeta.validate(obj, self.rtype)
        yield from wrong or self._content(obj, None)

    def validate_update(self, new: Object, old: Object) -> Iterator[Cause]:
        wrong = list(self._wrong_type(new))
        if not wrong:
            yield from objectmeta.validate_update(new, old)
        yield from wrong or self._content(new, old)

    def _content(self, obj: Object, old: Object | None) -> Iterator[Cause]:
        if self.structural is not None:
            yield from self.structural.validate(obj, old)
        if self._version.scale is not None:
            yield from _scale_causes(obj, self._version.scale)

    def _wrong_type(self, obj: Object) -> Iterator[Cause]:
        rtype = self.rtype
        if obj.get("kind") != rtype.kind:
            yield field.invalid("kind", obj.get("kind", ""), f"must be {rtype.kind}")
        if obj.get("apiVersion") != rtype.api_version:
            yield field.invalid("apiVersion", obj.get("apiVersion", ""), f"must be {rtype.api_version}")

    def warnings(self, obj: Object) -> Iterator[str]:
        for finalizer in obj["metadata"].get("finalizers") or ():
            if "/" not in finalizer and finalizer not in objectmeta.STANDARD_FINALIZERS:
                yield (
                    f"metadata.finalizers: {field.quote(finalizer)}: prefer a domain-qualified finalizer name "
                    "including a path (/) to avoid accidental conflicts with other finalizer writers"
                )

    def warnings_update(self, new: Object, old: Object) -> Iterator[str]:
        if self.structural is not None:
            yield from self.structural.warnings(new, old)
        if (new["metadata"].get("finalizers") or ()) != (old["metadata"].get("finalizers") or ()):
            yield from self.warnings(new)

    def prepare_create(self, obj: Object) -> None:
        if self._version.status:
            obj.pop("status", None)

    # ---- the type

    @cached_property
    def rtype(self) -> ResourceType:
        definition, version = self._definition, self._version
        own = definition.names
        return ResourceType(
            group=definition.group,
            version=version.name,
            kind=own.kind,
            plural=own.plural,
            singular=own.singular,
            list_kind=own.list_kind,
            namespaced=definition.namespaced,
            short_names=own.short_names,
            categories=own.categories,
            columns=columns_of(version.columns),
            status=version.status,
            scale=None if version.scale is None else scale_of(version.scale),
            custom=True,
            frugal=True,
            generation=True,
            unconditional_update=False,
            selectable={path.removeprefix("."): selected(path) for path in version.selectable},
            deprecated=version.warning,
            default=self.default,
            prepare_create=self.prepare_create,
            prepare_status_update=keep_all_but_status,
            validate=self.validate,
            validate_update=self.validate_update,
            validate_status_update=self.validate_update,
            warnings=self.warnings,
            warnings_update=self.warnings_update,
        )


def _readable(metadata: Any, codec: Codec) -> Object:
    """Of metadata that is malformed, the fields that are not."""
    found: Object = {}
    for key, value in metadata.items() if isinstance(metadata, dict) else ():
        try:
            found |= codec.normalize({key: value})[0]
        except DecodeError:
            continue
    return found


def keep_all_but_status(new: Object, old: Object) -> None:
    """/status writes the status, and who manages what. Upstream: statusStrategy.PrepareForUpdate."""
    status, managed = new.get("status"), new["metadata"].get("managedFields")
    has_status = "status" in new
    new.clear()
    new.update(old)
    metadata = {k: v for k, v in old["metadata"].items() if k != "managedFields"}
    new["metadata"] = metadata | ({"managedFields": managed} if managed else {})
    new.pop("status", None)
    if has_status:
        new["status"] = status


def scale_of(given: Mapping[str, str]) -> Scale:
    return Scale(
        replicas=given["specReplicasPath"].removeprefix("."),
        status_replicas=given["statusReplicasPath"].removeprefix("."),
        selector=(given.get("labelSelectorPath") or "").removeprefix("."),
    )


def selected(path: str) -> Callable[[Object], str]:
    """The value that a field selector compares. Upstream: fields that are absent are empty."""

    def value(obj: Object) -> str:
        found = value_at(obj, path)
        return "" if found is None else jsonpath.show(found)

    return value


def value_at(obj: Object, path: str) -> Any:
    """What stands at a simple path; None where there is no such place."""
    found: Any = obj
    for name in jsonpath.simple(path):
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def _scale_causes(obj: Object, scale: Mapping[str, str]) -> Iterator[Cause]:
    """Upstream: customResourceValidator.ValidateScaleSpec, ValidateScaleStatus."""
    for key in ("specReplicasPath", "statusReplicasPath"):
        path = scale[key]
        replicas = value_at(obj, path)
        if replicas is None:
            continue
        if isinstance(replicas, bool) or not isinstance(replicas, int):
            kind = GO_TYPES.get(type(replicas), "map[string]interface {}")
            shown = f"{path} accessor error: {jsonpath.show(replicas)} is of the type {kind}, expected int64"
            yield field.invalid(path, 0, shown)
        elif replicas < 0:
            yield field.invalid(path, replicas, "should be a non-negative integer")
        elif replicas > LARGEST_REPLICAS:
            yield field.invalid(path, replicas, f"should be less than or equal to {LARGEST_REPLICAS}")
