from __future__ import annotations

import asyncio

import pytest

from timonel.apis.core.configmap import CONFIG_MAP
from timonel.objects.meta import Object
from timonel.server.atrest.vault import Unreadable
from timonel.server.watchcache import (
    ADDED,
    DELETED,
    MAILBOX_BYTES,
    MODIFIED,
    WINDOW,
    WINDOW_BYTES,
    Caches,
    Entry,
    Kind,
    ResourceCache,
)
from timonel.store.base import Compacted, Event, Record
from timonel.store.memory import MemoryStore

KIND = Kind(CONFIG_MAP)


def config_map(name: str, **labels: str) -> Object:
    return {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
    }


def record(name: str, revision: int, **labels: str) -> Record:
    return Record(KIND.key("default", name), KIND.encode(config_map(name, **labels)), revision, revision)


def cache_with(*records: Record, revision: int = 10) -> ResourceCache:
    cache = ResourceCache(KIND)
    cache.load(records, revision)
    return cache


def written(new: Record, old: Record | None = None) -> Event:
    return Event(new.key, new.modified, new, old)


async def types_of(cache: ResourceCache, watcher_after: int, label: str) -> list[tuple[str, str]]:
    watcher = cache.watch(lambda e: label in e.labels, watcher_after)
    watcher.end()
    return [(type_, entry.name) for type_, entry, _ in await watcher.take()]


def test_the_revision_is_spliced_into_what_was_stored() -> None:
    entry = KIND.entry(record("a", 7))

    assert b"resourceVersion" not in KIND.encode(config_map("a"))
    assert entry.json().startswith(
        b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7",'
    )
    assert entry.item.startswith(b'{"metadata":{"resourceVersion":"7",')
    assert entry.obj["metadata"]["resourceVersion"] == "7"


def test_a_deleted_object_shows_the_revision_of_its_deletion() -> None:
    gone = KIND.entry(record("a", 7, app="x")).at(12)

    assert gone.obj == config_map("a", app="x") | {
        "metadata": {**config_map("a", app="x")["metadata"], "resourceVersion": "12"}
    }


def test_an_entry_gets_its_revision_once() -> None:
    entry = Entry(KIND, KIND.key("default", "a"), KIND.encode(config_map("a")), 0)
    entry.seal(3)
    entry.seal(4)

    assert entry.revision == 3


async def test_selectors_turn_changes_into_arrivals_and_departures() -> None:
    cache = cache_with()
    states = [record("a", 11), record("a", 12, web="1"), record("a", 13, web="2"), record("a", 14)]
    for old, new in zip([None, *states], states, strict=False):
        cache.apply(written(new, old))

    assert await types_of(cache, 10, "web") == [(ADDED, "a"), (MODIFIED, "a"), (DELETED, "a")]


async def test_a_watch_begins_after_its_revision() -> None:
    cache = cache_with()
    for revision in (11, 12, 13):
        cache.apply(written(record(f"n{revision}", revision, web="")))

    assert await types_of(cache, 12, "web") == [(ADDED, "n13")]


async def test_a_watch_from_before_the_window_is_refused() -> None:
    cache = cache_with(revision=10)
    for revision in range(11, 12 + WINDOW):
        cache.apply(written(record("a", revision)))

    cache.watch(None, 11)
    with pytest.raises(Compacted):
        cache.watch(None, 10)


async def test_a_read_after_a_write_shows_it() -> None:
    store = MemoryStore()
    caches = Caches(store)
    cache = caches.add(KIND)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        follower = group.create_task(caches.follow(ready.set))
        await ready.wait()
        await caches.ensure(cache)
        made = await store.create(KIND.key("default", "a"), KIND.encode(config_map("a")))
        await caches.reached(made.modified)
        names = [entry.name for entry in cache.select(KIND.prefix)]
        follower.cancel()

    assert names == ["a"]
    assert caches.version(cache) == made.modified


async def test_what_is_written_while_a_cache_is_loaded_is_not_missed() -> None:
    store = MemoryStore()
    caches = Caches(store)
    cache = caches.add(KIND)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        follower = group.create_task(caches.follow(ready.set))
        await ready.wait()
        loading = group.create_task(caches.ensure(cache))
        for name in "abc":
            await store.create(KIND.key("default", name), KIND.encode(config_map(name)))
            await asyncio.sleep(0)
        await loading
        await caches.reached(await store.revision())
        names = [entry.name for entry in cache.select(KIND.prefix)]
        follower.cancel()

    assert names == ["a", "b", "c"]


def large(name: str, revision: int, size: int) -> Record:
    obj = config_map(name) | {"data": {"k": "x" * size}}
    return Record(KIND.key("default", name), KIND.encode(obj), revision, revision)


