"""What a verb gets and gives: one request after the chain has let it pass, and its result before it becomes bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import orjson

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.machinery.apply import managers
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.audit.trail import Trail
from timonel.server.chain.info import Info
from timonel.server.registry import Endpoint, Registry
from timonel.server.request import (
    AdmissionCall,
    AdmissionPlugin,
    OnlyMutates,
    OnlyValidates,
    Operation,
    User,
)
from timonel.server.watchcache import Entry


@dataclass(slots=True)
class Call:
    """`body` is the text of the request, or a tree where there was none (calls within the process)."""

    user: User
    info: Info
    endpoint: Endpoint
    body: bytes | Any = b""
    content_type: str = ""
    user_agent: str = ""
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)  # of admission, for the audit log

    @property
    def namespace(self) -> str:
        return self.info.namespace

    @property
    def name(self) -> str:
        return self.info.name


@dataclass(slots=True)
class Result:
    """One object: an entry of the cache, or a tree in the served form (dry runs, Status, Scale)."""

    status: int
    entry: Entry | None = None
    obj: Object | None = None


@dataclass(slots=True)
class ListResult:
    entries: Sequence[Entry]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class _Caring:
    """The plugins that care for one kind of call, by what they do; those that store come last and admit once."""

    rounds: tuple[AdmissionPlugin, ...]
    storing: tuple[AdmissionPlugin, ...]
    refusing: tuple[AdmissionPlugin, ...]


class Admission:
    """The plugins in their order. Which of them care for what is asked once and remembered."""

    def __init__(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self._plugins = tuple(plugins)
        self._caring: dict[tuple[str, str, str, Operation], _Caring] = {}

    def _of(self, call: AdmissionCall) -> _Caring:
        rtype = call.resource
        key = (rtype.qualified, rtype.version, call.subresource, call.operation)
        found = self._caring.get(key)
        if found is None:
            plugins = tuple(p for p in self._plugins if p.handles(rtype, call.subresource, call.operation))
            mutating = [p for p in plugins if not isinstance(p, OnlyValidates)]
            found = _Caring(
                rounds=tuple(p for p in mutating if not getattr(p, "stores", False)),
                storing=tuple(p for p in mutating if getattr(p, "stores", False)),
                refusing=tuple(p for p in plugins if not isinstance(p, OnlyMutates)),
            )
            self._caring[key] = found
        return found

    async def admit(self, call: AdmissionCall) -> None:
        """Upstream: admission/reinvocation.go, for the second round."""
        caring = self._of(call)
        managed = call.obj["metadata"].get("managedFields") if call.obj and "metadata" in call.obj else None
        for plugin in caring.rounds:
            await plugin.admit(call)
        if call.again:
            call.round = 1
            for plugin in caring.rounds:
                await plugin.admit(call)
            _keep_managed_fields(call, managed)
        for plugin in caring.storing:
            await plugin.admit(call)

    async def validate(self, call: AdmissionCall) -> None:
        for plugin in self._of(call).refusing:
            await plugin.validate(call)

    def forget(self) -> None:
        """The plugins may care for other things from now on (webhooks came or went)."""
        self._caring.clear()


def _keep_managed_fields(call: AdmissionCall, before: list[Any] | None) -> None:
    """What others made of managedFields, if it can still be read. Upstream: managedfields/admission.go."""
    metadata = (call.obj or {}).get("metadata") or {}
    try:
        managers.decode(metadata.get("managedFields") or ())
    except managers.ManagedFieldsError as error:
        metadata.pop("managedFields")
        if before:
            metadata["managedFields"] = before
        call.warnings.append(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated "
            f"mutating admission controller; please fix your requests: {error}"
        )


@dataclass(slots=True)
class Core:
    """What all verbs of one server share."""

    registry: Registry
    admission: Admission
    clock: Clock
    legacy: bool = True  # retired versions and field shapes are taken
    scale: Endpoint | None = None  # of autoscaling/v1 Scale, for its Tables
    trail: Trail | None = None  # the audit log
    shortest_watch: float = 1800.0  # seconds a watch lasts at least where the client does not say


def cloned(obj: Object) -> Object:
    """A deep copy of a JSON tree; by far the fastest way there is."""
    tree: Object = orjson.loads(orjson.dumps(obj))
    return tree


def undone(call: AdmissionCall) -> None:
    for undo in reversed(call.undo):
        undo()


def check_namespace(call: Call, obj: Object) -> None:
    """The namespace of the body is that of the path, which is the default."""
    metadata = obj["metadata"]
    if call.endpoint.rtype.namespaced:
        given = metadata.get("namespace")
        if given and given != call.namespace:
            raise errors.BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = call.namespace
    elif call.endpoint.rtype.custom:
        metadata.pop("namespace", None)
    elif metadata.get("namespace"):
        raise errors.BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
