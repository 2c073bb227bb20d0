"""A priority level at work: seats, queues, turns, refusals, with a clock that is turned by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from timonel.aio.clock import VirtualClock
from timonel.server.flowcontrol.concurrency import Limits
from timonel.server.flowcontrol.levels import NO_SEAT, QUEUE_FULL, TIME_OUT, Level, Refused, Schema, Seat

PATIENCE = 15.0


def level(
    clock: VirtualClock, seats: int, *, queues: int = 8, hand: int = 2, length: int = 3, **more: Any
) -> tuple[Level, Schema]:
    made = Level("test", "", clock, **more)
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
    response = {"type": "Queue", "queuing": queuing} if queues else {"type": "Reject"}
    made.configure(
        "uid", {"type": "Limited", "limited": {"limitResponse": response}}, Limits(seats, 0, None), 0
    )
    return made, Schema("schema", "", {}, made, b"")


def entered(at: Level, schema: Schema, seats: int = 1) -> Seat:
    seat = at.enter(schema, seats)
    assert seat is not None
    return seat


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_finds_no_seat_waits_until_one_is_given_back() -> None:
    at, schema = level(VirtualClock(), 1)
    first = entered(at, schema)
    assert at.crowded
    assert at.enter(schema, 1) is None

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(at.wait(schema, "bob", "", 1, PATIENCE))
        await settle()
        assert (at.waiting, waiting.done()) == (1, False)
        first.leave()
        await settle()
        assert (at.waiting, at.in_use, waiting.done()) == (0, 1, True)
    waiting.result().leave()
    waiting.result().leave()

    assert (at.in_use, at.crowded, at.executing) == (0, False, 0)


async def test_a_wide_request_waits_for_all_its_seats_but_not_for_more_than_there_are() -> None:
    at, schema = level(VirtualClock(), 4)
    first = entered(at, schema, 2)
    assert at.enter(schema, 3) is None
    first.leave()

    assert entered(at, schema, 9).seats == 9


async def test_a_full_queue_refuses() -> None:
    at, schema = level(VirtualClock(), 1, queues=1, hand=1, length=2)
    entered(at, schema)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(at.wait(schema, "bob", "", 1, PATIENCE)) for _ in range(2)]
        await settle()
        with pytest.raises(Refused) as refused:
            await at.wait(schema, "bob", "", 1, PATIENCE)
        for task in tasks:
            task.cancel()

    assert refused.value.reason == QUEUE_FULL
    assert schema.refused == {QUEUE_FULL: 1}
    assert at.waiting == 0


async def test_a_level_without_queues_refuses_at_once() -> None:
    at, schema = level(VirtualClock(), 1, queues=0)
    entered(at, schema)

    with pytest.raises(Refused) as refused:
        await at.wait(schema, "bob", "", 1, PATIENCE)
    assert refused.value.reason == NO_SEAT


async def test_who_has_waited_too_long_is_refused() -> None:
    clock = VirtualClock()
    at, schema = level(clock, 1)
    entered(at, schema)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(
            asyncio.wait([asyncio.ensure_future(at.wait(schema, "bob", "", 1, PATIENCE))])
        )
        await settle()
        await clock.advance(PATIENCE + 1)
    (done,) = waiting.result()[0]

    refused = done.exception()
    assert isinstance(refused, Refused)
    assert refused.reason == TIME_OUT
    assert at.waiting == 0


async def test_a_client_that_goes_while_it_waits_leaves_nothing_behind() -> None:
    at, schema = level(VirtualClock(), 1)
    first = entered(at, schema)
    tasks = [asyncio.ensure_future(at.wait(schema, "bob", "", 1, PATIENCE)) for _ in range(2)]
    await settle()
    first.leave()
    for task in tasks:
        task.cancel()  # one of them has just been given a seat
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result().leave()

    assert (at.waiting, at.in_use, at.waiting_seats, schema.waiting, schema.executing) == (0, 0, 0, 0, 0)


async def test_a_flow_that_floods_the_level_does_not_keep_another_one_out() -> None:
    clock = VirtualClock()
    at, schema = level(clock, 1, queues=64, hand=4, length=50)
    first = entered(at, schema)
    order: list[str] = []

    async def one(flow: str) -> None:
        seat = await at.wait(schema, flow, "", 1, 1000.0)
        order.append(flow)
        await clock.sleep(0.1)
        seat.leave()

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(one("elephant"))
        await settle()
        for _ in range(3):
            group.create_task(one("mouse"))
        await settle()
        first.leave()
        await clock.advance(60)

    assert len(order) == 103
    assert max(number for number, flow in enumerate(order) if flow == "mouse") < 20


async def test_an_exempt_level_never_keeps_anybody_waiting() -> None:
    at = Level("exempt", "", VirtualClock())
    at.configure("", {"type": "Exempt"}, Limits(0, 0, None), 0)
    schema = Schema("exempt", "", {}, at, b"")

    assert all(at.enter(schema, 1) is not None for _ in range(1000))
    assert not at.crowded
