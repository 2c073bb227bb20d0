"""What every request passes beside the question whether it may: its turn (flow control), its time, its record.

`Passage` is one request on the slow way; what is answered at once is only counted (`Target.meter`, `Target.schema`).

Upstream: apiserver/pkg/server/filters/{priority-and-fairness,maxinflight,timeout}.go.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from timonel.aio.clock import Clock, stopwatch
from timonel.server.chain import deadline
from timonel.server.chain.info import Info
from timonel.server.flowcontrol.control import FlowControl
from timonel.server.flowcontrol.inflight import READING, Full, Inflight
from timonel.server.flowcontrol.levels import Level, Refused, Schema, Seat
from timonel.server.http import TEXT, Request, Response
from timonel.server.metrics.requests import Meter, Requests
from timonel.server.paths import NO_SNIFF
from timonel.server.request import User
from timonel.server.watchcache import ResourceCache

T = TypeVar("T")

LONGEST_WAIT = 60.0  # seconds in a queue; else a quarter of the request's time
MASTERS = "system:masters"


class AuditIds:
    """A fresh one with each call: random for the server, counted from there on."""

    def __init__(self) -> None:
        self._prefix = str(uuid.uuid4())[:24].encode()
        self._numbers = itertools.count(random.getrandbits(44))

    def __call__(self) -> bytes:
        return b"%b%012x" % (self._prefix, next(self._numbers))


@dataclass(slots=True)
class Passage:
    """One request on its way. `leave` gives back what it holds, when its answer is there or begins."""

    gate: Gate
    info: Info
    meter: Meter
    long: bool
    seat: Seat | None = None
    inflight: bool | None = None
    admitted: bool = False
    streams: bool = False

    def leave(self) -> None:
        if self.seat is not None:
            self.seat.leave()
        if self.inflight is not None and self.gate.inflight is not None:
            self.gate.inflight.leave(self.inflight)
            self.inflight = None

    def over(self) -> None:
        self.gate.count(self.info, -1)
        if self.streams:
            self.streams = False
            self.meter.long -= 1

    def answered(self, response: object) -> None:
        """What comes now lasts, unless it is an answer that is there already."""
        if self.long and not (isinstance(response, Response) and isinstance(response.body, bytes)):
            self.streams = True
            self.meter.long += 1


class Gate:
    """`flows` or `inflight` bounds what is at work at a time; neither: nothing does."""

    def __init__(
        self,
        clock: Clock,
        *,
        flows: FlowControl | None = None,
        inflight: Inflight | None = None,
        request_timeout: float = deadline.REQUEST_TIMEOUT,
    ) -> None:
        self.clock = clock
        self.flows, self.inflight = flows, inflight
        self.request_timeout = request_timeout
        self.requests = Requests()
        self.slow = False  # all requests take the slow way: there is a record to be kept of each
        self._open = Schema("", "", {}, Level("", "", clock, exempt=True), b"")

    def classify(self, user: User, info: Info) -> Schema:
        return self._open if self.flows is None else self.flows.classify(user, info)

    def count(self, info: Info, sign: int) -> None:
        if info.verb in READING:
            self.requests.reading += sign
        else:
            self.requests.mutating += sign

    def begin(self, info: Info, meter: Meter) -> Passage:
        self.count(info, 1)
        return Passage(self, info, meter, deadline.is_long(info))

    async def admit(
        self, passage: Passage, request: Request, user: User, cache: Callable[[], ResourceCache | None]
    ) -> None:
        """Wait for a seat. Once; asked again it has one. Raises Refused, Full."""
        if passage.admitted:
            return
        passage.admitted = True
        info = passage.info
        if passage.long and info.verb != "watch":
            return
        if self.flows is None:
            if self.inflight is not None:
                passage.inflight = self.inflight.enter(user, info)
            return
        schema = self.flows.classify(user, info)
        request.head = schema.head
        found = cache() if info.verb in ("list", "watch") else None
        passage.seat = self.flows.try_enter(schema, info, found)
        if passage.seat is None:
            patience = min(LONGEST_WAIT, self.allotted(passage) / 4)
            passage.seat = await self.flows.enter(schema, user, info, found, patience)

    def allotted(self, passage: Passage) -> float:
        if passage.long:
            return 4 * LONGEST_WAIT
        return deadline.seconds(passage.info, self.request_timeout)

    async def within(self, passage: Passage, work: Awaitable[T]) -> T:
        if passage.long:
            return await work
        return await deadline.within(self.clock, self.allotted(passage), work)

    def refused(self, error: BaseException, info: Info | None) -> Response | None:
        """The answer to one that may not pass now; None where that is not what happened."""
        if isinstance(error, Refused):
            seconds = error.level.retry.seconds
        elif isinstance(error, Full):
            seconds = 1
        else:
            return None
        if info is not None:
            self.requests.dropped["readOnly" if info.verb in READING else "mutating"] += 1
        headers = ((b"Retry-After", b"%d" % seconds), NO_SNIFF)
        return Response(429, b"Too many requests, please try again later.\n", TEXT, headers)

    def done(self, request: Request, status: int, size: int) -> None:
        """Every request passes here at its end."""
        context = request.context
        if context is None:
            return
        took = stopwatch() - request.started
        context.meter.add(status, took, size)
        if context.__class__ is Passage:
            context.over()
        elif context.schema is not None:
            context.schema.dispatched += 1
