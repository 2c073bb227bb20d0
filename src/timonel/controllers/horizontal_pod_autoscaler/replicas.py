"""How many replicas a metric asks for: usage by what was aimed at, with care for pods that say nothing yet.

Pods that are not ready count as using nothing when more are wanted; those without a sample count as using all of their
target when fewer are. A change of direction by such guesses is no reason to scale.

Upstream: pkg/controller/podautoscaler/replica_calculator.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from timonel.controllers.horizontal_pod_autoscaler.metrics import Sample, Unavailable
from timonel.machinery.quantity import Quantity
from timonel.objects import pods
from timonel.objects.meta import Object, is_deleting, nested, parse_time
from timonel.records import dataclass

CPU_INITIALIZATION = 300.0  # seconds in which a pod's cpu may say more of its start than of its load
INITIAL_READINESS = 30.0  # seconds in which a pod that is not ready counts as never having been


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far usage may be off before anything is done, as a fraction of the target."""

    down: float = 0.1
    up: float = 0.1

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Groups(NamedTuple):
    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def grouped(members: Iterable[Object], samples: Mapping[str, Sample], *, is_cpu: bool, now: float) -> Groups:
    groups = Groups(0, set(), set(), set())
    ready = 0
    for pod in members:
        name = pod["metadata"]["name"]
        if is_deleting(pod) or pods.phase_of(pod) == "Failed":
            groups.ignored.add(name)
        elif pods.phase_of(pod) == "Pending":
            groups.unready.add(name)
        elif name not in samples:
            groups.missing.add(name)
        elif is_cpu and _is_starting(pod, samples[name], now):
            groups.unready.add(name)
        else:
            ready += 1
    return groups._replace(ready=ready)


def _is_starting(pod: Object, sample: Sample, now: float) -> bool:
    condition = pods.condition_of(pod, "Ready")
    started = parse_time(nested(pod, "status", "startTime"))
    if condition is None or started is None:
        return True
    since = parse_time(condition.get("lastTransitionTime")) or 0.0
    unready = condition["status"] == "False"
    if started + CPU_INITIALIZATION > now:
        return unready or sample.at < since + sample.window
    return unready and started + INITIAL_READINESS > since


def requests_of(members: Iterable[Object], resource: str, container: str) -> dict[str, int]:
    """Milli units by pod. Raises Unavailable where one does not say."""
    return {pod["metadata"]["name"]: _request(pod, resource, container) for pod in members}


def _request(pod: Object, resource: str, container: str) -> int:
    whole = nested(pod, "spec", "resources", "requests") or {}
    if not container and resource in whole:
        return Quantity.parse(whole[resource]).milli()
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    total = 0
    for part in (*pod["spec"]["containers"], *sidecars):
        if container and part["name"] != container:
            continue
        asked = nested(part, "resources", "requests") or {}
        if resource not in asked:
            where = f"container {part['name']} of Pod {pod['metadata']['name']}"
            raise Unavailable(f"missing request for {resource} in {where}")
        total += Quantity.parse(asked[resource]).milli()
    return total


@dataclass(frozen=True, slots=True)
class Usage:
    """`ratio` to the target; `percent` of requests, where that is asked for; `average` in milli units."""

    ratio: float
    average: int
    percent: int = 0


def _utilization(values: Mapping[str, int], requests: Mapping[str, int], target: int) -> Usage:
    counted = [name for name in values if name in requests]
    asked = sum(requests[name] for name in counted)
    if not asked:
        raise Unavailable("no metrics returned matched known pods")
    used = sum(values[name] for name in counted)
    percent = used * 100 // asked
    return Usage(percent / target, used // len(counted), percent)


def _plain(values: Mapping[str, int], target: int) -> Usage:
    average = sum(values.values()) // len(values)
    return Usage(average / target, average)


class Proposal(NamedTuple):
    replicas: int
    usage: Usage


def by_utilization(
    current: int,
    target: int,
    samples: Mapping[str, Sample],
    groups: Groups,
    requests: Mapping[str, int],
    tolerance: Tolerance,
) -> Proposal:
    """`target` is a percentage of what the pods request."""
    full = {name: asked * max(100, target) // 100 for name, asked in requests.items()}
    return _by_pods(current, samples, groups, full, tolerance, lambda v: _utilization(v, requests, target))


def by_average(
    current: int,
    target: int,
    members: Sequence[Object],
    samples: Mapping[str, Sample],
    groups: Groups,
    tolerance: Tolerance,
) -> Proposal:
    """`target` is in milli units for each pod."""
    full = {pod["metadata"]["name"]: target for pod in members}
    return _by_pods(current, samples, groups, full, tolerance, lambda v: _plain(v, target))


def _by_pods(
    current: int,
    samples: Mapping[str, Sample],
    groups: Groups,
    full: Mapping[str, int],
    tolerance: Tolerance,
    measure: Callable[[Mapping[str, int]], Usage],
) -> Proposal:
    """`full`: what a pod would use at its target, at least all that it requests."""
    values = {n: s.value for n, s in samples.items() if n not in groups.unready | groups.ignored}
    if not values:
        raise Unavailable("did not receive metrics for any ready pods")
    seen = measure(values)
    rebalance = bool(groups.unready) and seen.ratio > 1.0
    if not rebalance and not groups.missing:
        wanted = current if tolerance.covers(seen.ratio) else math.ceil(seen.ratio * groups.ready)
        return Proposal(wanted, seen)
    for name in groups.missing:
        if seen.ratio < 1.0:
            values[name] = full.get(name, 0)
        elif seen.ratio > 1.0:
            values[name] = 0
    if rebalance:
        values.update(dict.fromkeys(groups.unready, 0))
    guessed = measure(values).ratio
    turned = (seen.ratio < 1.0 < guessed) or (guessed < 1.0 < seen.ratio)
    wanted = math.ceil(guessed * len(values))
    backwards = (guessed < 1.0 and wanted > current) or (guessed > 1.0 and wanted < current)
    if tolerance.covers(guessed) or turned or backwards:
        wanted = current
    return Proposal(wanted, seen)


def of_ratio(current: int, ratio: float, members: Sequence[Object], tolerance: Tolerance) -> int:
    """For one number that all replicas share."""
    if current == 0:
        return math.ceil(ratio)
    if tolerance.covers(ratio):
        return current
    if not members:
        raise Unavailable(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum(pods.phase_of(p) == "Running" and pods.is_ready(p) for p in members)
    return math.ceil(ratio * ready)


def of_share(current: int, value: int, target: int, tolerance: Tolerance) -> tuple[int, int]:
    """For one number of which each replica should have `target`: how many, and what each has now."""
    ratio = value / (target * current) if current else math.inf
    wanted = current if tolerance.covers(ratio) else math.ceil(value / target)
    return wanted, math.ceil(value / current) if current else 0
