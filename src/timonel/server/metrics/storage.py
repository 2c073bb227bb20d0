"""The store and the watch cache in `/metrics`.

`TimedStore` stands before a store and notes how long its answers take; everything else is read from the caches when
somebody asks. Upstream: apiserver/pkg/storage/{etcd3/metrics,cacher/metrics}/metrics.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from typing import TypeVar

from timonel.aio.clock import stopwatch
from timonel.aio.histogram import Histogram
from timonel.server.metrics.text import COUNTER, GAUGE, HISTOGRAM, STABLE, Family, Labels
from timonel.server.watchcache import ResourceCache
from timonel.store.base import Page, Record, Store

T = TypeVar("T")

DURATIONS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip


def names_of(qualified: str) -> Labels:
    resource, _, group = qualified.partition(".")
    return ("group", group), ("resource", resource)


def families(caches: Iterable[ResourceCache]) -> Iterator[Family]:
    """Of caches that are filled, one for each resource."""
    loaded = [(cache, names_of(cache.kind.rtype.qualified)) for cache in caches if cache.loaded]
    yield Family(
        "apiserver_resource_objects",
        GAUGE,
        "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will "
        "be -1.",
        [(labels, len(cache.entries)) for cache, labels in loaded],
    )
    yield Family(
        "apiserver_storage_objects",
        GAUGE,
        "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last "
        "check split by kind. In case of a fetching error, the value will be -1.",
        [((("resource", cache.kind.rtype.qualified),), len(cache.entries)) for cache, _ in loaded],
        stability=STABLE,
    )
    yield Family(
        "apiserver_registered_watchers",
        GAUGE,
        "Number of currently registered watchers for a given resources",
        [(labels, len(cache.watchers)) for cache, labels in loaded if cache.watchers],
    )
    yield Family(
        "apiserver_watch_events_total",
        COUNTER,
        "Number of events sent in watch clients",
        [(labels, cache.delivered) for cache, labels in loaded if cache.delivered],
    )
    yield Family(
        "apiserver_watch_cache_events_received_total",
        COUNTER,
        "Counter of events received in watch cache broken by resource type.",
        [(labels, cache.received) for cache, labels in loaded if cache.received],
    )
    yield Family(
        "apiserver_watch_cache_capacity",
        GAUGE,
        "Total capacity of watch cache broken by resource type.",
        [(labels, len(cache.window)) for cache, labels in loaded if cache.window],
    )
    yield Family(
        "apiserver_terminated_watchers_total",
        COUNTER,
        "Counter of watchers closed due to unresponsiveness broken by resource type.",
        [(labels, cache.cut_off) for cache, labels in loaded if cache.cut_off],
    )


class Times:
    """How long the store took, by operation and resource."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, str], Histogram] = {}
        self._errors: dict[tuple[str, str], int] = {}

    def add(self, operation: str, key: str, started: float, *, failed: bool = False) -> None:
        pair = (operation, resource_of(key))
        histogram = self._histograms.get(pair)
        if histogram is None:
            histogram = self._histograms[pair] = Histogram(DURATIONS)
        histogram.add(stopwatch() - started)
        if failed:
            self._errors[pair] = self._errors.get(pair, 0) + 1

    def families(self, caches: Iterable[ResourceCache]) -> Iterator[Family]:
        known = {resource_of(cache.kind.prefix): names_of(cache.kind.rtype.qualified) for cache in caches}

        def labels(pair: tuple[str, str]) -> Labels:
            operation, prefix = pair
            names = known.get(prefix) or (("group", ""), ("resource", prefix))
            return ("operation", operation), *names

        yield Family(
            "etcd_request_duration_seconds",
            HISTOGRAM,
            "Etcd request latency in seconds for each operation and object type.",
            histograms=[(labels(pair), found) for pair, found in self._histograms.items()],
        )
        yield Family(
            "etcd_requests_total",
            COUNTER,
            "Etcd request counts for each operation and object type.",
            [(labels(pair), found.count) for pair, found in self._histograms.items()],
        )
        yield Family(
            "etcd_request_errors_total",
            COUNTER,
            "Etcd failed request counts for each operation and object type.",
            [(labels(pair), count) for pair, count in self._errors.items()],
        )


def resource_of(key: str) -> str:
    """The first part of a key below its prefix, which may hold a group."""
    parts = key.split("/", 4)
    if len(parts) > 2 and parts[1] == "registry":
        parts = parts[1:]
    return "/".join(parts[1:3]) if len(parts) > 2 and "." in parts[1] else parts[1] if len(parts) > 1 else ""


class TimedStore:
    """A store whose answers are timed; what has no answer of its own passes as it is."""

    def __init__(self, store: Store, times: Times) -> None:
        self._store, self._times = store, times
        self.watch = store.watch
        self.compact, self.revision, self.barrier = store.compact, store.revision, store.barrier
        self.check, self.close = store.check, store.close

    @property
    def shared(self) -> bool:
        return self._store.shared

    async def _timed(self, operation: str, key: str, work: Awaitable[T]) -> T:
        started, failed = stopwatch(), True
        try:
            answer = await work
            failed = False
            return answer
        finally:
            self._times.add(operation, key, started, failed=failed)

    async def get(self, key: str) -> Record | None:
        return await self._timed("get", key, self._store.get(key))

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        work = self._store.list(prefix, limit=limit, after=after, revision=revision)
        return await self._timed("list", prefix, work)

    async def create(self, key: str, value: bytes) -> Record:
        return await self._timed("create", key, self._store.create(key, value))

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        return await self._timed("update", key, self._store.update(key, value, expected=expected))

    async def delete(self, key: str, *, expected: int) -> Record:
        return await self._timed("delete", key, self._store.delete(key, expected=expected))
