"""The clock of a cluster, for who may turn it: below /timonel/clock/, and for the store, which time waits for.

    GET  now                   {"kind", "now", "moving", "target", "halted"}; answered at once
    GET  settled               the same, when time has come to rest or after a while
    POST advance?seconds=N     time goes on by so much; answered when it has, or after a while
    POST set?time=RFC3339      the same, to a moment; time does not go back
    POST stop                  time goes no further than where it stops next

"After a while" is after `within` real seconds, 20 if nothing is said.

Only who may do everything has rights on these paths. `timonel clock` is their client. Where time is virtual, the store
is asked through `StillStore`: while it works, time stands still.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson

from timonel.aio.clock import Clock, MovingAlready, VirtualClock, outside, wait_until
from timonel.client.clock import LONGEST, PATH
from timonel.machinery import errors
from timonel.objects.meta import format_micro_time, parse_time
from timonel.server.chain.info import Info
from timonel.server.exchange import Request, Response
from timonel.server.request import User
from timonel.store.base import Event, Page, Record, Store

logger = logging.getLogger(__name__)

PATIENCE = 20.0  # seconds of real time until a request is answered though time still moves
LAST = 253_402_214_400.0  # a day before the year 10000, which no time of the API can name


class Turner:
    """A service: turns the clock when it is asked to, one turn after the other. `turned` hears the new time."""

    name = "clock"

    def __init__(self, clock: Clock, turned: Callable[[float], None] = lambda now: None) -> None:
        self._clock, self._turned = clock, turned
        self._outside = outside(clock)
        self._target: float | None = None
        self._is_halted = False  # the last turn, on its way
        self._wanted, self._settled = asyncio.Event(), asyncio.Event()
        self._settled.set()

    async def run(self, ready: asyncio.Event) -> None:
        ready.set()
        clock = self._clock
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            assert isinstance(clock, VirtualClock)
            try:
                while self._target is not None and self._target > clock.now():
                    await clock.advance(self._target - clock.now())
            except MovingAlready:
                logger.warning("The clock is turned from within: what was asked for is not done")
            finally:
                self._target = None
                self._settled.set()
                self._turned(clock.now())

    # ---- what is asked

    async def __call__(self, request: Request, info: Info, user: User) -> Response:
        patience = _patience(info)
        match f"{request.method} {info.path.removeprefix(PATH)}":
            case "GET now":
                pass
            case "GET settled":
                await self._rest(patience)
            case "POST advance":
                self._turn(self._clock.now() + _seconds(info))
                await self._rest(patience)
            case "POST set":
                self._turn(self._moment(info))
                await self._rest(patience)
            case "POST stop":
                self._stop()
                await self._rest(patience)
            case _:
                raise errors.NotFound("the server could not find the requested resource")
        return Response(200, orjson.dumps(self._shown()))

    def _shown(self) -> dict[str, Any]:
        is_virtual = isinstance(self._clock, VirtualClock)
        return {
            "kind": "virtual" if is_virtual else "system",
            "now": format_micro_time(self._clock.now()),
            "moving": self._target is not None or not is_virtual,
            "target": format_micro_time(self._target) if self._target is not None else None,
            "halted": self._is_halted,
        }

    def _turn(self, target: float) -> None:
        clock = _virtual(self._clock)
        if target > LAST:
            raise errors.BadRequest("that is too far ahead: time ends with the year 9999")
        if self._target is not None or clock.is_moving:
            until = f", to {format_micro_time(self._target)}" if self._target is not None else ""
            raise errors.conflict(
                "clocks", "cluster", f"the clock is being turned already{until}", "timonel.dev"
            )
        self._target, self._is_halted = target, False
        self._settled.clear()
        self._wanted.set()

    def _stop(self) -> None:
        clock = _virtual(self._clock)
        if self._target is not None:
            self._target, self._is_halted = clock.now(), True
            clock.halt()

    async def _rest(self, patience: float) -> None:
        if self._outside is self._clock:  # nobody is in a hurry
            await self._settled.wait()
        else:
            await wait_until(self._outside, self._settled, patience)

    def _moment(self, info: Info) -> float:
        text = "".join(info.query.get("time", ())[:1])
        try:
            moment = parse_time(text)
        except ValueError as error:
            raise errors.BadRequest(f"not a time: {text!r}") from error
        if moment is None:
            raise errors.BadRequest("time is missing")
        if moment < self._clock.now():
            raise errors.BadRequest(
                f"time does not go back: it is {format_micro_time(self._clock.now())} already"
            )
        if moment - self._clock.now() > LONGEST:
            raise errors.BadRequest("that is too far ahead: at once, time goes on by 100 years at the most")
        return moment


def _virtual(clock: Clock) -> VirtualClock:
    if not isinstance(clock, VirtualClock):
        raise errors.BadRequest(
            "the clock of this cluster is the machine's: start one with `timonel up --clock virtual`"
        )
    return clock


def _patience(info: Info) -> float:
    text = "".join(info.query.get("within", ())[:1])
    try:
        seconds = float(text) if text else PATIENCE
    except ValueError as error:
        raise errors.BadRequest(f"not a number of seconds: {text!r}") from error
    if not 0 <= seconds <= PATIENCE:
        raise errors.BadRequest(f"within must be between 0 and {PATIENCE:.0f} seconds")
    return seconds


def _seconds(info: Info) -> float:
    text = "".join(info.query.get("seconds", ())[:1])
    try:
        seconds = float(text)
    except ValueError as error:
        raise errors.BadRequest(f"not a number of seconds: {text!r}") from error
    if not 0 <= seconds <= LONGEST:
        raise errors.BadRequest(f"seconds must be between 0 and {LONGEST:.0f}, which is 100 years")
    return seconds


class StillStore:
    """A store during whose work a virtual clock stands still."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self._store, self._clock = store, clock
        self.barrier, self.check, self.close = store.barrier, store.check, store.close

    @property
    def shared(self) -> bool:
        return self._store.shared

    async def get(self, key: str) -> Record | None:
        with self._clock.working():
            return await self._store.get(key)

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        with self._clock.working():
            return await self._store.list(prefix, limit=limit, after=after, revision=revision)

    async def create(self, key: str, value: bytes) -> Record:
        with self._clock.working():
            return await self._store.create(key, value)

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        with self._clock.working():
            return await self._store.update(key, value, expected=expected)

    async def delete(self, key: str, *, expected: int) -> Record:
        with self._clock.working():
            return await self._store.delete(key, expected=expected)

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Event]]:
        return self._store.watch(prefix, after=after)

    async def compact(self, revision: int) -> None:
        with self._clock.working():
            await self._store.compact(revision)

    async def revision(self) -> int:
        with self._clock.working():
            return await self._store.revision()
