"""Every stored object, in memory, as bytes; what reads are answered from, and what watches are fed by.

One watch on the store feeds all caches (`Caches.follow`). The cache of a resource is filled when it is first used. A
write waits until its own revision has come back through the watch (`Caches.reached`), so whoever has an answer, or has
heard of one, finds it in the next read. Each cache keeps a window of past events, from which watches that start a
little in the past are replayed; a watch from before the window is answered 410.

Nothing is decoded here unless somebody needs the tree: `Entry.obj` for clients in the same process (shared, never to be
changed), `Entry.labels` and `Entry.fields` for selectors.

Upstream: apiserver/pkg/storage/cacher.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from timonel.aio.clock import Clock
from timonel.apis.resource import ResourceType
from timonel.machinery.errors import StatusError
from timonel.objects.meta import Object
from timonel.server import layout
from timonel.server.atrest.vault import Unreadable
from timonel.server.interested import Place, Watchers, value_of
from timonel.store.base import Compacted, Event, FutureRevision, Page, Record, Store, StoreError, Unreachable
from timonel.store.memory import after_prefix

logger = logging.getLogger(__name__)

LATE = 5.0  # seconds that a write waits for its own event from a store that others share
RETRY = 0.5  # seconds until a store that is away is asked again
WINDOW = 4096  # past events kept per resource
WINDOW_BYTES = 64 * 1024 * 1024  # of objects in them, however few events that leaves
LARGE_PAST = 4 * 1024 * 1024  # bytes that are kept for longer than a few minutes
LAGGING = 256  # past events whose old objects are kept as trees, for watchers in this process
MAILBOX = 16384  # events a watcher may lag behind before it is cut off
MAILBOX_BYTES = 64 * 1024 * 1024

ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"


def opening(rtype: ResourceType) -> bytes:
    """How the stored bytes of every object of this type begin; resourceVersion is spliced in after it."""
    return b'{"kind":"%b","apiVersion":"%b","metadata":{' % (rtype.kind.encode(), rtype.api_version.encode())


REVISION = b'{"metadata":{"resourceVersion":"'
PROTOBUF = b"k8s\0"


def tree_of(value: bytes) -> Object:
    """What is stored, as far as it is an object at all. Raises ValueError."""
    tree = orjson.loads(value)
    if not isinstance(tree, dict):
        raise ValueError("what is stored is no object")
    if not isinstance(tree.get("metadata"), dict):
        raise ValueError("what is stored has no metadata")
    return tree


class Entry:
    """One object at one revision. Immutable once it has its revision; `obj` is made on demand and shared.

    It is kept as it stands in a list: `item`, without kind and apiVersion, with the revision spliced in.
    """

    __slots__ = (
        "_fields", "_labels", "_obj", "_tail", "item", "key", "kind", "name", "namespace", "normal", "revision",
    )  # fmt: skip

    outdated = False  # it would be stored in another form now

    def __init__(self, kind: Kind, key: str, value: bytes, revision: int, obj: Object | None = None) -> None:
        """`value` is the stored text, beginning with `kind.opening`; revision 0: not known yet, see `seal`."""
        self.kind = kind
        self.key = key
        self.normal: bool | None = (
            None  # whether normalizing it would leave it as it is; None: nobody has looked
        )
        self.revision = 0
        self.item = b""
        self._tail = value[len(kind.opening) :]
        self._obj = obj
        self._labels: Mapping[str, str] | None = None
        self._fields: Mapping[str, str] | None = None
        own = key[len(kind.prefix) :]
        if kind.rtype.namespaced:
            self.namespace, _, self.name = own.partition("/")
        else:
            self.namespace, self.name = "", own
        if revision:
            self.seal(revision)

    def seal(self, revision: int) -> None:
        """The write is committed: this is its revision. Once."""
        if self.revision:
            return
        self.revision = revision
        self.item = b'%b%d",%b' % (REVISION, revision, self._tail)
        self._tail = b""
        if self._obj is not None:
            self._obj["metadata"]["resourceVersion"] = str(revision)

    @property
    def obj(self) -> Object:
        if self._obj is not None:
            return self._obj
        obj = self.decoded()
        if not self.kind.frugal:
            self._obj = obj
        return obj

    def peek(self) -> Object:
        """The tree, for a look: it is not kept if it was not there."""
        return self._obj if self._obj is not None else self.decoded()

    def release(self) -> None:
        """Forget the tree until somebody asks for it again."""
        self._obj = None

    def decoded(self) -> Object:
        """A tree of the caller's own."""
        obj: Object = orjson.loads(self.json())
        return obj

    @property
    def labels(self) -> Mapping[str, str]:
        if self._labels is None:
            obj = self._obj if self._obj is not None else self.decoded()
            self._labels = obj["metadata"].get("labels") or {}
        return self._labels

    @property
    def fields(self) -> Mapping[str, str]:
        """The values of the fields that field selectors of this resource may name."""
        if self._fields is None:
            fields = {"metadata.name": self.name, "metadata.namespace": self.namespace}
            if self.kind.rtype.selectable:
                obj = self._obj if self._obj is not None else self.decoded()
                fields |= {label: get(obj) for label, get in self.kind.rtype.selectable.items()}
            self._fields = fields
        return self._fields

    def json(self) -> bytes:
        return self.kind.head + self.item[1:]

    def at(self, revision: int) -> Entry:
        """The same object as its last state, for the event of its deletion at `revision`."""
        tail = self.item[len(REVISION) + len(str(self.revision)) + 2 :]
        return Entry(self.kind, self.key, self.kind.opening + tail, revision)


