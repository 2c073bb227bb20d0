"""When a node runs short of memory, disk or process IDs, and which pod it ends then. Pure.

A threshold says how little of something may be left. A hard one counts at once, a soft one when it has been met for its
grace period. What is met makes a condition of the node true, and keeps it true for a while afterwards, so that it does
not come and go; and it ends one pod at a time: who uses more than he asked for, least priority first, most usage first.

Upstream: pkg/kubelet/eviction/{eviction_manager,helpers}.go, pkg/kubelet/eviction/api/types.go.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import field

from timonel.machinery import durations
from timonel.machinery.quantity import BINARY_SI, Quantity, QuantityError
from timonel.node import amounts, podresources
from timonel.node.references import containers_of
from timonel.objects.meta import Object
from timonel.objects.nodes import MEMORY_PRESSURE, tolerates
from timonel.records import dataclass

REASON = "Evicted"


class Signal(enum.StrEnum):
    MEMORY = "memory.available"
    NODE_DISK = "nodefs.available"
    NODE_INODES = "nodefs.inodesFree"
    IMAGE_DISK = "imagefs.available"
    IMAGE_INODES = "imagefs.inodesFree"
    PIDS = "pid.available"


# what pods use of it, and the condition that it makes true
_RESOURCE = {
    Signal.MEMORY: "memory",
    Signal.NODE_DISK: "ephemeral-storage",
    Signal.NODE_INODES: "inodes",
    Signal.IMAGE_DISK: "ephemeral-storage",
    Signal.IMAGE_INODES: "inodes",
    Signal.PIDS: "pids",
}
_CONDITION = {"memory": "MemoryPressure", "pids": "PIDPressure"}
CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure")


def resource_of(signal: Signal) -> str:
    return _RESOURCE[signal]


def condition_of(signal: Signal) -> str:
    return _CONDITION.get(_RESOURCE[signal], "DiskPressure")


@dataclass(frozen=True, slots=True)
class Amount:
    """So much, or that part of all there is."""

    quantity: Quantity | None = None
    percent: float = 0.0

    def of(self, capacity: int) -> int:
        return self.quantity.value() if self.quantity is not None else int(capacity * self.percent / 100)

    def shown(self, capacity: int) -> str:
        """Percentages come as what they are a part of."""
        if self.quantity is not None:
            return str(self.quantity)
        return str(Quantity.of(self.of(capacity), BINARY_SI))


@dataclass(frozen=True, slots=True)
class Threshold:
    """`grace`: seconds that it must be met; 0 is a hard one. `reclaim`: how much more must be free when it is over."""

    signal: Signal
    least: Amount
    grace: float = 0.0
    reclaim: Amount | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    thresholds: tuple[Threshold, ...]
    transition: float = 300.0  # seconds that a condition stays
    longest_grace: float = 0.0  # seconds that pods get when a soft threshold ends them


@dataclass(frozen=True, slots=True)
class Supply:
    available: int
    capacity: int


Supplies = Mapping[Signal, Supply]

DEFAULT_HARD = ",".join(
    (
        "memory.available<100Mi",
        "nodefs.available<10%",
        "nodefs.inodesFree<5%",
        "imagefs.available<15%",
        "imagefs.inodesFree<5%",
    )
)


def settings(flags: Mapping[str, str]) -> Settings:
    """Of the kubelet's flags `eviction-…`. Raises ValueError with upstream's words."""
    graces = {
        signal: durations.parse(text)
        for signal, text in _pairs(flags.get("eviction-soft-grace-period", ""), "=")
    }
    for signal, grace in graces.items():
        if grace < 0:
            raise ValueError(f"invalid eviction grace period specified: {signal}, must be a positive value")
    reclaim = {
        signal: _amount(text, signal)
        for signal, text in _pairs(flags.get("eviction-minimum-reclaim", ""), "=")
    }
    found = [
        Threshold(signal, least, 0.0, reclaim.get(signal))
        for signal, text in _pairs(flags.get("eviction-hard", DEFAULT_HARD), "<")
        if (least := _amount(text, signal)) is not None
    ]
    for signal, text in _pairs(flags.get("eviction-soft", ""), "<"):
        if signal not in graces:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {signal}")
        if (least := _amount(text, signal)) is not None:
            found.append(Threshold(signal, least, graces[signal], reclaim.get(signal)))
    return Settings(
        tuple(found),
        durations.parse(flags.get("eviction-pressure-transition-period", "5m")),
        float(flags.get("eviction-max-pod-grace-period", "0")),
    )


FLAGS = frozenset(
    (
        "eviction-hard",
        "eviction-soft",
        "eviction-soft-grace-period",
        "eviction-minimum-reclaim",
        "eviction-pressure-transition-period",
        "eviction-max-pod-grace-period",
    )
)


def _pairs(text: str, operator: str) -> list[tuple[Signal, str]]:
    found: dict[Signal, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, separator, value = part.partition(operator)
        if not separator or not value or operator in value:
            raise ValueError(f"invalid eviction threshold syntax {part}, expected <signal>{operator}<value>")
        try:
            signal = Signal(name.strip())
        except ValueError as e:
            raise ValueError(f"unsupported eviction signal {name}") from e
        if signal in found:
            raise ValueError(f"duplicate eviction threshold signal {signal}")
        found[signal] = value.strip()
    return list(found.items())


def _amount(text: str, signal: Signal) -> Amount | None:
    """None: 0% and 100% turn a threshold off."""
    if text.endswith("%"):
        try:
            percent = float(text[:-1])
        except ValueError as e:
            raise ValueError(f"invalid percentage {text} of {signal}") from e
        if not 0 <= percent <= 100:
            bound = ">= 0%" if percent < 0 else "<= 100%"
            raise ValueError(f"eviction percentage threshold {signal} must be {bound}: {text}")
        return Amount(percent=percent) if 0 < percent < 100 else None
    try:
        quantity = Quantity.parse(text)
    except QuantityError as e:
        raise ValueError(f"{signal}: {e}") from e
    if quantity < Quantity(0) or not quantity:
        raise ValueError(f"eviction threshold {signal} must be positive: {quantity}")
    return Amount(quantity)


# ---- what is met


@dataclass(frozen=True, slots=True)
class Memory:
    """What one look leaves to the next."""

    since: Mapping[Threshold, float] = field(default_factory=dict)  # when each was found met first
    conditions: Mapping[str, float] = field(default_factory=dict)  # when each was found true last
    over: frozenset[Threshold] = frozenset()  # that were met and are not over yet


@dataclass(frozen=True, slots=True)
class Verdict:
    conditions: frozenset[str]
    act: tuple[Threshold, ...]  # the most pressing one first


def judge(memory: Memory, wanted: Settings, supplies: Supplies, now: float) -> tuple[Verdict, Memory]:
    met = [
        t for t in wanted.thresholds if _is_met(t, supplies, reclaim=False)
        or (t in memory.over and _is_met(t, supplies, reclaim=True))
    ]  # fmt: skip
    since = {t: memory.since.get(t, now) for t in met}
    seen = {**memory.conditions, **dict.fromkeys((condition_of(t.signal) for t in met), now)}
    conditions = frozenset(c for c, at in seen.items() if now - at < wanted.transition or at == now)
    due = [t for t in met if now - since[t] >= t.grace]
    act = sorted(due, key=lambda t: (t.signal is not Signal.MEMORY, t.grace > 0))
    left = Memory(since, {c: at for c, at in seen.items() if c in conditions}, frozenset(due))
    return Verdict(conditions, tuple(act)), left


def _is_met(threshold: Threshold, supplies: Supplies, *, reclaim: bool) -> bool:
    supply = supplies.get(threshold.signal)
    if supply is None:
        return False
    least = threshold.least.of(supply.capacity)
    if reclaim and threshold.reclaim is not None:
        least += threshold.reclaim.of(supply.capacity)
    return supply.available < least


# ---- who goes


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a pod, in bytes and whole numbers; of its containers, by name and resource."""

    pod: Object
    of: Mapping[str, int]  # memory, ephemeral-storage, inodes, pids
    containers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def beyond(self, resource: str) -> int:
        """How much more than it asked for; only of memory and ephemeral-storage anything can be asked for."""
        return self.of.get(resource, 0) - podresources.requests(self.pod).get(resource, 0)


