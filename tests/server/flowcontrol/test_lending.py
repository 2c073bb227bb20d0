"""Seats that a level does not need are lent to one that does, and come back."""

from __future__ import annotations

from tests.server.fakes import FakeReader
from timonel.aio.clock import VirtualClock
from timonel.server.chain.info import parse
from timonel.server.flowcontrol.control import ADJUST_EVERY, FlowControl
from timonel.server.flowcontrol.defaults import DEFAULTS
from timonel.server.flowcontrol.levels import Seat
from timonel.server.request import User

USER = User("bob", ("system:authenticated",))
INFO = parse("POST", "/api/v1/namespaces/a/pods", "")


def flow_control(clock: VirtualClock) -> FlowControl:
    reader = FakeReader()
    for default in DEFAULTS:
        reader.put(default.resource, default.obj())
    made = FlowControl(reader, clock, 600)
    made.follow()
    return made


def taken(flows: FlowControl, most: int) -> list[Seat]:
    """As many seats as there are."""
    schema = flows.classify(USER, INFO)
    seats: list[Seat] = []
    while len(seats) < most and (seat := flows.try_enter(schema, INFO, None)) is not None:
        seats.append(seat)
    return seats


async def test_a_level_that_is_pressed_borrows_and_gives_back() -> None:
    clock = VirtualClock()
    flows = flow_control(clock)
    seats = taken(flows, 1000)
    level = flows.levels["global-default"]
    assert level.name == flows.classify(USER, INFO).level.name
    first = len(seats)
    assert first == level.limit == 49 - 24 // 2

    level.pressed()
    await clock.advance(ADJUST_EVERY + 1)
    seats += taken(flows, 1000)
    assert len(seats) > 2 * first
    assert sum(each.limit for each in flows.levels.values()) <= 600 + len(flows.levels)

    for seat in seats:
        seat.leave()
    await clock.advance(3 * ADJUST_EVERY)
    assert level.limit == first
    assert all(each.at_rest for each in flows.levels.values())


async def test_a_server_at_rest_has_no_timer() -> None:
    clock = VirtualClock()
    flows = flow_control(clock)
    for seat in taken(flows, 5):
        seat.leave()

    assert flows._timer is None


async def test_the_configuration_of_seats_in_use_may_change() -> None:
    clock = VirtualClock()
    flows = flow_control(clock)
    seats = taken(flows, 10)
    flows._note(None, None)
    schema = flows.classify(USER, INFO)
    assert schema.level.in_use == 10

    for seat in seats:
        seat.leave()
    assert schema.level.at_rest
