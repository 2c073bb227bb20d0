"""What the containers of a pod ask for together, and the defaults and bounds of pod-level resources.

Init containers run one after another and before the rest, so that the largest of them counts; restartable ones
(sidecars) run beside everything that follows them.

Upstream: component-helpers/resource/helpers.go, pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.apis import resources
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object

Amounts = dict[str, Quantity]


def is_pod_level(name: str) -> bool:
    """Whether a resource may be given for the pod as a whole."""
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _of(container: Object, key: str) -> Amounts:
    found = (container.get("resources") or {}).get(key) or {}
    return {name: Quantity.parse(str(amount)) for name, amount in found.items()}


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise_to(total: Amounts, floor: Amounts) -> None:
    for name, amount in floor.items():
        if name not in total or total[name] < amount:
            total[name] = amount


def aggregate(spec: Object, key: str) -> Amounts:
    """`requests` or `limits` of all containers, as the node must provide them."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of(container, key))
    beside: Amounts = {}
    highest: Amounts = {}
    for container in spec.get("initContainers") or ():
        wanted = _of(container, key)
        if container.get("restartPolicy") == "Always":
            _add(total, wanted)
            _add(beside, wanted)
            step = dict(beside)
        else:
            step = wanted
            _add(step, beside)
        _raise_to(highest, step)
    _raise_to(total, highest)
    return total


def default_pod_level(spec: Object) -> None:
    """Fills pod-level requests and limits where they are given in part."""
    level = spec.get("resources")
    if level is None or not (level.get("limits") or level.get("requests")):
        return
    _default_huge_pages(spec, level)
    if level.get("limits"):
        _default_requests(spec, level)
    if not _is_set(level, "limits") and _is_set(level, "requests"):
        _default_limits(spec, level)


def _is_set(level: Object, key: str) -> bool:
    return any(is_pod_level(name) for name in level.get(key) or ())


def _default_huge_pages(spec: Object, level: Object) -> None:
    limits = level.get("limits") or {}
    requested = level.get("requests") or {}
    for name, amount in aggregate(spec, "limits").items():
        if name.startswith("hugepages-") and name not in requested and name not in limits:
            limits[name] = str(amount)
    if limits:
        level["limits"] = limits


def _default_requests(spec: Object, level: Object) -> None:
    requests = level.get("requests") or {}
    for name, amount in aggregate(spec, "requests").items():
        if name not in requests and is_pod_level(name) and resources.allows_overcommit(name):
            requests[name] = str(amount)
    for name, limit in level["limits"].items():
        if name not in requests and is_pod_level(name):
            requests[name] = limit
    if requests:
        level["requests"] = requests


def _default_limits(spec: Object, level: Object) -> None:
    limits = level.get("limits") or {}
    for name, amount in aggregate(spec, "limits").items():
        if name in limits or not is_pod_level(name) or not resources.allows_overcommit(name):
            continue
        if _all_limit(spec, name):
            limits[name] = str(amount)
    if limits:
        level["limits"] = limits


def _all_limit(spec: Object, name: str) -> bool:
    lists: Iterable[Object] = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return all(name in ((c.get("resources") or {}).get("limits") or {}) for c in lists)


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by cpu and memory alone."""
    if spec.get("resources") is not None:
        holders = [spec]
    else:
        holders = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    any_set, guaranteed = False, True
    for holder in holders:
        wanted = holder.get("resources") or {}
        requests, limits = (_compute(wanted.get(key)) for key in ("requests", "limits"))
        any_set = any_set or bool(requests) or bool(limits)
        if set(limits) != {"cpu", "memory"} or (requests and requests != limits):
            guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(amounts: Object | None) -> Amounts:
    found = {}
    for name, amount in (amounts or {}).items():
        if name in ("cpu", "memory"):
            parsed = Quantity.parse(str(amount))
            if parsed:
                found[name] = parsed
    return found