class Kind:
    """What a cache knows about the type it holds. `decrypt` turns stored bytes into plain ones, `decode` upstream's
    protobuf into a tree, `normalize` a tree into one that has what every object of the kind has.

    A kind whose stored forms can only be read by waiting (for a webhook that converts them) says so with `waits`, and
    `prepare` brings records into a form that `entry` takes.
    """

    __slots__ = ("decode", "decrypt", "frugal", "head", "normalize", "opening", "prefix", "rtype")

    def __init__(self, rtype: ResourceType, decrypt: Callable[[str, bytes], bytes] | None = None) -> None:
        self.rtype = rtype
        self.opening = opening(rtype)
        self.head = self.opening[: -len('"metadata":{')]
        self.prefix = layout.prefix_of(rtype)
        self.decrypt = decrypt
        self.decode: Callable[[bytes], Object] | None = None
        self.normalize: Callable[[Object], tuple[Object, list[str]]] | None = (
            None  # of a kind of the program's own
        )
        self.frugal = rtype.frugal  # trees are made again for everybody who asks

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.rtype.namespaced else self.prefix + name

    def entry(self, record: Record, obj: Object | None = None) -> Entry:
        """Raises Unreadable."""
        value = record.value if self.decrypt is None else self.decrypt(record.key, record.value)
        # Written by upstream, or by a version of ours that had another form?
        if not value.startswith(self.opening):
            decode = self.decode if value.startswith(PROTOBUF) else None
            try:
                value = self.encode(decode(value) if decode is not None else tree_of(value))
            except (ValueError, TypeError, KeyError, StatusError) as error:
                raise Unreadable(f"{layout.ROOT}{record.key}", str(error)) from error
        return Entry(self, record.key, value, record.modified, obj)

    def made(self, key: str, value: bytes, revision: int, obj: Object | None = None) -> Entry:
        return Entry(self, key, value, revision, obj)

    def waits(self, record: Record) -> bool:
        return False

    async def prepare(self, records: Sequence[Record]) -> Sequence[Record]:
        return records

    def encode(self, obj: Object) -> bytes:
        """The stored bytes: kind, apiVersion and metadata first, no resourceVersion."""
        metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
        rest = {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")}
        tail = orjson.dumps({"metadata": metadata} | rest)
        return self.opening + tail[len(b'{"metadata":{') :]


class Change:
    """One event of one resource. `frames` keeps what was rendered for watchers, by form and type."""

    __slots__ = ("frames", "new", "old", "revision")

    def __init__(self, revision: int, new: Entry | None, old: Entry | None) -> None:
        self.revision = revision
        self.new = new
        self.old = old
        self.frames: dict[Any, bytes] = {}

    def is_at(self, place: Place) -> bool:
        field, value = place
        return any(value_of(entry, field) == value for entry in (self.old, self.new) if entry is not None)

    def whole(self) -> Delivery:
        """What it is to who sees everything."""
        new, old = self.new, self.old
        if new is not None:
            return (ADDED if old is None else MODIFIED, new, self)
        assert old is not None
        return (DELETED, old.at(self.revision), self)

    @property
    def size(self) -> int:
        """Bytes of the object."""
        entry = self.new or self.old
        return len(entry.item) if entry is not None else 0


Matches = Callable[[Entry], bool]
# type, object, and the change it came with (None for initial events)
Delivery = tuple[str, Entry, Change | None]


class Watcher:
    """A mailbox: `take` waits for deliveries, or `notify` is called when there is something to have by `taken`."""

    __slots__ = (
        "_after", "_cache", "_mail", "_matches", "_size", "_waiter", "bookmark", "ended", "expired", "notify",
    )  # fmt: skip

    def __init__(self, cache: ResourceCache, matches: Matches | None, after: int) -> None:
        self._cache = cache
        self._after = after  # what is not newer is not delivered
        self._matches = matches
        self._mail: list[Delivery] = []
        self._size = 0  # bytes of the objects in it
        self._waiter: asyncio.Future[None] | None = None
        self.notify: Callable[[], None] | None = None
        self.bookmark = False  # somebody wants one with the next take
        self.expired = False
        self.ended = False

    def close(self) -> None:
        self._cache.watchers.discard(self)

    def offer(self, change: Change, whole: Delivery) -> None:
        """`whole` is what the change is to who sees everything."""
        if change.revision <= self._after:
            return
        delivery = whole if self._matches is None else self._as_seen(change, whole, self._matches)
        if delivery is None:
            return
        self._mail.append(delivery)
        self._size += len(delivery[1].item)
        self._cache.delivered += 1
        if len(self._mail) > MAILBOX or self._size > MAILBOX_BYTES:
            self._cache.cut_off += 1
            self.expire()
        self._wake()

    @staticmethod
    def _as_seen(change: Change, whole: Delivery, matches: Matches) -> Delivery | None:
        new, old = change.new, change.old
        now = new is not None and matches(new)
        before = old is not None and matches(old)
        if now:
            assert new is not None
            return whole if before or old is None else (ADDED, new, change)
        if before:
            assert old is not None
            return whole if new is None else (DELETED, old.at(change.revision), change)
        return None

    def expire(self) -> None:
        self.expired = True
        self._mail.clear()
        self.close()
        self._wake()

    def end(self) -> None:
        self.ended = True
        self._wake()

    def ask_bookmark(self) -> None:
        self.bookmark = True
        self._wake()

    def _wake(self) -> None:
        if self.notify is not None:
            self.notify()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def pending(self) -> bool:
        return bool(self._mail) or self.bookmark or self.expired or self.ended

    async def take(self) -> Sequence[Delivery]:
        """What has come since; empty for a bookmark, the end, or expiry (see the flags)."""
        while not self.pending:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.taken()

    def taken(self) -> Sequence[Delivery]:
        """What there is now."""
        mail, self._mail = self._mail, []
        self._size = 0
        return mail


class ResourceCache:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.entries: dict[str, Entry] = {}
        self.keys: list[str] = []  # sorted
        self.watchers: Watchers[Watcher] = Watchers()
        self.listeners: list[Callable[[Object | None, Object | None], None]] = []
        self.window: deque[Change] = deque()
        self.window_start = 0  # changes after this revision are in the window
        self._marked = 0  # where it ended when its large past was last looked at
        self._window_size = 0  # bytes of the objects in it
        self.loaded = False
        self.closed = False
        self.loading = asyncio.Lock()
        self.unreadable: dict[str, Unreadable] = {}  # what no key opens, or nobody can decode
        self.early: list[Event] | None = None  # what comes while it is being loaded, or has to be waited for
        self.received = self.delivered = self.cut_off = (
            0  # events, the same to watchers, watchers that were too slow
        )
        self.shared = False  # clients in this process read this resource: trees are worth keeping
        self.others_write = False  # as other servers do: see Caches.fresh
        self.hints: dict[str, tuple[bytes, Entry]] = {}  # what this server itself is writing

    def load(self, records: Iterable[Record], revision: int) -> None:
        self.unreadable.clear()
        self.entries = {e.key: e for e in map(self._entry, records) if e is not None}
        self.keys = sorted(self.entries)
        self.window.clear()
        self._window_size = 0
        self.window_start = revision
        self.loaded = True
        for entry in self.entries.values() if self.listeners else ():
            self._tell(None, entry.decoded())

    def _entry(self, record: Record) -> Entry | None:
        """None where it cannot be read; whoever asks for it is told so."""
        try:
            entry = self.kind.entry(record)
            return self._looked_at(entry) if self.others_write else entry
        except Unreadable as error:
            logger.warning("An object cannot be read", extra={"key": record.key, "error": error.why})
            self.unreadable[record.key] = error
            return None

    def _looked_at(self, entry: Entry) -> Entry:
        """Others may write what only begins as it should, or leave out what every object has. Raises Unreadable."""
        kind = self.kind
        try:
            obj = tree_of(entry.json())
            metadata = obj["metadata"]
            if (metadata.get("name"), metadata.get("namespace") or "") != (entry.name, entry.namespace):
                raise ValueError("what is stored has another name than its key")
            if not isinstance(metadata.get("labels") or {}, dict):
                raise ValueError("what is stored has labels that are none")
            normal = kind.normalize(obj)[0] if kind.normalize is not None else obj
            for get in kind.rtype.selectable.values():
                get(normal)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise Unreadable(f"{layout.ROOT}{entry.key}", str(error)) from error
        if all(field in obj for field in normal):
            return entry
        return Entry(kind, entry.key, kind.encode(normal), entry.revision)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for listener in self.listeners:
            try:
                listener(old, new)
            except Exception:  # an object that others have stored without what every object of its kind has
                metadata = (new or old or {})["metadata"]
                where = {"namespace": metadata.get("namespace"), "object_name": metadata.get("name")}
                logger.exception("Failed to heed a change of %s", self.kind.rtype.qualified, extra=where)

    def refuse_unreadable(self, prefix: str, *, exact: bool = False) -> None:
        """Raises Unreadable where there is something below this prefix, or under this very key, that no key opens."""
        for key, error in self.unreadable.items():
            if key == prefix or (key.startswith(prefix) and not exact):
                raise error.again()

    def reset(self) -> None:
        """Forget everything: events were missed. Watchers have to start over."""
        for watcher in tuple(self.watchers):
            watcher.expire()
        self.loaded = False

    def close(self) -> None:
        """The resource is no longer served in this form: its watches end, and those that were about to begin."""
        self.closed = True
        for watcher in tuple(self.watchers):
            watcher.end()
        self.loaded = False

    def apply(self, event: Event) -> None:
        if event.revision <= self.window_start:
            return
        self.received += 1
        old = self.entries.get(event.key)
        new: Entry | None = None
        if self.unreadable:
            self.unreadable.pop(event.key, None)
        if event.record is not None:
            hint = self.hints.pop(event.key, None)
            if hint is not None and hint[0] == event.record.value:
                new = hint[1]
                new.seal(event.revision)
            else:
                new = self._entry(event.record)
        if new is None:
            if old is None:
                return
            del self.entries[event.key]
            del self.keys[bisect_left(self.keys, event.key)]
        else:
            if old is None:
                insort(self.keys, event.key)
            self.entries[event.key] = new
        change = Change(event.revision, new, old)
        self.window.append(change)
        if len(self.window) > LAGGING and (superseded := self.window[-LAGGING].old) is not None:
            superseded.release()  # who watches in this process has seen it
        self._window_size += change.size
        while len(self.window) > WINDOW or self._window_size > WINDOW_BYTES:
            gone = self.window.popleft()
            self.window_start = gone.revision
            self._window_size -= gone.size
        if concerned := self.watchers.concerned(old, new):
            whole = change.whole()
            for watcher in concerned:
                watcher.offer(change, whole)
        if self.listeners:
            self._tell(old.peek() if old else None, new.peek() if new else None)
        if new is not None and (not self.shared or self.kind.frugal):
            new.release()

    def forget_past(self) -> None:
        """A long past of large objects is worth its memory for a while only: what was there at the last call goes."""
        window = self.window
        while self._window_size > LARGE_PAST and window and window[0].revision <= self._marked:
            gone = window.popleft()
            self.window_start = gone.revision
            self._window_size -= gone.size
        self._marked = window[-1].revision if window else 0

    def range(self, prefix: str, after: str = "") -> tuple[int, int]:
        low = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        return low, max(bisect_left(self.keys, after_prefix(prefix)), low)

    def select(self, prefix: str, after: str = "") -> Iterator[Entry]:
        low, high = self.range(prefix, after)
        entries = self.entries
        return (entries[key] for key in self.keys[low:high])

    def watch(self, matches: Matches | None, after: int | None, place: Place | None = None) -> Watcher:
        """Deliveries after revision `after`, or from now on. Raises Compacted.

        `place`: where everything is that matches. Nobody is asked about what is elsewhere.
        """
        watcher = Watcher(self, matches, after or 0)
        if after is not None:
            if after < self.window_start:
                raise Compacted(f"{after} ({self.window_start})")
            for change in self.window:
                if place is None or change.is_at(place):
                    watcher.offer(change, change.whole())
        self.watchers.add(watcher, place)
        if self.closed:
            watcher.end()
        return watcher


def _drained(records: list[Record]) -> Iterator[Record]:
    """The records in their order. Each is let go when the next is asked for: many of them fill memory only once."""
    records.reverse()
    while records:
        yield records.pop()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Caches:
    """All resource caches of one server."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        """`clock` is needed for stores that may be away for a while."""
        self._store, self._clock = store, clock
        self._caches: dict[str, list[ResourceCache]] = {}  # by key prefix
        self._behind: asyncio.Queue[ResourceCache] = asyncio.Queue()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self.revision = 0
        self.shared = store.shared  # others write as well: see `fresh`

    def add(self, kind: Kind) -> ResourceCache:
        cache = ResourceCache(kind)
        cache.others_write = self.shared
        self._caches.setdefault(kind.prefix, []).append(cache)
        return cache

    def remove(self, cache: ResourceCache) -> None:
        """Feed it no longer; whoever watches it is told that it ends."""
        prefix = cache.kind.prefix
        left = [c for c in self._caches.get(prefix, ()) if c is not cache]
        if left:
            self._caches[prefix] = left
        else:
            self._caches.pop(prefix, None)
        cache.close()

    def version(self, cache: ResourceCache) -> int:
        """The revision that a read of this cache shows."""
        if cache.early:
            return max(cache.early[0].revision - 1, cache.window_start)
        return max(self.revision, cache.window_start)

    async def ensure(self, cache: ResourceCache, since: int = 0) -> None:
        """Fill the cache when it is used for the first time, and wait for what it has to wait for.

        Who wants to watch from revision `since` on gets what has happened since, as far as the store remembers.
        """
        if cache.loaded:
            return
        async with cache.loading:
            if cache.loaded:
                return
            cache.early = []
            try:
                page = await self._store.list(cache.kind.prefix)
                past: Sequence[Event] = ()
                if 0 < since < page.revision:
                    page, past = await self._past(cache.kind.prefix, since, page)
                records = list(await cache.kind.prepare(page.records))
                page = replace(page, records=())
                cache.load(_drained(records), page.revision)
                if past:
                    newest = past[-1].revision
                    cache.early[:] = [*past, *(e for e in cache.early if e.revision > newest)]
                await self._catch_up(cache)
            except BaseException:
                cache.loaded = False
                raise
            finally:
                cache.early = None

    async def _past(self, prefix: str, since: int, page: Page) -> tuple[Page, Sequence[Event]]:
        """What there was at `since`, and the events that made it what `page` shows; no events if that is forgotten."""
        wanted = {record.key: record.modified for record in page.records}
        events: list[Event] = []
        try:
            old = await self._store.list(prefix, revision=since)
            state = {record.key: record.modified for record in old.records}
            if state == wanted:
                return old, ()
            watch = self._store.watch(prefix, after=since)
            try:
                async for batch in watch:
                    for event in batch:
                        events.append(event)
                        if event.record is None:
                            state.pop(event.key, None)
                        else:
                            state[event.key] = event.revision
                    if state == wanted or events[-1].revision > page.revision:
                        return old, [e for e in events if e.revision <= page.revision]
            finally:
                if isinstance(watch, AsyncGenerator):
                    await watch.aclose()
        except (Compacted, FutureRevision):
            return page, ()
        return page, ()

    async def _catch_up(self, cache: ResourceCache) -> None:
        """Apply the events that came early, and those that come meanwhile."""
        kind = cache.kind
        cache.loaded = False
        while cache.early:
            batch = tuple(cache.early)
            written = [e.record for e in batch if e.record is not None]
            records = iter(await kind.prepare(written) if any(map(kind.waits, written)) else written)
            for event in batch:
                cache.apply(event if event.record is None else replace(event, record=next(records)))
            del cache.early[: len(batch)]
        cache.loaded = True

    async def follow(self, ready: Callable[[], None]) -> None:
        """Feed the caches, for as long as the server runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed(ready))
            group.create_task(self._attend(group))

    async def _feed(self, ready: Callable[[], None]) -> None:
        self.revision = await self._store.revision()
        ready()
        while True:
            try:
                async for batch in self._store.watch("/", after=self.revision):
                    self._apply(batch)
            except Compacted:
                lost = [c for caches in self._caches.values() for c in caches if c.loaded]
                for cache in lost:
                    cache.reset()
                self._advance(await self._newest())
                for cache in lost:  # parts of the server read them without asking for them to be filled
                    await self._refill(cache)

    def _apply(self, batch: Sequence[Event]) -> None:
        for event in batch:
            caches = self._caches.get(layout.head_of(event.key, 1)) or self._caches.get(
                layout.head_of(event.key, 2)
            )
            for cache in caches or ():
                if cache.early is not None:
                    cache.early.append(event)
                elif not cache.loaded:
                    continue
                elif event.record is not None and cache.kind.waits(event.record):
                    cache.early, cache.loaded = [event], False
                    self._behind.put_nowait(cache)
                else:
                    cache.apply(event)
        self._advance(batch[-1].revision)

    async def _refill(self, cache: ResourceCache) -> None:
        try:
            await self.ensure(cache)
        except (StatusError, StoreError) as error:  # who asks next tries again, and is told what is wrong
            logger.warning("A cache was not filled again", extra={"error": str(error)})

    async def _newest(self) -> int:
        """The store's revision, when it can tell."""
        while True:
            try:
                return await self._store.revision()
            except Unreachable:
                if self._clock is None:
                    raise
                await self._clock.sleep(RETRY)

    async def _attend(self, group: asyncio.TaskGroup) -> None:
        """Caches that had to be left behind, each in a task of its own: what one waits for holds up no other."""
        while True:
            group.create_task(self._follow_up(await self._behind.get()))

    async def _follow_up(self, cache: ResourceCache) -> None:
        async with cache.loading:
            try:
                await self._catch_up(cache)
            except StatusError:  # who reads next tries again, and is told what is wrong
                cache.reset()
            except Exception:
                logger.exception("Failed to follow %s", cache.kind.prefix)
                cache.reset()
            finally:
                cache.early = None

    def _advance(self, revision: int) -> None:
        self.revision = revision
        while self._waiters and self._waiters[0][0] <= revision:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    async def reached(self, revision: int) -> None:
        """Wait until the caches show everything up to `revision`.

        Where others write as well, not for ever: reads see to it themselves there that they are new enough.
        """
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._numbers), waiter))
        if not self.shared or self._clock is None:
            await waiter
            return
        timer = self._clock.call_later(LATE, lambda: _release(waiter))
        try:
            await waiter
        finally:
            timer.cancel()

    async def fresh(self) -> None:
        """Wait until the caches show all that anybody, at any server of this store, has been told is written."""
        if self.shared:
            await self.reached(await self._store.barrier())

    def bookmark(self) -> None:
        for caches in self._caches.values():
            for cache in caches:
                cache.forget_past()
                for watcher in cache.watchers:
                    watcher.ask_bookmark()
