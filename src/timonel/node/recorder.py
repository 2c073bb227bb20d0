"""Events about pods and the node: what users read in `kubectl describe`. Repetitions raise a count.

`record` is a plain call that never waits; `Recorder.run` sends in the background. A burst beyond the queue's length is
dropped, as upstream does. Upstream: client-go/tools/record (event.go, events_cache.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from timonel.aio.clock import Clock
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import NotFound, StatusError, is_namespace_terminating
from timonel.objects.meta import Key, Object, format_time

logger = logging.getLogger(__name__)

EVENTS = Resource("", "v1", "events", True)
QUEUE_LENGTH = 1000
REMEMBERED = 4096
MESSAGE_LIMIT = 1024


class Records(Protocol):
    def record(
        self, about: Object, type_: str, reason: str, message: str, *, container: str = ""
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    about: tuple[
        str, str, str, str, str, str, str
    ]  # kind, apiVersion, namespace, name, uid, resourceVersion, fieldPath
    type: str
    reason: str
    message: str
    time: float


class Recorder:
    def __init__(self, transport: Transport, clock: Clock, host: str, component: str = "kubelet") -> None:
        self._transport = transport
        self._clock = clock
        self._source = {"component": component, "host": host}
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(QUEUE_LENGTH)
        self._last_name = 0
        self._sent: OrderedDict[object, tuple[str, int]] = (
            OrderedDict()
        )  # what was said -> (event's name, count)

    def record(self, about: Object, type_: str, reason: str, message: str, *, container: str = "") -> None:
        meta = about["metadata"]
        path = ""
        if container:
            inits = about["spec"].get("initContainers") or ()
            kind = "initContainers" if any(c["name"] == container for c in inits) else "containers"
            path = f"spec.{kind}{{{container}}}"
        ref = (
            about.get("kind", "Pod"),
            about.get("apiVersion", "v1"),
            meta.get("namespace", ""),
            meta["name"],
            meta.get("uid", ""),
            meta.get("resourceVersion", ""),
            path,
        )
        entry = _Entry(ref, type_, reason, message[:MESSAGE_LIMIT], self._clock.now())
        if not self._queue.full():
            self._queue.put_nowait(entry)

    async def run(self) -> None:
        while True:
            entry = await self._queue.get()
            try:
                await self._send(entry)
            except (StatusError, Unreachable) as e:
                if not is_namespace_terminating(e):
                    logger.warning("Dropped an event", extra={"reason": entry.reason, "error": str(e)})

    async def _send(self, entry: _Entry) -> None:
        kind, _, namespace, name, uid, _, path = entry.about
        key = (kind, namespace, name, uid, path, entry.type, entry.reason, entry.message)
        known = self._sent.get(key)
        if known is not None:
            event_name, count = known
            patch = {"count": count + 1, "lastTimestamp": format_time(entry.time)}
            try:
                await self._transport.patch(EVENTS, Key(namespace or "default", event_name), patch)
                self._remember(key, event_name, count + 1)
            except NotFound:
                known = None  # it has expired: say it anew
        if known is None:
            event = self._event(entry)
            await self._transport.create(EVENTS, event, namespace=event["metadata"]["namespace"])
            self._remember(key, event["metadata"]["name"], 1)

    def _remember(self, key: object, name: str, count: int) -> None:
        self._sent[key] = (name, count)
        self._sent.move_to_end(key)
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)

    def _event(self, entry: _Entry) -> Object:
        kind, api_version, namespace, name, uid, version, path = entry.about
        involved = {
            "kind": kind,
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "apiVersion": api_version,
            "resourceVersion": version,
            "fieldPath": path,
        }
        when = format_time(entry.time)
        self._last_name = max(self._last_name + 1, int(entry.time * 1e9))  # never the same twice
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{name}.{self._last_name:016x}",
                "namespace": namespace or "default",
            },
            "involvedObject": {k: v for k, v in involved.items() if v},
            "reason": entry.reason,
            "message": entry.message,
            "source": self._source,
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
            "type": entry.type,
            "eventTime": None,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source["host"],
        }
