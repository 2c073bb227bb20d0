"""Informers: a local, indexed picture of one resource, kept true by list and watch.

An informer lists, then follows a watch from the list's resourceVersion; a lost watch is taken up where it ended, one
that is too old (410) starts over with a list, of which handlers see only the differences. Objects are shared by all
readers and handlers: never mutate them.

`InformerFactory` owns the informers of a cluster, one per resource, so that many controllers share one picture.
Upstream: client-go tools/cache/{reflector,delta_fifo,shared_informer,thread_safe_store}.go.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from timonel.aio.backoff import doubled
from timonel.aio.clock import Clock, outside
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import Expired, Gone, NotFound, StatusError
from timonel.objects import indexing
from timonel.objects.indexing import Entries
from timonel.objects.meta import Key, Object, key_of

logger = logging.getLogger(__name__)

JUMP = 5.0  # seconds that a clock is set by, from which on it counts as set

Handler = Callable[[Object | None, Object | None], None]

FIRST_DELAY = 0.8  # seconds; doubled after each failure in a row, with as much again of jitter
LONGEST_DELAY = 30.0
PAGE = 500
REMEMBERED = 1000  # of the objects that vanished
MOST_INDEXES = 24  # of a resource: a label more is looked for among all objects


class Index(Protocol):
    """Finds the Resource that a string such as `deployments.apps` means."""

    def resource(self, text: str) -> Resource: ...


def is_at_least(version: str, wanted: str) -> bool:
    """Whether a resourceVersion is that of `wanted` or later; they are decimal numbers of any length."""
    return (len(version), version) >= (len(wanted), wanted)


class Informer:
    """The reader's side is plain calls that never wait; `run` is the reflector and has one owner."""

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        clock: Clock,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.resource = resource
        self.name = f"informer of {resource}"
        self.metadata_only = metadata_only
        self.version = ""  # everything up to this resourceVersion has been seen
        self.synced = asyncio.Event()
        self._transport, self._clock, self._jitter = transport, clock, jitter
        self._namespace = namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._objects: dict[Key, Object] = {}
        self.vanished: dict[Key, tuple[float, str]] = {}  # of the last few that went: when, and the uid
        self._namespaces: dict[str, dict[Key, Object]] = {}
        self._indexes: dict[Entries, dict[Hashable, dict[Key, Object]]] = {}  # built when first asked for
        self._handlers: list[Handler] = []
        self._waiting: list[tuple[str, Callable[[], None]]] = []

    # ---- reading

    @property
    def has_synced(self) -> bool:
        return self.synced.is_set()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def list(self, namespace: str | None = None) -> Sequence[Object]:
        """All objects, or those of one namespace; a copy that later changes leave alone."""
        return list((self._objects if namespace is None else self._namespaces.get(namespace, {})).values())

    def by(self, entries: Entries, value: Hashable) -> Sequence[Object]:
        """The objects that `entries` files under a value; a copy, like `list`."""
        return list(self._filed(entries, value).values())

    def controlled_by(self, uid: str) -> Sequence[Object]:
        return self.by(indexing.by_controller, uid)

    def orphans(self, namespace: str) -> Sequence[Object]:
        """Those of a namespace that nobody controls."""
        return self.by(indexing.by_controller, indexing.orphans_of(namespace))

    def owned_by(self, uid: str) -> Sequence[Object]:
        return self.by(indexing.by_owner, uid)

    def having(self, namespace: str, labels: Mapping[str, str]) -> Sequence[Object]:
        """All objects of a namespace that have these labels, and perhaps others that have one of them only."""
        found: dict[Key, Object] | None = None
        for key, value in labels.items():
            entries = indexing.ByLabel(key)
            if entries in self._indexes or len(self._indexes) < MOST_INDEXES:
                filed = self._filed(entries, (namespace, value))
                found = filed if found is None or len(filed) < len(found) else found
        return self.list(namespace) if found is None else list(found.values())

    def add_handler(self, handler: Handler) -> None:
        """Call `handler(old, new)` for every change, and now for every object as if just added.

        Handlers run in the event loop and must neither wait nor raise.
        """
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)

    def remove_handler(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    def caught_up(self, version: str) -> bool:
        """Whether everything up to a resourceVersion (of a write to this resource) has been seen."""
        return bool(self.version) and is_at_least(self.version, version)

    def when_caught_up(self, version: str, callback: Callable[[], None]) -> None:
        if self.caught_up(version):
            callback()
        else:
            self._waiting.append((version, callback))

    # ---- following

    async def run(self, ready: asyncio.Event) -> None:
        failures = 0
        while True:
            started = self._clock.monotonic()
            try:
                if not self.version:
                    await self._relist(first=not self.has_synced)
                    self.synced.set()
                    ready.set()
                    failures = 0
                await self._follow()
                failures = failures + 1 if self._clock.monotonic() - started < 1.0 else 0
            except (Expired, Gone):
                self.version = ""
                failures += 1
            except NotFound:
                # The resource is not served (yet): as good as empty, looked for again in a while.
                self._replace((), "")
                self.synced.set()
                ready.set()
                failures = max(failures + 1, 6)
            except (Unreachable, StatusError) as exc:
                failures += 1
                logger.warning("Lost the watch of %s: %s", self.resource, exc)
            except Exception:
                failures += 1
                self.version = ""
                logger.exception("Could not follow %s", self.resource)
            if failures:
                delay = doubled(FIRST_DELAY, failures, LONGEST_DELAY)
                await outside(self._clock).sleep(delay * (1 + self._jitter()))

    async def _relist(self, *, first: bool) -> None:
        version, token, items = ("0" if first else ""), "", []  # type: str, str, list[Object]
        while True:
            page = await self._transport.list(
                self.resource,
                self._namespace,
                limit=0 if first else PAGE,
                continue_token=token,
                resource_version=version,
                **self._selectors,
            )
            items.extend(page.items)
            token, version = page.continue_token, ""
            if not token:
                break
        if self.metadata_only:
            items = [_metadata(obj) for obj in items]
        self._replace(items, page.resource_version)

    async def _follow(self) -> None:
        events = self._transport.watch(
            self.resource,
            self._namespace,
            resource_version=self.version,
            metadata_only=self.metadata_only,
            **self._selectors,
        )
        async for event in events:
            obj = event.object
            if event.type == "DELETED":
                self._put(key_of(obj), None, last=obj)
            elif event.type != "BOOKMARK":
                self._put(key_of(obj), obj)
            self._seen(obj["metadata"]["resourceVersion"])

    def _replace(self, items: Iterable[Object], version: str) -> None:
        found = {key_of(obj): obj for obj in items}
        for key in [key for key in self._objects if key not in found]:
            self._put(key, None)
        for key, obj in found.items():
            old = self._objects.get(key)
            if old is None or old["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
                    self._put(key, None)  # replaced by a namesake while nobody looked: that is two changes
                self._put(key, obj)
        if version:
            self._seen(version)

    def _put(self, key: Key, obj: Object | None, *, last: Object | None = None) -> None:
        """Store, index and tell. `last` is the state a deleted object had in the end, which handlers see as old."""
        old = self._objects.get(key)
        if old is None and obj is None:
            return
        if obj is None:
            gone = self._objects.pop(key)
            self.vanished.pop(key, None)
            self.vanished[key] = self._clock.now(), gone["metadata"].get("uid", "")
            if len(self.vanished) > REMEMBERED:
                del self.vanished[next(iter(self.vanished))]
        else:
            self._objects[key] = obj
        _reindex(self._namespaces, key, old, obj, _namespaces_of)
        for entries, index in self._indexes.items():
            _reindex(index, key, old, obj, entries)
        for handler in tuple(self._handlers):
            try:
                handler(last if obj is None and last is not None else old, obj)
            except Exception:
                logger.exception("A handler of %s failed on %s", self.resource, key)

    def _seen(self, version: str) -> None:
        self.version = version
        if not self._waiting:
            return
        due = [callback for wanted, callback in self._waiting if is_at_least(version, wanted)]
        if due:
            self._waiting = [w for w in self._waiting if not is_at_least(version, w[0])]
            for callback in due:
                callback()

    def _filed(self, entries: Entries, value: Hashable) -> dict[Key, Object]:
        index = self._indexes.get(entries)
        if index is None:
            index = self._indexes[entries] = {}
            for key, obj in self._objects.items():
                _reindex(index, key, None, obj, entries)
        return index.get(value, {})


def _namespaces_of(obj: Object) -> Iterable[str]:
    return (indexing.namespace_of(obj),)


Filed = TypeVar("Filed", bound=Hashable)


def _entries_of(
    obj: Object | None, key: Key, entries: Callable[[Object], Iterable[Filed]]
) -> tuple[Filed, ...]:
    """One odd object is found by nothing; it must not keep all the others from being seen."""
    try:
        return () if obj is None else tuple(entries(obj))
    except Exception:
        logger.exception("Could not index %s", key)
        return ()


def _reindex(
    index: dict[Filed, dict[Key, Object]],
    key: Key,
    old: Object | None,
    new: Object | None,
    entries: Callable[[Object], Iterable[Filed]],
) -> None:
    kept = _entries_of(new, key, entries)
    for entry in _entries_of(old, key, entries):
        if entry not in kept and entry in index:
            index[entry].pop(key, None)
            if not index[entry]:
                del index[entry]
    for entry in kept:
        assert new is not None
        index.setdefault(entry, {})[key] = new


def _metadata(obj: Object) -> Object:
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": obj["metadata"]}


class InformerFactory:
    """The informers of one cluster. Ask for them at any time; they run while `run` does."""

    name = "informers"

    def __init__(self, transport: Transport, clock: Clock, index: Index) -> None:
        self._transport, self._clock, self._index = transport, clock, index
        self._informers: dict[Resource, Informer] = {}
        self._metadata: dict[Resource, Informer] = {}
        self._tasks: dict[Informer, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def get(self, resource: str | Resource) -> Informer:
        """The informer of whole objects of a resource."""
        found = self._index.resource(resource) if isinstance(resource, str) else resource
        if found not in self._informers:
            self._informers[found] = self._started(Informer(self._transport, found, self._clock))
        return self._informers[found]

    def metadata(self, resource: str | Resource) -> Informer:
        """An informer that has at least the metadata; the one of whole objects where there is one already."""
        found = self._index.resource(resource) if isinstance(resource, str) else resource
        if found in self._informers:
            return self._informers[found]
        if found not in self._metadata:
            informer = Informer(self._transport, found, self._clock, metadata_only=True)
            self._metadata[found] = self._started(informer)
        return self._metadata[found]

    def drop_metadata(self, resource: Resource) -> None:
        """The metadata of a resource is followed no longer. Nothing happens to an informer of whole objects."""
        informer = self._metadata.pop(resource, None)
        task = self._tasks.pop(informer, None) if informer is not None else None
        if task is not None:
            task.cancel()

    def _started(self, informer: Informer) -> Informer:
        if self._group is not None:
            self._start(self._group, informer)
        return informer

    def _start(self, group: asyncio.TaskGroup, informer: Informer) -> None:
        self._tasks[informer] = group.create_task(informer.run(asyncio.Event()), name=informer.name)

    async def run(self, ready: asyncio.Event) -> None:
        """Runs until cancelled; ready when every informer asked for so far has its first list."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                known = [*self._informers.values(), *self._metadata.values()]
                for informer in known:
                    self._start(group, informer)
                for informer in known:
                    await informer.synced.wait()
                ready.set()
                await asyncio.Event().wait()
            finally:
                self._group = None


class Lister:
    """Reads of several informers by resource string: what `control.declare.Cache` promises."""

    def __init__(self, factory: InformerFactory, clock: Clock, resources: Iterable[str]) -> None:
        self._clock = clock
        self.informers = {text: factory.get(text) for text in resources}
        self._steady_since: float | None = None
        self._offset = 0.0

    def now(self) -> float:
        return self._clock.now()

    def steady_since(self) -> float:
        now = self._clock.now()
        offset = now - self._clock.monotonic()
        if self._steady_since is None or abs(offset - self._offset) > JUMP:
            self._steady_since = now
        self._offset = offset  # always the newest: a clock that is slewed does not jump
        return self._steady_since

    def gone_since(self, resource: str, key: Key) -> float:
        found = self.informers[resource].vanished.get(key)
        return found[0] if found else self.steady_since()

    def gone_uid(self, resource: str, key: Key) -> str:
        found = self.informers[resource].vanished.get(key)
        return found[1] if found else ""

    def knows(self, resource: str) -> bool:
        return resource in self.informers

    def get(self, resource: str, key: Key) -> Object | None:
        return self.informers[resource].get(key)

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        return self.informers[resource].list(namespace)

    def controlled_by(self, owner: Object, resource: str) -> Sequence[Object]:
        meta: dict[str, Any] = owner["metadata"]
        namespace = meta.get("namespace", "")
        found = self.informers[resource].controlled_by(meta["uid"])
        return [obj for obj in found if not namespace or obj["metadata"].get("namespace", "") == namespace]

    def orphans(
        self, resource: str, namespace: str, labels: Callable[[dict[str, str]], bool]
    ) -> Sequence[Object]:
        found = self.informers[resource].orphans(namespace)
        return [obj for obj in found if labels(obj["metadata"].get("labels") or {})]

    def owned_by(self, uid: str, resource: str) -> Sequence[Object]:
        return self.informers[resource].owned_by(uid)

    def by(self, resource: str, entries: Entries, value: Hashable) -> Sequence[Object]:
        return self.informers[resource].by(entries, value)

    def count(self, resource: str) -> int:
        return len(self.informers[resource])

    def select(
        self,
        resource: str,
        namespace: str,
        labels: Callable[[dict[str, str]], bool],
        having: Mapping[str, str] | None = None,
    ) -> Sequence[Object]:
        informer = self.informers[resource]
        candidates = informer.having(namespace, having) if having else informer.list(namespace)
        return [obj for obj in candidates if labels(obj["metadata"].get("labels") or {})]
