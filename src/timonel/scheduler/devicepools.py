"""The devices that ResourceSlices publish, pool by pool, as a node sees them. Pure.

Pools count by their newest generation. Nothing is taken from one that is not complete, or that names a device twice.
Devices of a pool may draw on counters that they share: what allocated ones take is not there for others.

Upstream: dynamic-resource-allocation/structured/internal/incubating/pools_incubating.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from timonel.machinery.cel.library.quantity import QuantityValue
from timonel.machinery.cel.library.semver import parse as parse_semver
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object
from timonel.scheduler.devicecapacity import Amounts

DeviceId = tuple[str, str, str]  # driver, pool, name
PoolId = tuple[str, str]
NodeMatches = Callable[[Mapping[str, Any]], bool]  # of a node selector
Counter = tuple[str, str]  # the set, and its name in it


class _Domains(dict[str, Any]):
    """Attributes by domain; a domain that a device does not have is empty."""

    def __missing__(self, key: str) -> Mapping[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class Device:
    id: DeviceId
    spec: Mapping[str, Any]
    place: Mapping[str, Any]  # what says on which nodes it is: its slice, or itself
    attributes: Mapping[str, Any]  # qualified name -> value
    seen: Mapping[str, Any]  # by CEL
    draws: Mapping[Counter, int]  # of shared counters, in nanos

    @property
    def is_shared(self) -> bool:
        """Whether several claims may have it at the same time."""
        return bool(self.spec.get("allowMultipleAllocations"))

    @property
    def capacity(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.spec.get("capacity") or {}
        return found


@dataclass(slots=True)
class Pool:
    id: PoolId
    complete: bool
    valid: bool
    counters: Mapping[Counter, int]  # in nanos
    draws: Mapping[DeviceId, Mapping[Counter, int]]  # of all its devices
    parts: Sequence[Mapping[str, Any]]
    made: dict[str, Device] = field(default_factory=dict)

    def devices_of(self, node: Object, matches: NodeMatches) -> Iterator[Device]:
        for part in self.parts:
            each = bool(part.get("perDeviceNodeSelection"))
            if not each and not _reaches(part, node, matches):
                continue
            for spec in part.get("devices") or ():
                if each and not _reaches(spec, node, matches):
                    continue
                yield self._device(spec, spec if each else part)

    def reaches(self, node: Object, matches: NodeMatches) -> bool:
        return any(
            any(_reaches(spec, node, matches) for spec in part.get("devices") or ())
            if part.get("perDeviceNodeSelection")
            else _reaches(part, node, matches)
            for part in self.parts
        )

    def _device(self, spec: Mapping[str, Any], place: Mapping[str, Any]) -> Device:
        found = self.made.get(spec["name"])
        if found is None:
            found = self.made[spec["name"]] = _device(self.id, spec, place)
        return found

    def left(self, taken: Taken) -> dict[Counter, int]:
        """Of the counters, besides what allocated devices draw."""
        found = dict(self.counters)
        for device, draws in self.draws.items():
            if device in taken.devices or device in taken.capacity:
                for counter, amount in draws.items():
                    if counter in found:
                        found[counter] -= amount
        return found


@dataclass(slots=True)
class Taken:
    """What claims have been given: whole devices, and parts of shared ones."""

    devices: set[DeviceId] = field(default_factory=set)
    capacity: dict[DeviceId, list[Amounts]] = field(default_factory=dict)

    def add(self, allocation: Mapping[str, Any]) -> None:
        for result in (allocation.get("devices") or {}).get("results") or ():
            device = result["driver"], result["pool"], result["device"]
            if result.get("shareID"):
                amounts = {n: Quantity.parse(q) for n, q in (result.get("consumedCapacity") or {}).items()}
                self.capacity.setdefault(device, []).append(amounts)
            elif not result.get("adminAccess"):
                self.devices.add(device)


def taken_by(allocations: Iterable[Mapping[str, Any]]) -> Taken:
    found = Taken()
    for allocation in allocations:
        found.add(allocation)
    return found


class Pools:
    """All that slices publish, worked out once for many nodes."""

    def __init__(self, slices: Iterable[Object]) -> None:
        parts: dict[PoolId, list[Mapping[str, Any]]] = {}
        for each in slices:
            parts.setdefault((each["spec"]["driver"], each["spec"]["pool"]["name"]), []).append(each["spec"])
        self._local: dict[str, dict[PoolId, Pool]] = {}  # by the node that a slice names
        self._wide: dict[PoolId, Pool] = {}
        for pool_id, found in parts.items():
            pool = _pool(pool_id, found)
            for part in pool.parts:
                name = part.get("nodeName")
                (self._local.setdefault(name, {}) if name else self._wide)[pool_id] = pool

    def on(self, node: Object, matches: NodeMatches) -> list[Pool]:
        """Those with devices for a node."""
        local = self._local.get(node["metadata"]["name"]) or {}
        wide = (p for p in self._wide.values() if p.id not in local and p.reaches(node, matches))
        return [*local.values(), *wide]


def _pool(pool_id: PoolId, parts: Sequence[Mapping[str, Any]]) -> Pool:
    newest = max(part["pool"].get("generation", 0) for part in parts)
    current = [part for part in parts if part["pool"].get("generation", 0) == newest]
    specs = [spec for part in current for spec in part.get("devices") or ()]
    counters = {
        (shared["name"], name): Quantity.parse(counter["value"]).nanos
        for part in current
        for shared in part.get("sharedCounters") or ()
        for name, counter in (shared.get("counters") or {}).items()
    }
    draws = {(*pool_id, spec["name"]): _draws(spec) for spec in specs}
    sets = {name for name, _ in counters}
    known = all(
        used.get("counterSet") in sets for spec in specs for used in spec.get("consumesCounters") or ()
    )
    return Pool(
        pool_id,
        complete=len(current) >= current[0]["pool"].get("resourceSliceCount", 1),
        valid=len(draws) == len(specs) and known,
        counters=counters,
        draws={device: amounts for device, amounts in draws.items() if amounts},
        parts=current,
    )


def _draws(spec: Mapping[str, Any]) -> dict[Counter, int]:
    return {
        (used["counterSet"], name): Quantity.parse(counter["value"]).nanos
        for used in spec.get("consumesCounters") or ()
        for name, counter in (used.get("counters") or {}).items()
    }


def _reaches(place: Mapping[str, Any], node: Object, matches: NodeMatches) -> bool:
    if place.get("nodeName"):
        return bool(place["nodeName"] == node["metadata"]["name"])
    if place.get("nodeSelector"):
        return matches(place["nodeSelector"])
    return bool(place.get("allNodes"))


def _device(pool: PoolId, spec: Mapping[str, Any], place: Mapping[str, Any]) -> Device:
    driver = pool[0]
    attributes: dict[str, Any] = {}
    by_domain, capacity = _Domains(), _Domains()
    for name, value in (spec.get("attributes") or {}).items():
        domain, _, rest = name.rpartition("/")
        plain = next(iter(value.values()))
        attributes[f"{domain or driver}/{rest}"] = plain
        shown = parse_semver(plain) if "version" in value else plain
        by_domain.setdefault(domain or driver, {})[rest] = shown
    for name, value in (spec.get("capacity") or {}).items():
        domain, _, rest = name.rpartition("/")
        capacity.setdefault(domain or driver, {})[rest] = QuantityValue(Quantity.parse(value["value"]))
    seen = {
        "driver": driver,
        "attributes": by_domain,
        "capacity": capacity,
        "allowMultipleAllocations": bool(spec.get("allowMultipleAllocations")),
    }
    return Device((*pool, spec["name"]), spec, place, attributes, seen, _draws(spec))