def ranked(usages: Iterable[Usage], signal: Signal) -> list[Usage]:
    """Who goes first comes first."""
    resource = resource_of(signal)

    def rank(usage: Usage) -> tuple[bool, int, int]:
        priority = usage.pod["spec"].get("priority") or 0
        return usage.beyond(resource) <= 0, priority, -usage.beyond(resource)

    if resource == "pids":
        return sorted(usages, key=lambda u: (u.pod["spec"].get("priority") or 0, -u.of.get("pids", 0)))
    return sorted(usages, key=rank)


def message(usage: Usage, threshold: Threshold, supply: Supply) -> str:
    resource = resource_of(threshold.signal)
    available = Quantity.of(supply.available, BINARY_SI)
    parts = [
        f"The node was low on resource: {resource}. ",
        f"Threshold quantity: {threshold.least.shown(supply.capacity)}, available: {_kibi(available, resource)}. ",
    ]
    for container in containers_of(usage.pod):
        used = usage.containers.get(container["name"], {}).get(resource)
        if used is None or resource not in ("memory", "ephemeral-storage"):
            continue
        text = ((container.get("resources") or {}).get("requests") or {}).get(resource) or "0"
        if used > amounts.whole(text):
            parts.append(
                f"Container {container['name']} was using {_kibi(Quantity.of(used, BINARY_SI), resource)}, "
                f"request is {Quantity.parse(text)}, has larger consumption of {resource}. "
            )
    return "".join(parts)


