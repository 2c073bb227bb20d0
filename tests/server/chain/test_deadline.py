"""Which requests have an end, and that work whose time is up is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.aio.clock import VirtualClock
from timonel.machinery import errors
from timonel.server.chain import deadline
from timonel.server.chain.info import parse

POD = "/api/v1/namespaces/a/pods/b"


@pytest.mark.parametrize(
    ("method", "path", "query", "long"),
    [
        ("GET", POD, "", False),
        ("GET", "/api/v1/pods", "watch=true", True),
        ("GET", f"{POD}/log", "", True),
        ("POST", f"{POD}/exec", "", True),
        ("GET", f"{POD}/proxy/x", "", True),
        ("PUT", f"{POD}/status", "", False),
        ("GET", "/version", "", False),
    ],
)
def test_watches_and_streams_have_no_end(method: str, path: str, query: str, long: bool) -> None:
    assert deadline.is_long(parse(method, path, query)) is long


@given(st.floats(0.001, 10_000))
def test_nobody_gets_more_than_there_is(seconds: float) -> None:
    info = parse("GET", POD, f"timeout={seconds:.3f}s")

    assert deadline.seconds(info, 60.0) == pytest.approx(min(seconds, 60.0), abs=0.001)


async def test_work_that_is_done_in_time_is_left_alone() -> None:
    async def work() -> int:
        return 7

    assert await deadline.within(VirtualClock(), 1.0, work()) == 7


async def test_work_that_is_late_is_cancelled() -> None:
    clock, cancelled = VirtualClock(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.ensure_future(deadline.within(clock, 60.0, work()))
    await clock.advance(59)
    assert not task.done()
    await clock.advance(2)

    with pytest.raises(errors.Timeout, match="did not complete within the allotted timeout"):
        await task
    assert cancelled.is_set()


async def test_a_client_that_goes_is_no_timeout() -> None:
    task = asyncio.ensure_future(deadline.within(VirtualClock(), 60.0, asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
