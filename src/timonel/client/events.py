"""Records Events without ever making the caller wait: repeats are counted, floods are merged and then dropped.

Three steps, as upstream's correlator: events that differ only in their message are merged once ten of them came
within ten minutes; one that equals an earlier one is counted on it by a patch; and each object has a budget of 25,
refilled by one in five minutes.

Upstream: client-go tools/record/{event,events_cache}.go.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import field
from typing import Any, Generic, TypeVar

from timonel.aio.clock import Clock
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import NotFound, StatusError, is_namespace_terminating
from timonel.objects import pods
from timonel.objects.meta import Key, Object, format_time
from timonel.records import dataclass

logger = logging.getLogger(__name__)

EVENTS = Resource("", "v1", "events", True)
CACHE_SIZE = 4096
MOST_SIMILAR = 10  # from this many on, similar events are merged
SIMILAR_WITHIN = 600.0
BURST = 25
REFILL = 300.0  # seconds for one more event
BACKLOG = 1000
MARKS = 1 << 16  # nanoseconds, below which names tell recorders apart
LONGEST_MESSAGE = 1024  # what a runtime complains about can be long; events.k8s.io takes no more either

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that forgets what was not used for longest."""

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)


def reference(obj: Object) -> dict[str, str]:
    """An ObjectReference to `obj`."""
    meta = obj["metadata"]
    wire = {
        "kind": obj.get("kind", ""),
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta.get("uid", ""),
        "apiVersion": obj.get("apiVersion", ""),
        "resourceVersion": meta.get("resourceVersion", ""),
    }
    return {k: v for k, v in wire.items() if v}


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


@dataclass(slots=True)
class _Budget:
    left: float
    at: float


@dataclass(slots=True)
class _Known:
    count: int
    name: str
    first: str


class Correlator:
    """Decides what becomes of an event: None to drop it, else the event with its count and, if repeated, its name."""

    def __init__(self) -> None:
        self._similar: Recent[tuple[str, ...], _Similar] = Recent()
        self._budgets: Recent[tuple[str, ...], _Budget] = Recent()
        self._known: Recent[tuple[str, ...], _Known] = Recent()

    def correlate(self, event: Object, now: float) -> Object | None:
        about = event["involvedObject"]
        whom = tuple(about.get(k, "") for k in ("kind", "namespace", "name", "uid", "apiVersion"))
        source = (event["source"]["component"], event["source"].get("host", ""))
        group = (*source, *whom, event["type"], event["reason"])
        similar = self._similar.get(group)
        if similar is None or now - similar.last > SIMILAR_WITHIN:
            similar = _Similar()
        similar.messages.add(event["message"])
        similar.last = now
        self._similar.put(group, similar)
        key = (*group, about.get("fieldPath", ""), event["message"])
        if len(similar.messages) >= MOST_SIMILAR:
            similar.messages.pop()  # bounds the set; which one goes does not matter
            event = {**event, "message": f"(combined from similar events): {event['message']}"}
            key = group
        known = self._known.get(key)
        if known is None:
            known = _Known(0, event["metadata"]["name"], event["firstTimestamp"])
        known.count += 1
        self._known.put(key, known)
        if not self._affords((*source, *whom), now):
            return None
        return {
            **event,
            "metadata": {**event["metadata"], "name": known.name},
            "count": known.count,
            "firstTimestamp": known.first,
        }

    def _affords(self, key: tuple[str, ...], now: float) -> bool:
        budget = self._budgets.get(key) or _Budget(BURST, now)
        budget.left = min(BURST, budget.left + (now - budget.at) / REFILL)
        budget.at = now
        self._budgets.put(key, budget)
        if budget.left < 1:
            return False
        budget.left -= 1
        return True


class EventRecorder:
    """`record` returns at once; `run` sends. What cannot be sent is dropped: an Event is a courtesy."""

    def __init__(self, transport: Transport, clock: Clock, component: str, *, host: str = "") -> None:
        self.name = f"events of {component}"
        self._transport, self._clock = transport, clock
        self._source = {"component": component, **({"host": host} if host else {})}
        self._queue: asyncio.Queue[Object] = asyncio.Queue(BACKLOG)
        self._correlator = Correlator()
        self._last_number = 0
        self._mark = zlib.crc32(f"{component}@{host}".encode()) % MARKS  # of names: who recorded it

    def record(self, about: Object, type: str, reason: str, message: str, *, container: str = "") -> None:
        """`about` is an object, or an ObjectReference (it has no metadata); `container` is one of a pod's."""
        ref = reference(about) if "metadata" in about else dict(about)
        if container:
            ref["fieldPath"] = pods.container_path(about, container)
        now = self._clock.now()
        # Never the same twice, nor what another recorder takes at the same moment of a virtual clock.
        self._last_number = max(self._last_number + MARKS, int(now * 1e9) // MARKS * MARKS + self._mark)
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{ref.get('name', '')}.{self._last_number:016x}",
                "namespace": ref.get("namespace") or "default",
            },
            "involvedObject": ref,
            "reason": reason,
            "message": message[:LONGEST_MESSAGE],
            "firstTimestamp": format_time(now),
            "lastTimestamp": format_time(now),
            "count": 1,
            "type": type,
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            logger.warning("Dropped an Event: too many wait", extra={"reason": reason})

    async def run(self, ready: asyncio.Event) -> None:
        ready.set()
        while True:
            event = await self._queue.get()
            try:
                await self._send(event)
            except (StatusError, Unreachable) as exc:
                if not is_namespace_terminating(exc):
                    logger.info("Could not record an Event: %s", exc)
            except Exception:
                logger.exception("Could not record an Event")

    async def _send(self, event: Object) -> None:
        correlated = self._correlator.correlate(event, self._clock.now())
        if correlated is None:
            return
        namespace = correlated["metadata"]["namespace"]
        if correlated["count"] > 1:
            key = Key(namespace, correlated["metadata"]["name"])
            changed = {k: correlated[k] for k in ("count", "lastTimestamp", "message")}
            try:
                await self._transport.patch(EVENTS, key, changed)
            except NotFound:  # it has expired meanwhile: begin anew
                pass
            else:
                return
        await self._transport.create(EVENTS, correlated, namespace=namespace)
