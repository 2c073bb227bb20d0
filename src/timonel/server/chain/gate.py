"""What every request passes beside the question whether it may: its turn (flow control), its time, its record.

`Passage` is one request on the slow way; what is answered at once is only counted (`Target.meter`, `Target.schema`).

Upstream: apiserver/pkg/server/filters/{priority-and-fairness,maxinflight,timeout}.go.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from timonel.aio.clock import Clock, Timer, stopwatch
from timonel.machinery.errors import StatusError, Unauthorized
from timonel.records import dataclass
from timonel.server.audit.events import Record
from timonel.server.audit.trail import Trail
from timonel.server.chain import deadline
from timonel.server.chain.info import Info
from timonel.server.exchange import TEXT, Request, Response
from timonel.server.flowcontrol import estimate
from timonel.server.flowcontrol.control import FlowControl
from timonel.server.flowcontrol.inflight import READING, Full, Inflight
from timonel.server.flowcontrol.levels import Level, Refused, Schema, Seat
from timonel.server.metrics.requests import Meter, Requests
from timonel.server.paths import NO_SNIFF
from timonel.server.request import Upgraded, User
from timonel.server.watchcache import ResourceCache

T = TypeVar("T")

logger = logging.getLogger(__name__)

REQUEST_LEVEL = logging.INFO - 3  # what is logged with --v=3
LONGEST_WAIT = 60.0  # seconds in a queue; else a quarter of the request's time
AUDIT_ID_LIMIT = 64  # characters of one that a client gives


BLOCK = 4096  # audit IDs with the same beginning
ENDINGS = tuple(b"%03x" % number for number in range(BLOCK))


class AuditIds:
    """A fresh one with each call: random for the server, counted from there on."""

    def __init__(self) -> None:
        self._random = str(uuid.uuid4())[:24].encode()
        self._block = random.getrandbits(36)
        self._beginning = b""
        self._number = BLOCK

    def __call__(self) -> bytes:
        number = self._number
        if number == BLOCK:
            number = 0
            self._block = (self._block + 1) % (1 << 36)
            self._beginning = b"%b%09x" % (self._random, self._block)
        self._number = number + 1
        return self._beginning + ENDINGS[number]


@dataclass(slots=True)
class Passage:
    """One request on its way. `leave` gives back what it holds: its answer has gone out, or one that lasts begins."""

    gate: Gate
    info: Info
    meter: Meter
    long: bool
    schema: Schema | None = None
    seat: Seat | None = None
    inflight: bool | None = None
    admitted: bool = False
    streams: bool = False
    record: Record | None = None  # for the audit log
    judged: bool = False  # whether it has one has been decided
    timer: Timer | None = None

    def hold(self) -> None:
        """Keep what it holds while its answer goes out, but no longer than a request may take: some read for hours."""
        self.timer = self.gate.clock.call_later(self.gate.allotted(self), self.leave)

    def leave(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.seat is not None:
            self.seat.leave()
        if self.inflight is not None and self.gate.inflight is not None:
            self.gate.inflight.leave(self.inflight)
            self.inflight = None

    def over(self) -> None:
        self.leave()
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
        self.trail: Trail | None = None
        self.audit_ids = AuditIds()
        self._open = Schema("", "", {}, Level("", "", clock, exempt=True), b"")

    def log_requests(self) -> None:
        """Log each one from now on, if the log is that verbose."""
        if logger.isEnabledFor(REQUEST_LEVEL):
            self.done = self._logged  # type: ignore[method-assign]

    def _logged(self, request: Request, status: int, size: int) -> None:
        """Upstream: apiserver/pkg/server/httplog/httplog.go."""
        Gate.done(self, request, status, size)
        context = request.context
        fields: dict[str, object] = {
            "verb": context.info.verb.upper() if context is not None else request.method,
            "URI": request.path + (f"?{request.query}" if request.query else ""),
            "latency": f"{(stopwatch() - request.started) * 1000:.3f}ms",
            "userAgent": request.header(b"user-agent"),
            "audit-ID": request.audit_id.decode("latin-1"),
            "srcIP": request.connection.peer if request.connection is not None else "",
            "resp": status,
        }
        schema = context.schema if context is not None else None
        if schema is not None and schema.name:
            fields |= {"apf_pl": schema.level.name, "apf_fs": schema.name}
        logger.log(REQUEST_LEVEL, '"HTTP"', extra=fields)

    def record(self, trail: Trail) -> None:
        """Keep an audit log from now on."""
        self.trail, self.slow = trail, True

    def classify(self, user: User, info: Info) -> Schema:
        return self._open if self.flows is None else self.flows.classify(user, info)

    def at_once(self, schema: Schema, info: Info, cache: ResourceCache) -> bool:
        """Whether a list may be answered without seats: nobody else has one, and it is a small one."""
        level = schema.level
        return level.exempt or (not level.in_use and estimate.seats(info, cache, 0) == 1)

    def count(self, info: Info, sign: int) -> None:
        if info.verb in READING:
            self.requests.reading += sign
        else:
            self.requests.mutating += sign

    def begin(self, info: Info, meter: Meter) -> Passage:
        self.count(info, 1)
        return Passage(self, info, meter, deadline.is_long(info))

    async def judge(self, passage: Passage, request: Request, user: User) -> Record | None:
        """The request's record, once; None where there is none to be kept."""
        if self.trail is not None and not passage.judged:
            passage.judged = True
            passage.record = await self.trail.begin(request, passage.info, user)
        return passage.record

    async def recorded(
        self,
        passage: Passage,
        request: Request,
        work: Awaitable[Response | Upgraded],
        failed: Callable[[BaseException], Response],
    ) -> Response | Upgraded:
        """What `work` answers, or what `failed` makes of its failure, when that is in the audit log."""
        assert self.trail is not None
        given = request.header(b"audit-id")
        request.audit_id = given.encode("latin-1")[:AUDIT_ID_LIMIT] if given else self.audit_ids()
        response: Response | Upgraded
        try:
            response = await work
        except asyncio.CancelledError:
            if passage.record is not None:
                self.trail.abandoned(passage.record)
            raise
        except Exception as error:
            response = failed(error)
            if not passage.judged and isinstance(error, Unauthorized):
                self.trail.unauthenticated(request, passage.info)
            elif passage.record is not None and response.status == 500 and not isinstance(error, StatusError):
                self.trail.panicked(passage.record, repr(error))
        if passage.record is None:
            return response
        return await self.trail.finish(passage.record, response)

    async def admit(
        self,
        passage: Passage,
        request: Request,
        user: User,
        schema: Schema,
        cache: Callable[[], ResourceCache | None],
    ) -> None:
        """Wait for a seat of the schema's. Once; asked again it has one. Raises Refused, Full."""
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
        request.head, passage.schema = schema.head, schema
        found = cache() if info.verb in ("list", "watch") else None
        passage.seat = self.flows.try_enter(schema, info, found)
        if passage.seat is None:
            patience = min(LONGEST_WAIT, self.allotted(passage) / 4)
            passage.seat = await self.flows.enter(schema, user, info, found, patience)

    def allotted(self, passage: Passage) -> float:
        if passage.long:
            return 4 * LONGEST_WAIT
        return deadline.seconds(passage.info, self.request_timeout)

    async def within(self, passage: Passage, work: Coroutine[Any, Any, T]) -> T:
        if passage.long:
            return await work
        try:
            allotted = self.allotted(passage)
        except BaseException:
            work.close()  # it has not begun
            raise
        return await deadline.within(self.clock, allotted, work)

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
        context.meter.add(status, stopwatch() - request.started, size)
        if status == 504:
            self.requests.terminated += 1
        if context.__class__ is Passage:
            context.over()
        elif context.schema is not None:
            context.schema.dispatched += 1
