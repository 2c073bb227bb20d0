"""One priority level at work: seats, and the queues before them.

A request takes seats at once while there are some and nobody waits. Else it joins a queue of its flow's hand, or is
refused. Queues take turns by virtual time (start-time fair queuing): each turn puts a queue back by the work that its
request costs, in seats times seconds, first estimated, corrected when the request has ended.

Upstream: apiserver/pkg/util/flowcontrol/fairqueuing/queueset/queueset.go.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import field

from timonel.aio.clock import Clock
from timonel.aio.histogram import Histogram
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.flowcontrol.concurrency import Demand, Limits
from timonel.server.flowcontrol.retry import RetryAfter
from timonel.server.flowcontrol.sharding import hand, hashed

# upper bounds of the histograms, in seconds
RAN = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
ESTIMATE = 0.003  # seconds that a request is taken to run for, until it has ended
SMOOTHING = 0.977  # of the demand, from one adjustment to the next
QUEUE_FULL, TIME_OUT, NO_SEAT = "queue-full", "time-out", "concurrency-limit"


NONE = Limits(0, 0, None)


class Refused(Exception):
    """The request is not carried out; `reason` is upstream's word for why."""

    def __init__(self, level: Level, reason: str) -> None:
        super().__init__(reason)
        self.level, self.reason = level, reason


@dataclass(slots=True)
class Schema:
    """A FlowSchema as requests meet it. `stale`: the configuration has changed, classify again."""

    name: str
    uid: str
    spec: Object
    level: Level
    head: bytes  # the response headers that name schema and level
    stale: bool = False
    dispatched: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    executing: int = 0
    seats: int = 0
    ran: Histogram = field(default_factory=lambda: Histogram(RAN))
    waited: Histogram = field(default_factory=lambda: Histogram(RAN))


@dataclass(slots=True, eq=False)
class Waiting:
    """A request in a queue."""

    schema: Schema
    flow: str
    what: str  # for people
    seats: int
    since: float
    turn: asyncio.Future[None]
    gone: bool = False  # it is in no queue any more


@dataclass(slots=True)
class Queue:
    start: float = 0.0  # virtual time at which its next request may start
    requests: deque[Waiting] = field(default_factory=deque)
    executing: int = 0
    work: float = 0.0  # seats in it, waiting and executing


@dataclass(slots=True, eq=False)
class Seat:
    """What a request holds while it runs."""

    level: Level
    schema: Schema
    seats: int
    since: float
    queue: Queue | None = None
    left: bool = False

    def leave(self) -> None:
        """Once; the second time nothing happens."""
        if not self.left:
            self.left = True
            self.level.leave(self)


