"""Flow control in `/metrics`, and its state as tables for people who look for the cause of a jam.

Upstream: apiserver/pkg/util/flowcontrol/{metrics/metrics,apf_controller_debug}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from timonel.server.chain.info import Info
from timonel.server.exchange import TEXT, Request, Response
from timonel.server.flowcontrol.control import FlowControl
from timonel.server.metrics.text import BETA, COUNTER, GAUGE, HISTOGRAM, Family, Labels
from timonel.server.paths import Paths
from timonel.server.request import User

PREFIX = "apiserver_flowcontrol_"
DUMPS = "/debug/api_priority_and_fairness/dump_"


def families(flows: FlowControl) -> Iterator[Family]:
    flows.refresh()
    schemas = list(flows.schemas.values())
    of = {s.name: (("flow_schema", s.name), ("priority_level", s.level.name)) for s in schemas}
    levels: dict[str, Labels] = {name: (("priority_level", name),) for name in flows.levels}

    def by_schema(
        name: str, kind: str, text: str, values: Iterable[tuple[str, float]], stability: str
    ) -> Family:
        return Family(PREFIX + name, kind, text, [(of[s], v) for s, v in values], stability=stability)

    def by_level(
        name: str, text: str, values: Iterable[tuple[str, float]], stability: str = "ALPHA"
    ) -> Family:
        return Family(PREFIX + name, GAUGE, text, [(levels[n], v) for n, v in values], stability=stability)

    yield by_schema(
        "dispatched_requests_total",
        COUNTER,
        "Number of requests executed by API Priority and Fairness subsystem",
        [(s.name, s.dispatched) for s in schemas if s.dispatched],
        BETA,
    )
    yield Family(
        f"{PREFIX}rejected_requests_total",
        COUNTER,
        "Number of requests rejected by API Priority and Fairness subsystem",
        [((*of[s.name], ("reason", why)), count) for s in schemas for why, count in s.refused.items()],
        stability=BETA,
    )
    yield by_schema(
        "current_inqueue_requests",
        GAUGE,
        "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        [(s.name, s.waiting) for s in schemas],
        BETA,
    )
    yield by_schema(
        "current_executing_requests",
        GAUGE,
        "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and "
        "Fairness subsystem",
        [(s.name, s.executing) for s in schemas],
        BETA,
    )
    yield by_schema(
        "current_executing_seats",
        GAUGE,
        "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage "
        "otherwise) requests in the API Priority and Fairness subsystem",
        [(s.name, s.seats) for s in schemas],
        BETA,
    )
    yield Family(
        f"{PREFIX}request_wait_duration_seconds",
        HISTOGRAM,
        "Length of time a request spent waiting in its queue",
        histograms=[((*of[s.name], ("execute", "true")), s.waited) for s in schemas if s.waited.count],
        stability=BETA,
    )
    yield Family(
        f"{PREFIX}request_execution_seconds",
        HISTOGRAM,
        "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API "
        "Priority and Fairness subsystem",
        histograms=[((*of[s.name], ("type", "regular")), s.ran) for s in schemas if s.ran.count],
    )
    every = flows.levels.items()
    yield by_level(
        "nominal_limit_seats",
        "Nominal number of execution seats configured for each priority level",
        [(name, level.limits.nominal) for name, level in every],
        BETA,
    )
    yield by_level(
        "lower_limit_seats",
        "Configured lower bound on number of execution seats available to each priority level",
        [(name, level.limits.lowest) for name, level in every],
    )
    yield by_level(
        "upper_limit_seats",
        "Configured upper bound on number of execution seats available to each priority level",
        [(name, level.limits.highest(flows.seats)) for name, level in every],
    )
    yield by_level(
        "current_limit_seats",
        "current derived number of execution seats available to each priority level",
        [(name, level.limit) for name, level in every],
    )
    yield by_level(
        "demand_seats_high_watermark",
        "High watermark, over last adjustment period, of seat demands",
        [(name, level.high) for name, level in every],
    )
    yield by_level(
        "demand_seats_smoothed",
        "Smoothed seat demands",
        [(name, level.smooth) for name, level in every],
    )


# ---------------------------------------------------------------- dumps


def add_dumps(paths: Paths, flows: FlowControl) -> None:
    for name, dump in (
        ("priority_levels", levels_table),
        ("queues", queues_table),
        ("requests", requests_table),
    ):
        paths.add(DUMPS + name, _Answer(flows, dump).answer)


class _Answer:
    def __init__(self, flows: FlowControl, dump: Callable[[FlowControl], str]) -> None:
        self._flows, self._dump = flows, dump

    async def answer(self, request: Request, info: Info, user: User) -> Response:
        self._flows.refresh()
        return Response(200, self._dump(self._flows).encode(), TEXT)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    texts = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in texts) + 2 for column in range(len(head))]
    return "".join(
        "".join(f"{cell + ',':<{width}}" for cell, width in zip(row[:-1], widths, strict=False))
        + row[-1]
        + "\n"
        for row in texts
    )


def levels_table(flows: FlowControl) -> str:
    head = (
        "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
        "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
    )  # fmt: skip
    rows = []
    for name, level in sorted(flows.levels.items()):
        own = [s for s in flows.schemas.values() if s.level is level]
        late = sum(s.refused.get("time-out", 0) for s in own)
        refused = sum(count for s in own for why, count in s.refused.items() if why != "time-out")
        active = sum(1 for queue in level.queues if queue.requests or queue.executing)
        rows.append(
            (name, active, str(level.at_rest).lower(), "false", level.waiting, level.executing,
             sum(s.dispatched for s in own), refused, late, 0)
        )  # fmt: skip
    return _table(head, rows)


def queues_table(flows: FlowControl) -> str:
    head = (
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
    )
    return _table(
        head,
        (
            (name, index, len(queue.requests), queue.executing, queue.work, f"{queue.start:.8f}ss")
            for name, level in sorted(flows.levels.items())
            for index, queue in enumerate(level.queues)
        ),
    )


def requests_table(flows: FlowControl) -> str:
    head = (
        "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
        "InitialSeats", "Request",
    )  # fmt: skip
    return _table(
        head,
        (
            (name, each.schema.name, index, place, each.flow, f"{each.since:.6f}", each.seats, each.what)
            for name, level in sorted(flows.levels.items())
            for index, queue in enumerate(level.queues)
            for place, each in enumerate(queue.requests)
        ),
    )
