"""Who ends when before the machine shuts down: the less important before the others, each within its time. Pure.

Upstream: pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go (migrateConfig, groupByPriority).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from timonel.machinery import durations
from timonel.node.podspec import SYSTEM_CRITICAL_PRIORITY
from timonel.objects.meta import Object
from timonel.records import dataclass

PERIOD, CRITICAL = "shutdown-grace-period", "shutdown-grace-period-critical-pods"
BY_PRIORITY = "shutdown-grace-period-by-pod-priority"
FLAGS = frozenset((PERIOD, CRITICAL, BY_PRIORITY))
REASON, MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."
REFUSED, WHY_REFUSED = "NodeShutdown", "Pod was rejected: Pod was rejected as the node is shutting down."
NOT_READY = "node is shutting down"


@dataclass(frozen=True, slots=True)
class Period:
    """For pods of this priority, up to the next period's: so many seconds."""

    priority: int
    seconds: float


def periods(flags: Mapping[str, str]) -> tuple[Period, ...]:
    """From the lowest priority on; none: pods go down with the machine. Raises ValueError."""
    whole, critical = (durations.parse(flags.get(name, "0s")) for name in (PERIOD, CRITICAL))
    if BY_PRIORITY in flags:
        if whole or critical:
            raise ValueError(f"--{BY_PRIORITY} cannot be used together with --{PERIOD} or --{CRITICAL}")
        return tuple(sorted(_by_priority(flags[BY_PRIORITY]), key=lambda p: p.priority))
    if not 0 <= critical <= whole:
        raise ValueError(f"invalid configuration: --{CRITICAL} {durations.shown(critical)} must be "
                         f"<= --{PERIOD} {durations.shown(whole)}")  # fmt: skip
    for name, seconds in ((PERIOD, whole), (CRITICAL, critical)):
        if 0 < seconds < 1:
            raise ValueError(f"invalid configuration: --{name} {durations.shown(seconds)} must be either zero or "
                             "otherwise >= 1 sec")  # fmt: skip
    if not whole:
        return ()
    return (Period(0, int(whole - critical)), Period(SYSTEM_CRITICAL_PRIORITY, int(critical)))


def _by_priority(text: str) -> Iterable[Period]:
    seen = set[int]()
    for part in filter(None, (p.strip() for p in text.split(","))):
        priority, separator, seconds = part.partition("=")
        try:
            period = Period(int(priority), int(seconds))
        except ValueError:
            raise ValueError(f"--{BY_PRIORITY}: {part} must be formatted as PRIORITY=SECONDS") from None
        if not separator or period.seconds < 0 or period.priority in seen:
            raise ValueError(f"--{BY_PRIORITY}: {part} is negative, or names a priority again")
        seen.add(period.priority)
        yield period


def groups(wanted: Sequence[Period], pods: Iterable[Object]) -> list[tuple[Period, list[Object]]]:
    """Who ends together, in the order of their ends. Pods below the lowest priority belong to it."""
    found: list[tuple[Period, list[Object]]] = [(period, []) for period in wanted]
    for pod in pods:
        priority = pod["spec"].get("priority") or 0
        below = [group for period, group in found if period.priority <= priority]
        (below[-1] if below else found[0][1]).append(pod)
    return [group for group in found if group[1]]


def grace(pod: Object, period: Period) -> float:
    own = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return min(float(own), period.seconds)
