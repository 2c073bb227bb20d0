"""In which forms a request can be shown to webhooks and policies: each served version of its resource, and Scale.

A `Form` shows the objects of a call in one version and takes a changed one back, so that a webhook written for one
version sees requests in all of them.

Upstream: apiserver/pkg/admission/conversion.go, apimachinery/pkg/runtime/mapper.go (EquivalentResourceRegistry).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from timonel.machinery.codec import DecodeError
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.admission.matching import Place
from timonel.server.registry import Endpoint, Registry
from timonel.server.request import AdmissionCall
from timonel.server.responses import internal_error
from timonel.server.verbs import scale
from timonel.server.verbs.call import cloned


class Form(Protocol):
    @property
    def place(self) -> Place: ...

    @property
    def kind(self) -> tuple[str, str, str]:
        """Group, version and kind of what is shown."""

    async def show(self, obj: Object) -> Object:
        """A copy of the call's object in this form."""

    async def take(self, shown: Object, obj: Object) -> Object:
        """What `shown`, changed by others, makes of `obj`. Raises InternalError where it is no valid object."""


@dataclass(frozen=True, slots=True)
class VersionForm:
    """The object in a served version."""

    place: Place
    endpoint: Endpoint

    @property
    def kind(self) -> tuple[str, str, str]:
        rtype = self.endpoint.rtype
        return rtype.group, rtype.version, rtype.kind

    async def show(self, obj: Object) -> Object:
        found = await self._converted(cloned(obj), self.endpoint.rtype.version)
        return self.endpoint.to_served(found)

    async def take(self, shown: Object, obj: Object) -> Object:
        new = typed(self.endpoint, shown)
        self.endpoint.to_work(new)
        return await self._converted(new, str(obj["apiVersion"]).rpartition("/")[2])

    async def _converted(self, obj: Object, version: str) -> Object:
        """Of custom resources, each version works in its own form."""
        custom = self.endpoint.custom
        if custom is None or str(obj["apiVersion"]).rpartition("/")[2] == version:
            return obj
        return (await custom.forms.converted([obj], version))[0]


def typed(endpoint: Endpoint, tree: Object) -> Object:
    """As an object that a client sends: pruned, type-checked, defaulted. Raises InternalError."""
    rtype = endpoint.rtype
    try:
        if not isinstance(tree, dict):
            raise DecodeError(
                f"json: cannot unmarshal value into Go value of type {rtype.version}.{rtype.kind}"
            )
        if tree.get("kind", rtype.kind) != rtype.kind or tree.get("apiVersion") != rtype.api_version:
            given = f"{tree.get('apiVersion', '')}, Kind={tree.get('kind', '')}"
            raise DecodeError(f"unable to decode {given} into {rtype.api_version}, Kind={rtype.kind}")
        new, _ = endpoint.machinery.normalize(tree)
    except DecodeError as error:
        raise internal_error(str(error)) from error
    new["kind"], new["apiVersion"] = rtype.kind, rtype.api_version
    new.setdefault("metadata", {})
    rtype.default(new)
    return new


@dataclass(frozen=True, slots=True)
class ScaleForm:
    """An update of /scale, as a Scale; only its replicas are taken back."""

    place: Place
    endpoint: Endpoint

    @property
    def kind(self) -> tuple[str, str, str]:
        return scale.GROUP, scale.VERSION, scale.KIND

    async def show(self, obj: Object) -> Object:
        return scale.view(self.endpoint, obj)

    async def take(self, shown: Object, obj: Object) -> Object:
        rule = self.endpoint.work.scale
        assert rule is not None
        replicas = (shown.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            raise internal_error(
                "json: cannot unmarshal value into Go struct field ScaleSpec.spec.replicas of type int32"
            )
        new = cloned(obj)
        holder = new
        *path, last = rule.replicas.split(".")
        for step in path:
            holder = holder.setdefault(step, {})
        holder[last] = replicas
        return new


@dataclass(frozen=True, slots=True)
class BodyForm:
    """What is sent to a subresource and is of a kind of its own (Binding, Eviction, PodExecOptions): one form only."""

    place: Place
    kind: tuple[str, str, str]
    endpoint: Endpoint | None

    async def show(self, obj: Object) -> Object:
        return cloned(obj)

    async def take(self, shown: Object, obj: Object) -> Object:
        return shown if self.endpoint is None else typed(self.endpoint, shown)


class Forms:
    """`registry` tells by its generation when other resources are served than before."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = registry.generation
        self._endpoints: dict[str, list[Endpoint]] = {}

    def _of(self, qualified: str) -> list[Endpoint]:
        """All versions in which a resource is served."""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._endpoints.clear()
        found = self._endpoints.get(qualified)
        if found is None:
            found = [e for e in self._registry.served() if e.work.qualified == qualified]
            self._endpoints[qualified] = found
        return found

    def places(self, qualified: str, subresource: str) -> list[Place]:
        """Of all versions in which a resource is served."""
        return [_place(e, subresource) for e in self._of(qualified)]

    def of(self, call: AdmissionCall) -> tuple[Form, Sequence[Form]]:
        """The form that the client speaks, and the others."""
        qualified, served = call.resource.qualified, call.served or call.resource
        endpoints = self._of(qualified)
        own = (
            next((e for e in endpoints if e.rtype is served), None) or self._registry.by_qualified[qualified]
        )
        return self._form(own, call), [self._form(e, call) for e in endpoints if e is not own]

    @staticmethod
    def _form(endpoint: Endpoint, call: AdmissionCall) -> Form:
        place, subresource = _place(endpoint, call.subresource), call.subresource
        if subresource == "scale":
            return ScaleForm(place, endpoint)
        obj = call.obj or call.old
        if subresource in endpoint.actions or (obj is not None and obj.get("kind") != endpoint.work.kind):
            assert obj is not None
            group, _, version = str(obj.get("apiVersion", "v1")).rpartition("/")
            action = endpoint.actions.get(subresource)
            return BodyForm(place, (group, version, str(obj["kind"])), action.endpoint if action else None)
        return VersionForm(place, endpoint)


def _place(endpoint: Endpoint, subresource: str) -> Place:
    rtype = endpoint.rtype
    return Place(rtype.group, rtype.version, rtype.plural, subresource)