@dataclass(slots=True)
class Level:
    """`crowded`: a request that is answered at once has to ask for a seat like any other."""

    name: str
    uid: str
    clock: Clock
    exempt: bool = False
    limits: Limits = NONE
    widest: int = 0
    limit: int = 0  # seats at present
    in_use: int = 0
    crowded: bool = False
    retry: RetryAfter = field(default_factory=RetryAfter)
    pressed: Callable[[], None] = lambda: None  # a request had to wait, or was refused
    queue_length: int = 0
    hand: int = 0
    queues: list[Queue] = field(default_factory=list)
    waiting: int = 0
    waiting_seats: int = 0
    executing: int = 0
    virtual: float = 0.0
    _next: int = 0  # the queue that is looked at first
    # demand for seats since the last adjustment
    _noted: float = 0.0
    _begun: float = 0.0
    _sum: float = 0.0
    _squares: float = 0.0
    high: int = 0
    smooth: float = 0.0

    def configure(self, uid: str, spec: Object, limits: Limits, widest: int) -> None:
        queuing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing") or {}
        self.uid, self.limits, self.widest = uid, limits, widest
        self.exempt = spec.get("type") == "Exempt"
        self.queue_length, self.hand = queuing.get("queueLengthLimit", 0), queuing.get("handSize", 0)
        count = queuing.get("queues", 0)
        if count < len(self.queues):  # who waits in one that goes stays until served
            self.queues = self.queues[:count] + [q for q in self.queues[count:] if q.requests]
        self.queues += [Queue(start=self.virtual) for _ in range(count - len(self.queues))]
        self.start_over()

    def start_over(self) -> None:
        """With half of what may be lent given away, as if nothing had been asked for yet."""
        self.smooth, self.high = 0.0, self.in_use + self.waiting_seats
        self.set_limit(self.limits.nominal - self.limits.lendable // 2)

    def set_limit(self, seats: int) -> None:
        self.limit = seats
        self._serve()

    # ---- coming and going

    def enter(self, schema: Schema, seats: int) -> Seat | None:
        """Seats that are free now; None where the request has to wait, or to go."""
        if not self.exempt and (self.waiting or not self._fits(seats)):
            return None
        return self._seated(schema, seats, None)

    async def wait(self, schema: Schema, flow: str, what: str, seats: int, patience: float) -> Seat:
        """Seats, when it is this request's turn. Raises Refused."""
        self.pressed()
        if not self.queues or not self.queue_length:
            raise self._refuse(schema, NO_SEAT)
        queue = self._shortest(schema, flow)
        if len(queue.requests) >= self.queue_length:
            raise self._refuse(schema, QUEUE_FULL)
        now = self.clock.monotonic()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = Waiting(schema, flow, what, seats, now, turn)
        if not queue.requests and not queue.executing:
            queue.start = max(queue.start, self.virtual)
        queue.requests.append(waiting)
        self._count_waiting(waiting, queue, 1)
        timer = self.clock.call_later(patience, lambda: _give_up(turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was seated in the same moment
                self._seated_of(waiting, queue).leave()
                raise
            if not waiting.gone:
                queue.requests.remove(waiting)
                self._count_waiting(waiting, queue, -1)
            self._serve()
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the client is gone
                raise
            schema.waited.add(self.clock.monotonic() - now)
            raise self._refuse(schema, TIME_OUT) from None
        finally:
            timer.cancel()
        schema.waited.add(self.clock.monotonic() - now)
        return self._seated_of(waiting, queue)

    def leave(self, seat: Seat) -> None:
        schema, ran = seat.schema, self.clock.monotonic() - seat.since
        self._note()
        self.in_use -= seat.seats
        self.executing -= 1
        schema.executing -= 1
        schema.seats -= seat.seats
        schema.ran.add(ran)
        if seat.queue is not None:
            seat.queue.executing -= 1
            seat.queue.work -= seat.seats
            seat.queue.start -= seat.seats * (ESTIMATE - ran)
        self._serve()

    # ---- parts

    def _fits(self, seats: int) -> bool:
        if self.in_use >= self.limit:
            return False
        return self.in_use == 0 or self.in_use + seats <= self.limit

    def _seated(self, schema: Schema, seats: int, queue: Queue | None) -> Seat:
        self._take(schema, seats)
        return Seat(self, schema, seats, self.clock.monotonic(), queue)

    def _take(self, schema: Schema, seats: int) -> None:
        self._note()
        self.in_use += seats
        self.executing += 1
        self.high = max(self.high, self.in_use + self.waiting_seats)
        schema.dispatched += 1
        schema.executing += 1
        schema.seats += seats
        self.crowded = not self.exempt and (self.waiting > 0 or self.in_use >= self.limit)

    def _seated_of(self, waiting: Waiting, queue: Queue) -> Seat:
        return Seat(self, waiting.schema, waiting.seats, self.clock.monotonic(), queue)

    def _refuse(self, schema: Schema, reason: str) -> Refused:
        schema.refused[reason] = schema.refused.get(reason, 0) + 1
        self.retry.dropped(int(self.clock.now()))
        return Refused(self, reason)

    def _shortest(self, schema: Schema, flow: str) -> Queue:
        dealt = hand(hashed(schema.name, flow), len(self.queues), min(self.hand, len(self.queues)) or 1)
        return min((self.queues[card] for card in dealt), key=lambda q: q.work)

    def _count_waiting(self, waiting: Waiting, queue: Queue, sign: int) -> None:
        self._note()
        self.waiting += sign
        self.waiting_seats += sign * waiting.seats
        waiting.schema.waiting += sign
        queue.work += sign * waiting.seats
        self.high = max(self.high, self.in_use + self.waiting_seats)

    def _serve(self) -> None:
        """Seat who can be seated, each time from the queue whose request would be done first."""
        while self.waiting:
            queue = self._first()
            if queue is None or not (self.exempt or self._fits(queue.requests[0].seats)):
                break
            waiting = queue.requests.popleft()
            waiting.gone = True
            self._count_waiting(waiting, queue, -1)
            if waiting.turn.done():  # it has given up in this moment
                continue
            self.virtual = max(self.virtual, queue.start)
            queue.start += waiting.seats * ESTIMATE
            queue.executing += 1
            queue.work += waiting.seats
            self._take(waiting.schema, waiting.seats)
            waiting.turn.set_result(None)
        self.crowded = not self.exempt and (self.waiting > 0 or self.in_use >= self.limit)

    def _first(self) -> Queue | None:
        """Of queues that are equal the next in turn."""
        best, count = None, len(self.queues)
        finish = math.inf
        for number in range(count):
            queue = self.queues[(self._next + number) % count]
            if queue.requests and queue.start + queue.requests[0].seats * ESTIMATE < finish:
                best, finish, chosen = queue, queue.start + queue.requests[0].seats * ESTIMATE, number
        if best is not None:
            self._next = (self._next + chosen + 1) % count
        return best

    # ---- demand

    def _note(self) -> None:
        now = self.clock.monotonic()
        passed, demand = now - self._noted, self.in_use + self.waiting_seats
        self._sum += demand * passed
        self._squares += demand * demand * passed
        self._noted = now

    def demand(self, total: int) -> Demand:
        """What the level needs from now on, by what it needed since it was last asked."""
        self._note()
        passed = self._noted - self._begun
        average = self._sum / passed if passed > 0 else 0.0
        spread = math.sqrt(max(self._squares / passed - average * average, 0.0)) if passed > 0 else 0.0
        envelope = average + spread
        self.smooth = max(envelope, SMOOTHING * self.smooth + (1 - SMOOTHING) * envelope)
        due = max(self.limits.lowest, min(self.limits.nominal, self.high))
        self._begun, self._sum, self._squares = self._noted, 0.0, 0.0
        self.high = self.in_use + self.waiting_seats
        return Demand(due, max(due, self.limits.highest(total)), max(due, self.smooth))

    @property
    def at_rest(self) -> bool:
        return not self.in_use and not self.waiting


def _give_up(turn: asyncio.Future[None]) -> None:
    turn.cancel()
