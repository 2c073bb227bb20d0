"""What every backend must do. A backend's test module subclasses this and provides `store`."""

from __future__ import annotations

import asyncio

import pytest

from timonel.store.base import Compacted, FutureRevision, KeyExists, KeyMissing, RevisionConflict, Store


class StoreContract:
    async def test_an_empty_store_has_a_revision(self, store: Store) -> None:
        page = await store.list("/")

        assert (page.records, page.revision) == ([], await store.revision())
        assert page.revision >= 1

    async def test_each_write_gets_the_next_revision(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        b = await store.create("/r/b", b"1")
        gone = await store.delete("/r/a", expected=a.modified)

        assert b.modified == a.modified + 1
        assert gone.modified == b.modified + 1 == await store.revision()

    async def test_create_refuses_an_existing_key(self, store: Store) -> None:
        await store.create("/r/a", b"1")

        with pytest.raises(KeyExists):
            await store.create("/r/a", b"2")

    async def test_update_keeps_the_create_revision(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        b = await store.update("/r/a", b"2", expected=a.modified)

        assert (b.created, b.value) == (a.created, b"2")
        assert await store.get("/r/a") == b

    async def test_a_stale_update_loses(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        await store.update("/r/a", b"2", expected=a.modified)

        with pytest.raises(RevisionConflict):
            await store.update("/r/a", b"3", expected=a.modified)

    async def test_a_stale_delete_loses(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        await store.update("/r/a", b"2", expected=a.modified)

        with pytest.raises(RevisionConflict):
            await store.delete("/r/a", expected=a.modified)

    async def test_delete_then_get_is_missing(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        gone = await store.delete("/r/a", expected=a.modified)

        assert gone.value == b"1"
        assert await store.get("/r/a") is None
        with pytest.raises(KeyMissing):
            await store.delete("/r/a", expected=gone.modified)
        with pytest.raises(KeyMissing):
            await store.update("/r/a", b"", expected=gone.modified)

    async def test_a_key_can_be_created_again_after_its_deletion(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        await store.delete("/r/a", expected=a.modified)
        again = await store.create("/r/a", b"2")

        assert again.created == again.modified > a.modified

    async def test_of_many_concurrent_creates_of_a_key_one_wins(self, store: Store) -> None:
        async def attempt(number: int) -> bool:
            try:
                await store.create("/r/a", str(number).encode())
            except KeyExists:
                return False
            return True

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(attempt(n)) for n in range(20)]

        assert [t.result() for t in tasks].count(True) == 1

    async def test_lists_are_ordered_and_keep_to_their_prefix(self, store: Store) -> None:
        for key in ("/r/b", "/r/a/x", "/r/a", "/s/a", "/q/z", "/r/ä"):
            await store.create(key, b"1")

        assert [r.key for r in (await store.list("/r/")).records] == ["/r/a", "/r/a/x", "/r/b", "/r/ä"]

    async def test_pages_are_one_snapshot(self, store: Store) -> None:
        for name in "abc":
            await store.create(f"/r/{name}", b"1")
        first = await store.list("/r/", limit=2)
        c = await store.get("/r/c")
        assert c is not None
        await store.update("/r/c", b"later", expected=c.modified)
        await store.create("/r/d", b"1")
        rest = await store.list("/r/", after=first.records[-1].key, revision=first.revision, limit=5)

        assert (first.remaining, rest.remaining) == (1, 0)
        assert [(r.key, r.value) for r in rest.records] == [("/r/c", b"1")]

    async def test_an_old_revision_shows_what_was_deleted_since(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        b = await store.create("/r/b", b"1")
        await store.delete("/r/a", expected=a.modified)

        assert [r.key for r in (await store.list("/r/", revision=b.modified)).records] == ["/r/a", "/r/b"]
        assert [r.key for r in (await store.list("/r/", revision=a.modified)).records] == ["/r/a"]

    async def test_a_revision_of_the_future_is_refused(self, store: Store) -> None:
        with pytest.raises(FutureRevision):
            await store.list("/r/", revision=await store.revision() + 1000)

    async def test_watch_replays_then_follows(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        b = await store.update("/r/a", b"2", expected=a.modified)
        await store.create("/other", b"1")
        batches = store.watch("/r/", after=a.modified)
        (replayed,) = await anext(batches)

        async def write() -> None:
            await store.delete("/r/a", expected=b.modified)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            (followed,) = await anext(batches)

        assert replayed.record == b
        assert replayed.previous == a
        assert (followed.record, followed.previous) == (None, b)

    async def test_a_watch_from_zero_sees_everything(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")

        (event,) = await anext(store.watch("/", after=0))

        assert event.record == a
        assert event.previous is None

    async def test_a_watch_misses_nothing_while_others_write(self, store: Store) -> None:
        await store.create("/r/first", b"1")
        seen: list[int] = []

        async def follow() -> None:
            async for batch in store.watch("/", after=0):
                seen.extend(e.revision for e in batch)
                if len(seen) >= 41:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            for n in range(40):
                group.create_task(store.create(f"/r/{n}", b"1"))

        assert seen == list(range(seen[0], seen[0] + 41))

    async def test_compaction_forgets_the_past_and_keeps_the_present(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        b = await store.create("/r/b", b"1")
        a2 = await store.update("/r/a", b"2", expected=a.modified)
        await store.delete("/r/b", expected=b.modified)
        await store.compact(await store.revision())

        assert (await store.list("/r/")).records == [a2]
        for stale in (a.modified, a2.modified):
            with pytest.raises(Compacted):
                await anext(store.watch("/r/", after=stale))
            with pytest.raises(Compacted):
                await store.list("/r/", revision=stale)

    async def test_history_after_a_compaction_still_knows_previous_values(self, store: Store) -> None:
        a = await store.create("/r/a", b"1")
        await store.compact(a.modified)
        await store.update("/r/a", b"2", expected=a.modified)

        (event,) = await anext(store.watch("/r/", after=a.modified))

        assert event.previous == a
