"""A Scheme: the resources a server serves, each with the compiled code of its type.

Group modules are imported and types compiled when they are asked for, so that a server that starts pays for what it
uses. A `TypeCodec` is what the API server does with trees of one resource in one version: decode, note field managers,
apply, merge. Everything here is an object; two clusters in a process share nothing that can change.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from timonel.apis import GROUPS, legacyingress, retired
from timonel.apis.resource import ResourceType
from timonel.machinery import protobuf
from timonel.machinery.apply import sets
from timonel.machinery.apply.fields import Fields
from timonel.machinery.apply.sets import Set
from timonel.machinery.apply.typed import Nodes
from timonel.machinery.codec import Codec, Codecs, DecodeError
from timonel.machinery.errors import BadRequest, NotAcceptable
from timonel.machinery.patch.json import PatchFailed, PatchMalformed
from timonel.machinery.patch.strategic import strategic_merge_patch
from timonel.objects.meta import Object
from timonel.schema import Schema, load
from timonel.schema import protobuf as protobuf_fields
from timonel.schema.openapi import OpenApi

if TYPE_CHECKING:
    from timonel.machinery.cel.types import Type

META_GROUP = "meta.k8s.io"
# Fields besides the spec that a write of /status leaves alone, per (group, kind).
_STATUS_LEAVES: dict[tuple[str, str], tuple[sets.Path, ...]] = {
    ("apps", "Deployment"): (("f:metadata", "f:labels"),),
    ("", "Pod"): (("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:ownerReferences")),
}
# Fields besides the status that a write of the main resource leaves alone: what a strategy resets.
_WRITE_LEAVES: dict[tuple[str, str], tuple[sets.Path, ...]] = {
    ("certificates.k8s.io", "CertificateSigningRequest"): (("f:spec",),),
}


class UnknownType(LookupError):
    """A kind that the schema does not have."""


class TypeCodec:
    """The trees of one resource in one served version. Everything is compiled on first use."""

    def __init__(self, rtype: ResourceType, type_name: str, scheme: Scheme) -> None:
        self.rtype = rtype
        self.type_name = type_name
        self._scheme = scheme

    @cached_property
    def _codec(self) -> Codec:
        return self._scheme.codecs.codec(self.type_name)

    @cached_property
    def fields(self) -> Fields:
        rtype = self.rtype
        return Fields(
            self._scheme.nodes.struct(self.type_name),
            group=rtype.group,
            version=rtype.version,
            kind=rtype.kind,
            new=self._codec.new(),
            ignored=self._ignored(),
        )

    def _ignored(self) -> dict[str, Set]:
        """What a write through the main resource, and through /status, never touches."""
        if not self.rtype.status:
            return {}
        names = self._scheme.schema.type(self.type_name)["fields"]
        kept = (("f:" + name,) for name in names if name not in ("metadata", "status", "kind", "apiVersion"))
        extra = _STATUS_LEAVES.get((self.rtype.group, self.rtype.kind), ())
        reset = _WRITE_LEAVES.get((self.rtype.group, self.rtype.kind), ())
        return {"": sets.of_paths(("f:status",), *reset), "status": sets.of_paths(*kept, *extra)}

    def normalize(self, tree: Any, beside: Object | None = None) -> tuple[Object, list[str]]:
        """See `timonel.machinery.codec`."""
        return self._codec.normalize(tree, beside)

    def new(self) -> Object:
        return self._codec.new()

    def from_protobuf(self, body: bytes, fallback: str = "") -> Object:
        """The tree in a protobuf body, of the kind that it says; where nobody knows that, of `fallback` or this type.

        A tree of another type than this one comes normalized. Raises DecodeError.
        """
        envelope = protobuf.unwrap(body)
        scheme = self._scheme
        group, _, version = envelope.api_version.rpartition("/")
        name = scheme.schema.name_of(group, version, envelope.kind) or fallback or self.type_name
        tree = scheme.protobuf_decoder.message(name, envelope.raw)
        if name != self.type_name:
            tree, _ = scheme.codecs.codec(name).normalize(tree)
        tree["kind"], tree["apiVersion"] = envelope.kind, envelope.api_version
        return tree

    def to_protobuf(self, tree: Object) -> bytes:
        """A whole body of any object of this API. Raises NotAcceptable for a kind that has no message."""
        scheme = self._scheme
        group, _, version = tree["apiVersion"].rpartition("/")
        kind = tree["kind"]
        name = scheme.schema.name_of(group, version, kind) or (
            f"meta.v1.{kind}" if group == META_GROUP else ""
        )
        try:
            raw = scheme.protobuf_encoder.message(name, tree)
        except KeyError as e:
            raise NotAcceptable(
                f"object *{version}.{kind} does not implement the protobuf marshalling interface and cannot be "
                "encoded to a protobuf message"
            ) from e
        return protobuf.wrap(tree["apiVersion"], kind, raw)

    def describe(self, path: str) -> str:
        """The published description of the field at a path; empty where there is none."""
        return self._scheme.schema.description(self.type_name, path)

    def declared(self) -> Type:
        """The type as expressions see it."""
        from timonel.apis.declaredtypes import declared  # here: most servers see no expressions

        return declared(self.type_name, self._scheme.schema.type)

    def record_update(
        self, old: Object | None, new: Object, *, manager: str, now: float, subresource: str = ""
    ) -> None:
        """Note in `new` that `manager` wrote what differs from `old`; None when it was created."""
        self.fields.record_update(old, new, manager=manager, now=now, subresource=subresource)
        self._codec.settle(new)

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
        """What `live` becomes when `manager` applies `config`, as the codec leaves it, managedFields included."""
        merged = self.fields.apply(
            live, config, manager=manager, force=force, now=now, subresource=subresource
        )
        try:
            found = self._codec.normalize(merged)[0]
        except DecodeError as e:
            raise BadRequest(str(e)) from e
        self._codec.settle(found)
        return found

    def strategic_merge(self, document: Object, patch: Object) -> Object:
        """Raises BadRequest for what is no patch, and for one that does not fit."""
        try:
            found: Object = strategic_merge_patch(document, patch, self.type_name, self._scheme.schema.type)
        except PatchMalformed as e:
            raise BadRequest(str(e)) from e
        except PatchFailed as e:
            raise BadRequest(str(e)) from e
        return found


class Scheme:
    def __init__(self, schema: Schema | None = None, *, groups: tuple[tuple[str, str], ...] = GROUPS) -> None:
        self.schema = schema if schema is not None else load()
        self.codecs = Codecs(self.schema.type)
        self.nodes = Nodes(self.schema.type)
        self._modules = groups
        self._by_group: dict[str, tuple[ResourceType, ...]] = {}
        self._type_codecs: dict[tuple[str, str, str], TypeCodec] = {}

    # ---- what there is

    @property
    def groups(self) -> tuple[str, ...]:
        """Group names in discovery order; the core group is empty and first."""
        return tuple(dict.fromkeys(group for group, _ in (*self._modules, *retired.GROUPS)))

    def resources_of(self, group: str) -> tuple[ResourceType, ...]:
        found = self._by_group.get(group)
        if found is None:
            modules = [name for served, name in (*self._modules, *retired.GROUPS) if served == group]
            offered = (rtype for name in modules for rtype in import_module(name).RESOURCES)
            found = tuple(rtype.with_memory() for rtype in offered if rtype.group == group)
            self._by_group[group] = found
        return found

    @cached_property
    def resources(self) -> tuple[ResourceType, ...]:
        """All resource types; imports every group."""
        return tuple(rtype for group in self.groups for rtype in self.resources_of(group))

    def resource(self, group: str, version: str, plural: str) -> ResourceType | None:
        return next(
            (r for r in self.resources_of(group) if r.version == version and r.plural == plural), None
        )

    def kind(self, group: str, version: str, kind: str) -> ResourceType | None:
        return next((r for r in self.resources_of(group) if r.version == version and r.kind == kind), None)

    def kinds(self, kind: str) -> Iterator[ResourceType]:
        return (rtype for rtype in self.resources if rtype.kind == kind)

    @cached_property
    def _messages(self) -> protobuf_fields.Messages:
        return protobuf_fields.load()

    @cached_property
    def protobuf_decoder(self) -> protobuf.Decoder:
        return protobuf.Decoder(self._messages.fields)

    @cached_property
    def protobuf_encoder(self) -> protobuf.Encoder:
        return protobuf.Encoder(self._messages.fields)

    def published(self, *, legacy: bool) -> OpenApi:
        """The OpenAPI documents. With `legacy`, old shapes that are still accepted are published too: old clients
        validate by these documents before they send anything."""
        return OpenApi(
            self.schema,
            groups=self.groups,
            widened=legacyingress.PUBLISHED if legacy else None,
            retired=[_published(t) for t in self.resources if t.retired is not None] if legacy else (),
        )

    # ---- code of types

    def codec(self, rtype: ResourceType) -> TypeCodec:
        key = (rtype.group, rtype.version, rtype.plural)
        found = self._type_codecs.get(key)
        if found is None:
            found = self._type_codecs[key] = TypeCodec(rtype, self._type_name(rtype), self)
        return found

    def _type_name(self, rtype: ResourceType) -> str:
        name = self.schema.name_of(rtype.group, rtype.version, rtype.kind)
        if name is None:
            raise UnknownType(f"{rtype.api_version}, Kind={rtype.kind}")
        return name


def _published(rtype: ResourceType) -> dict[str, Any]:
    """A resource in the form of `Schema.resource_index`."""
    own = {"group": rtype.group, "version": rtype.version, "kind": rtype.kind}
    verbs = ["get", "patch", "update"]
    parts: list[dict[str, Any]] = []
    if rtype.scale is not None:
        parts.append(
            {"name": "scale", "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": verbs}
        )
    if rtype.status:
        parts.append({"name": "status", **own, "verbs": verbs})
    return {
        **own,
        "plural": rtype.plural,
        "namespaced": rtype.namespaced,
        "verbs": list(rtype.verbs),
        "subresources": parts,
    }


def _version_rank(version: str) -> tuple[int, int, int]:
    """v2 before v1 before v1beta1 before v1alpha1, as upstream orders them."""
    digits = version.removeprefix("v")
    for rank, stage in ((1, "beta"), (2, "alpha")):
        if stage in digits:
            major, _, minor = digits.partition(stage)
            return (rank, -int(major), -int(minor or 0))
    return (0, -int(digits), 0)