def test_large_objects_leave_room_for_fewer_past_events() -> None:
    cache = cache_with(revision=10)
    size = WINDOW_BYTES // 8
    for revision in range(11, 31):
        cache.apply(written(large("a", revision, size)))

    assert len(cache.window) == 7
    assert cache.window[0].revision == 24
    with pytest.raises(Compacted):
        cache.watch(None, 22)


async def test_a_watcher_that_leaves_large_objects_lying_is_cut_off() -> None:
    cache = cache_with(revision=10)
    reads, sleeps = cache.watch(None, 10), cache.watch(None, 10)
    for revision in range(11, 31):
        cache.apply(written(large("a", revision, MAILBOX_BYTES // 8)))
        await reads.take()

    assert not reads.expired
    assert sleeps.expired
    assert not sleeps._mail


async def test_a_watch_of_a_cache_that_was_taken_away_ends_at_once() -> None:
    caches = Caches(MemoryStore())
    cache = caches.add(KIND)
    caches.remove(cache)
    late = cache.watch(None, None)

    assert list(await late.take()) == []
    assert late.ended


async def test_a_cold_cache_begins_with_the_past_that_is_asked_for() -> None:
    store = MemoryStore()
    caches = Caches(store)
    first = await store.create(KIND.key("default", "a"), KIND.encode(config_map("a")))
    await store.create(KIND.key("default", "b"), KIND.encode(config_map("b", kept="yes")))
    await store.delete(KIND.key("default", "a"), expected=first.modified)
    cache = caches.add(KIND)
    await caches.ensure(cache, first.modified)
    watcher = cache.watch(None, first.modified)
    watcher.end()
    seen = [(type_, entry.name) for type_, entry, _ in await watcher.take()]

    assert seen == [(ADDED, "b"), (DELETED, "a")]
    assert list(cache.entries) == [KIND.key("default", "b")]


async def test_several_caches_hold_the_same_keys_until_they_are_taken_away() -> None:
    store = MemoryStore()
    caches = Caches(store)
    one, two = caches.add(KIND), caches.add(KIND)
    ready = asyncio.Event()
    following = asyncio.ensure_future(caches.follow(ready.set))
    await ready.wait()
    await caches.ensure(one)
    await caches.ensure(two)
    made = await store.create(KIND.key("default", "a"), KIND.encode(config_map("a")))
    await caches.reached(made.modified)
    both = [len(cache.entries) for cache in (one, two)]
    caches.remove(two)
    made = await store.create(KIND.key("default", "b"), KIND.encode(config_map("b")))
    await caches.reached(made.modified)
    following.cancel()

    assert both == [1, 1]
    assert [len(cache.entries) for cache in (one, two)] == [2, 1]


def test_a_long_past_of_large_objects_goes_when_it_is_looked_at_again() -> None:
    cache = cache_with()
    large = "x" * (3 * 512 * 1024)
    for number in range(5):
        cache.apply(written(record("a", 11 + number, large=large)))
    cache.forget_past()
    kept = len(cache.window)
    cache.forget_past()

    assert kept == 5
    assert len(cache.window) == 2
    with pytest.raises(Compacted):
        cache.watch(None, 11)


MALFORMED = [
    b"not json",
    b"[]",
    b"1",
    b"null",
    b"\xff\xfe",
    b"k8s\0\x0a\xff",
    b"{}",
    b'{"kind":"ConfigMap","apiVersion":"v1"}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":[]}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default","labels":7}}',
]


@pytest.mark.parametrize("value", MALFORMED)
def test_what_others_write_that_is_no_object_cannot_be_read_and_harms_nothing_else(value: bytes) -> None:
    heard: list[tuple[Object | None, Object | None]] = []
    cache = cache_with(record("b", 3))
    cache.others_write = True
    cache.listeners.append(lambda old, new: heard.append((old, new)))
    key = KIND.key("default", "a")
    good = record("a", 11)

    cache.apply(Event(key, 11, good, None))
    cache.apply(Event(key, 12, Record(key, value, 11, 12), good))

    assert cache.keys == [KIND.key("default", "b")]
    assert [(old is None, new is None) for old, new in heard] == [(True, False), (False, True)]
    with pytest.raises(Unreadable, match=f'unable to transform key "/registry{key}": '):
        cache.refuse_unreadable(key, exact=True)

    cache.load([record("b", 3), Record(key, value, 11, 12)], 12)
    assert (cache.keys, list(cache.unreadable)) == ([KIND.key("default", "b")], [key])

    cache.apply(Event(key, 13, record("a", 13), None))
    assert (len(cache.keys), cache.unreadable) == (2, {})


def test_one_who_listens_and_cannot_bear_an_object_does_not_keep_it_from_the_others() -> None:
    cache = cache_with()
    heard: list[Object | None] = []

    def picky(old: Object | None, new: Object | None) -> None:
        raise KeyError("spec")

    cache.listeners += [picky, lambda old, new: heard.append(new)]
    cache.apply(written(record("a", 11)))

    assert [obj and obj["metadata"]["name"] for obj in heard] == ["a"]
