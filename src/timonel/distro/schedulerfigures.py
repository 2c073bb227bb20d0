"""What `/metrics` says of the scheduler that runs in this process, by upstream's names.

Upstream: pkg/scheduler/metrics/metrics.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from timonel.aio.histogram import Histogram
from timonel.scheduler.measures import Measures
from timonel.server.metrics.text import BETA, COUNTER, GAUGE, HISTOGRAM, STABLE, Family, Labels, one

if TYPE_CHECKING:  # NumPy comes with it
    from timonel.scheduler.shell import Scheduler


def scheduling(current: Callable[[], Scheduler | None]) -> Callable[[], Iterator[Family]]:
    """`current` is the scheduler that was made last in this process, if one was."""

    def families() -> Iterator[Family]:
        scheduler = current()
        yield from _counted(scheduler.measures if scheduler is not None else Measures())
        yield from _waiting(scheduler if scheduler is not None and scheduler.is_running else None)

    return families


def _counted(measures: Measures) -> Iterator[Family]:
    by_result = ("result", "profile")
    yield Family(
        "scheduler_schedule_attempts_total",
        COUNTER,
        "Number of attempts to schedule pods, by the result. 'unschedulable' means that no node was found for the "
        "pod, 'error' that something went wrong.",
        _numbers({key: each.count for key, each in measures.attempts.items()}, by_result),
        stability=STABLE,
    )
    yield _times(
        "scheduling_attempt_duration_seconds",
        "Seconds that attempts to schedule a pod took, the binding included",
        measures.attempts,
        by_result,
        STABLE,
    )
    yield _plain("scheduling_algorithm_duration_seconds", "Seconds that decisions took", measures.algorithm)
    yield _times(
        "framework_extension_point_duration_seconds",
        "Seconds that all plugins of an extension point took",
        measures.points,
        ("extension_point", "status", "profile"),
        STABLE,
    )
    yield _times(
        "permit_wait_duration_seconds", "Seconds that pods waited for a permit", measures.permits, ("result",)
    )
    yield _times(
        "pod_scheduling_sli_duration_seconds",
        "Seconds from the first attempt to schedule a pod until it was bound, by the number of attempts",
        measures.lives,
        ("attempts",),
        BETA,
    )
    yield _plain(
        "pod_scheduling_attempts", "Number of attempts until a pod was bound", measures.tries, STABLE
    )
    yield Family(
        "scheduler_pod_scheduled_after_flush_total",
        COUNTER,
        "Number of pods that were bound after they had waited until their time was up, and not for an event",
        one(measures.after_flush),
    )
    yield Family(
        "scheduler_queue_incoming_pods_total",
        COUNTER,
        "Number of pods that came to a part of the queue, and what brought them there",
        _numbers(measures.incoming, ("queue", "event")),
        stability=STABLE,
    )
    yield Family(
        "scheduler_preemption_attempts_total",
        COUNTER,
        "Number of pods that others were removed for",
        one(measures.preemptions),
        stability=STABLE,
    )
    yield _plain("preemption_victims", "Number of pods that were removed for one", measures.victims, STABLE)
    yield _times(
        "preemption_goroutines_duration_seconds",
        "Seconds that it took to remove the victims of a pod",
        measures.evictions,
        ("result",),
    )
    yield Family(
        "scheduler_preemption_goroutines_execution_total",
        COUNTER,
        "Number of times that victims of a pod were removed",
        _numbers({(key,): each.count for key, each in measures.evictions.items()}, ("result",)),
    )
    yield Family(
        "scheduler_resourceclaim_creates_total",
        COUNTER,
        "Number of ResourceClaims that the scheduler has made for extended resources",
        _numbers({(key,): value for key, value in measures.claims.items()}, ("status",)),
    )


def _waiting(scheduler: Scheduler | None) -> Iterator[Family]:
    counts = scheduler.queue.counts() if scheduler is not None else {}
    yield Family(
        "scheduler_pending_pods",
        GAUGE,
        "Number of pods that wait, by the part of the queue: 'active', 'backoff', 'unschedulable' (no node was found), "
        "'gated' (not looked at yet)",
        _numbers({(part,): count for part, count in counts.items()}, ("queue",)),
        stability=STABLE,
    )
    refused: Counter[tuple[str, ...]] = Counter()
    if scheduler is not None:
        for queued in scheduler.queue.refused():
            refused.update((plugin, scheduler.profile_of(queued.info)) for plugin in queued.plugins)
    yield Family(
        "scheduler_unschedulable_pods",
        GAUGE,
        "Number of pods that no node was found for, by the plugins that refused them; a pod counts for each of them",
        _numbers(refused, ("plugin", "profile")),
    )
    sizes = scheduler.cached() if scheduler is not None else {}
    yield Family(
        "scheduler_cache_size",
        GAUGE,
        "Number of nodes, pods and assumed (not yet bound) pods that the scheduler knows",
        _numbers({(kind,): count for kind, count in sizes.items()}, ("type",)),
    )
    at_work = {("binding",): scheduler.under_way} if scheduler is not None else {}
    yield Family(
        "scheduler_goroutines",
        GAUGE,
        "Number of tasks at work, by what they do",
        _numbers(at_work, ("operation",)),
    )


def _numbers(values: Mapping[Any, float], names: tuple[str, ...]) -> Iterable[tuple[Labels, float]]:
    return [(tuple(zip(names, key, strict=True)), value) for key, value in values.items()]


def _plain(name: str, text: str, histogram: Histogram, stability: str = "ALPHA") -> Family:
    return Family(f"scheduler_{name}", HISTOGRAM, text, histograms=[((), histogram)], stability=stability)


def _times(
    name: str, text: str, found: Mapping[Any, Histogram], names: tuple[str, ...], stability: str = "ALPHA"
) -> Family:
    shown = []
    for key, each in found.items():
        values = key if isinstance(key, tuple) else (key,)
        shown.append((tuple(zip(names, values, strict=True)), each))
    return Family(f"scheduler_{name}", HISTOGRAM, text, histograms=shown, stability=stability)