def _kibi(quantity: Quantity, resource: str) -> str:
    """Figures of usage are told in kibibytes."""
    if resource in ("memory", "ephemeral-storage"):
        return f"{quantity.value() // 1024}Ki"
    return str(quantity.value())


# ---- what a pod may use of the disk


def over_its_limits(usage: Usage, volumes: Mapping[str, int]) -> str:
    """Why the pod has used more of the disk than it may: the message; empty: it has not. `volumes`: bytes in each
    emptyDir that is on the disk, by name."""
    spec = usage.pod["spec"]
    for volume in spec.get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        used = volumes.get(volume["name"])
        if limit and used is not None and amounts.whole(limit) and used > amounts.whole(limit):
            return (
                f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{Quantity.parse(limit)}". '
            )
    limits = podresources.limits(usage.pod)
    total = limits.get("ephemeral-storage")
    if total and usage.of.get("ephemeral-storage", 0) > total:
        limit = Quantity.of(total, BINARY_SI)
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
    for container in containers_of(usage.pod):
        text = ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
        used = usage.containers.get(container["name"], {}).get("ephemeral-storage", 0)
        if text and used > amounts.whole(text):
            return (
                f"Container {container['name']} exceeded its local ephemeral storage limit "
                f'"{Quantity.parse(text)}". '
            )
    return ""


def limits_disk(pod: Object) -> bool:
    """Whether anything says how much of the disk it may use."""
    spec = pod["spec"]
    return any((v.get("emptyDir") or {}).get("sizeLimit") for v in spec.get("volumes") or ()) or any(
        ((c.get("resources") or {}).get("limits") or {}).get("ephemeral-storage") for c in containers_of(pod)
    )


# ---- who may come


def admits(pod: Object, conditions: frozenset[str], *, is_critical: bool, is_best_effort: bool) -> str:
    """Why a new pod may not begin on a node with these conditions; empty: it may."""
    if not conditions or is_critical:
        return ""
    if conditions == {"MemoryPressure"}:
        taint = {"key": MEMORY_PRESSURE, "effect": "NoSchedule"}
        if not is_best_effort or any(tolerates(t, taint) for t in pod["spec"].get("tolerations") or ()):
            return ""
    shown = " ".join(c for c in CONDITIONS if c in conditions)
    return f"The node had condition: [{shown}]. "
