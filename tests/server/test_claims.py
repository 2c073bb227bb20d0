"""Numbers that several servers hand out: one has each, and what was left behind is taken over, but not too early."""

from __future__ import annotations

import asyncio

from timonel.aio.clock import VirtualClock
from timonel.objects.meta import Key
from timonel.server.claims import ABANDONED_AFTER, PREFIX, Claims
from timonel.store.memory import MemoryStore

A, B = Key("default", "a"), Key("default", "b")


class Server:
    """One of those that share the store; `owned` is what its cache shows."""

    def __init__(self, store: MemoryStore, clock: VirtualClock) -> None:
        self.owned: dict[int, Key] = {}
        self.claims = Claims(store, clock, "ports", lambda number, owner: self.owned.get(number) == owner)


async def test_who_claims_first_has_it() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one, other = Server(store, clock), Server(store, clock)

    assert await one.claims.take(80, A)
    assert await one.claims.take(80, A)  # again, after a try that came to nothing
    assert not await other.claims.take(80, B)
    assert await other.claims.take(81, B)


async def test_of_many_at_once_one_gets_it() -> None:
    store, clock = MemoryStore(), VirtualClock()
    servers = [Server(store, clock) for _ in range(10)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(s.claims.take(80, Key("default", str(n)))) for n, s in enumerate(servers)]

    assert sum(1 for task in tasks if task.result()) == 1


async def test_what_was_given_back_is_free_at_once() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one, other = Server(store, clock), Server(store, clock)
    await one.claims.take(80, A)
    service = await store.create("/services/specs/default/a", b"{}")
    other.claims.given_back(80, service.modified)

    assert await other.claims.take(80, B)
    assert not await one.claims.take(80, A)


async def test_a_new_claim_is_not_taken_for_the_old_one() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one, other = Server(store, clock), Server(store, clock)
    service = await store.create("/services/specs/default/a", b"{}")
    await one.claims.take(80, A)
    other.claims.given_back(80, service.modified)

    assert not await other.claims.take(80, B)


async def test_a_claim_without_an_object_is_taken_over_after_a_while_whatever_the_wall_clock_says() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one, other = Server(store, clock), Server(store, clock)
    await one.claims.take(80, A)

    assert not await other.claims.take(80, B)
    await clock.advance(ABANDONED_AFTER / 2)
    assert not await other.claims.take(80, B)
    await clock.advance(ABANDONED_AFTER)
    assert await other.claims.take(80, B)


async def test_an_object_that_has_its_number_keeps_it_for_ever() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one, other = Server(store, clock), Server(store, clock)
    await one.claims.take(80, A)
    other.owned[80] = A
    for _ in range(3):
        assert not await other.claims.take(80, B)
        await clock.advance(ABANDONED_AFTER * 2)


async def test_claims_of_what_is_given_back_are_removed() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one = Server(store, clock)
    await one.claims.take(80, A)
    await one.claims.take(81, B)
    one.claims.given_back(80, await store.revision())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.claims.run())
        await clock.advance(1.0)
        task.cancel()

    assert [r.key for r in (await store.list(PREFIX)).records] == [f"{PREFIX}ports/81"]


async def test_the_claim_of_an_object_that_has_its_number_stays() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one = Server(store, clock)
    revision = await one.claims.take(80, A)
    one.owned[80] = A  # the write was not answered, but happened
    one.claims.given_back(80, revision)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.claims.run())
        await clock.advance(1.0)
        task.cancel()

    assert [r.key for r in (await store.list(PREFIX)).records] == [f"{PREFIX}ports/80"]


async def test_what_is_no_claim_is_taken_over_as_one_that_was_left_behind() -> None:
    store, clock = MemoryStore(), VirtualClock()
    one = Server(store, clock)
    await store.create(f"{PREFIX}ports/80", b"not json")

    assert not await one.claims.take(80, A)
    await clock.advance(ABANDONED_AFTER * 2)
    assert await one.claims.take(80, A)
