"""watch: the events of a resource as a stream, each rendered once for all who watch it in the same form.

Upstream: apiserver/pkg/endpoints/handlers/watch.go, apiserver/pkg/storage/cacher/cacher.go.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterable

from timonel.aio.clock import outside, upkeep
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.interested import NAMESPACE
from timonel.server.options import ListOptions, list_options, unsigned
from timonel.server.registry import Endpoint
from timonel.server.verbs.call import Call, Core
from timonel.server.verbs.read import scope, too_large
from timonel.server.verbs.selection import place_of, predicate
from timonel.server.watchcache import ADDED, BOOKMARK, Change, Delivery, Entry, Matches, Watcher
from timonel.store.base import Compacted

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(slots=True)
class WatchStream:
    """An opened watch. Iterate `deliveries`; it ends by itself, and closing it closes the watch."""

    endpoint: Endpoint
    watcher: Watcher
    initial: list[Entry]
    bookmarks: bool
    initial_end: bool
    core: Core
    timeout: float  # 0: it lasts

    async def deliveries(self) -> AsyncGenerator[Iterable[Delivery | Object], None]:
        """Batches of deliveries and bookmarks (trees). Raises Expired when the watcher was too slow."""
        watcher = self.watcher
        timer = (
            upkeep(outside(self.core.clock)).call_later(self.timeout, watcher.end) if self.timeout else None
        )
        try:
            if first := self.first():
                yield first
            while True:
                if batch := self._of(await watcher.take()):
                    yield batch
                if watcher.ended:
                    return
        finally:
            if timer is not None:
                timer.cancel()
            watcher.close()

    def first(self) -> list[Delivery | Object]:
        """What there was when it was opened. Once."""
        first: list[Delivery | Object] = [(ADDED, entry, None) for entry in self.initial]
        self.initial = []
        if self.initial_end:
            version = self.core.registry.caches.version(self.endpoint.cache)
            first.append(self._bookmark(version, initial_end=True))
        return first

    def batch(self) -> list[Delivery | Object]:
        """What has come since. Raises Expired when the watcher was too slow."""
        return self._of(self.watcher.taken())

    def _of(self, mail: Iterable[Delivery]) -> list[Delivery | Object]:
        batch: list[Delivery | Object] = list(mail)
        watcher = self.watcher
        if watcher.expired:
            raise errors.Expired("The resourceVersion for the provided watch is too old.")
        if watcher.bookmark:
            watcher.bookmark = False
            if self.bookmarks:
                version = self.core.registry.caches.version(self.endpoint.cache)
                batch.append(self._bookmark(version))
        return batch

    def _bookmark(self, revision: int, *, initial_end: bool = False) -> Object:
        metadata: Object = {"resourceVersion": str(revision)}
        if initial_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        rtype = self.endpoint.rtype
        return {"kind": rtype.kind, "apiVersion": rtype.api_version, "metadata": metadata}


def _within(namespace: str, matches: Matches | None) -> Matches:
    return lambda entry: entry.namespace == namespace and (matches is None or matches(entry))


async def watch(core: Core, call: Call) -> WatchStream:
    """Open a watch. Raises BadRequest, Invalid and, for what is too old, Expired."""
    endpoint, info, caches = call.endpoint, call.info, core.registry.caches
    options = list_options(info, watch=True)
    matches = predicate(
        endpoint, options.label_selector, options.field_selector, info.name if info.named else ""
    )
    try:
        version = unsigned(options.resource_version) if options.resource_version else 0
    except ValueError as error:
        raise errors.BadRequest(str(error)) from error
    await caches.ensure(endpoint.cache, version)
    if options.resource_version != "0" and version == 0:
        await caches.fresh()
    prefix = scope(endpoint, call.namespace)
    place = place_of(endpoint, call.namespace, options.field_selector, info.name if info.named else "")
    if call.namespace and endpoint.rtype.namespaced and place != (NAMESPACE, call.namespace):
        matches = _within(call.namespace, matches)
    initial = _wants_initial(options, version)
    entries: list[Entry] = []
    if initial:
        if version > caches.version(endpoint.cache):
            raise too_large(version, caches.revision)
        entries = [e for e in endpoint.cache.select(prefix) if matches is None or matches(e)]
    try:
        after = version if version and not initial else None
        watcher = endpoint.cache.watch(matches, after, place)
    except Compacted as error:
        raise errors.Expired(f"too old resource version: {error}") from error
    return WatchStream(
        endpoint=endpoint,
        watcher=watcher,
        initial=entries,
        bookmarks=options.bookmarks,
        initial_end=options.bookmarks and initial and _announces_end(options),
        core=core,
        timeout=float(options.timeout) if options.timeout else core.shortest_watch * (1 + random.random()),
    )


def _wants_initial(options: ListOptions, version: int) -> bool:
    if options.send_initial_events is not None:
        return options.send_initial_events
    return version == 0


def _announces_end(options: ListOptions) -> bool:
    # without sendInitialEvents, a watch from "" or "0" that allows bookmarks is treated as if it had asked for them
    return options.send_initial_events is not False


__all__ = ["BOOKMARK", "Change", "WatchStream", "watch"]
