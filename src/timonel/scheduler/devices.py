"""Which devices a claim gets on a node: structured parameters, by search with backtracking. Pure.

A claim asks for devices of a class, by number or all there are, one kind or the first available of several; selectors
are CEL over a device, constraints tie devices of several requests together. Pools count by their newest generation.

Not looked at: shared counters and capacity that several claims consume; a device that needs them is not given away.

Upstream: dynamic-resource-allocation/structured/allocator.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from timonel.apis import deviceexpressions
from timonel.machinery.cel import EvaluationError, Program
from timonel.machinery.cel.library.quantity import QuantityValue
from timonel.machinery.cel.library.semver import parse as parse_semver
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.scheduler.tolerations import tolerates

MOST_RESULTS = 32  # devices of one claim
MOST_STEPS = 100_000  # of one search

DeviceId = tuple[str, str, str]  # driver, pool, name
NodeMatches = Callable[[Mapping[str, Any]], bool]  # of a node selector


class AllocationError(Exception):
    """The question cannot be answered: a class is missing, a selector fails."""


@dataclass(frozen=True, slots=True)
class Device:
    id: DeviceId
    attributes: Mapping[str, Any]  # qualified name -> value
    seen: Mapping[str, Any]  # by CEL
    taints: Sequence[Mapping[str, Any]]
    is_bound_to_node: bool  # so that the allocation is for this node alone


class _Domains(dict[str, Any]):
    """Attributes by domain; a domain that a device does not have is empty."""

    def __missing__(self, key: str) -> Mapping[str, Any]:
        return {}


def available(slices: Iterable[Object], node: Object, matches: NodeMatches) -> tuple[list[Device], bool]:
    """The devices that a node can use, and whether all pools are complete."""
    pools: dict[tuple[str, str], list[Object]] = {}
    for part in slices:
        pools.setdefault((part["spec"]["driver"], part["spec"]["pool"]["name"]), []).append(part["spec"])
    devices: list[Device] = []
    complete = True
    for (driver, pool), parts in pools.items():
        newest = max(part["pool"].get("generation", 0) for part in parts)
        current = [part for part in parts if part["pool"].get("generation", 0) == newest]
        here = [part for part in current if _reaches(part, node, matches)]
        if here and len(current) < current[0]["pool"].get("resourceSliceCount", 1):
            complete = False
            continue
        for part in here:
            local = bool(part.get("nodeName") or part.get("nodeSelector"))
            for device in part.get("devices") or ():
                if part.get("perDeviceNodeSelection") and not _reaches(device, node, matches):
                    continue
                if device.get("consumesCounters") or device.get("allowMultipleAllocations"):
                    continue
                bound = local or bool(device.get("nodeName") or device.get("nodeSelector"))
                devices.append(_device(driver, pool, device, bound=bound))
    return devices, complete


def _reaches(place: Mapping[str, Any], node: Object, matches: NodeMatches) -> bool:
    if place.get("nodeName"):
        return bool(place["nodeName"] == node["metadata"]["name"])
    if place.get("nodeSelector"):
        return matches(place["nodeSelector"])
    return bool(place.get("allNodes") or place.get("perDeviceNodeSelection"))


def _device(driver: str, pool: str, device: Mapping[str, Any], *, bound: bool) -> Device:
    attributes: dict[str, Any] = {}
    by_domain, capacity = _Domains(), _Domains()
    for name, value in (device.get("attributes") or {}).items():
        domain, _, rest = name.rpartition("/")
        plain = next(iter(value.values()))
        attributes[f"{domain or driver}/{rest}"] = plain
        shown = parse_semver(plain) if "version" in value else plain
        by_domain.setdefault(domain or driver, {})[rest] = shown
    for name, value in (device.get("capacity") or {}).items():
        domain, _, rest = name.rpartition("/")
        capacity.setdefault(domain or driver, {})[rest] = QuantityValue(Quantity.parse(value["value"]))
    seen = {
        "driver": driver,
        "attributes": by_domain,
        "capacity": capacity,
        "allowMultipleAllocations": False,
    }
    return Device((driver, pool, device["name"]), attributes, seen, device.get("taints") or (), bound)


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, or one of the alternatives of one."""

    name: str  # request, or request/subrequest
    class_name: str
    selectors: tuple[Program, ...]
    count: int  # 0: all
    admin: bool
    tolerations: Sequence[Mapping[str, Any]]
    configuration: Sequence[Mapping[str, Any]]  # of the class

    def accepts(self, device: Device) -> bool:
        for taint in device.taints:
            told = (taint["key"], taint.get("value", ""), taint["effect"])
            if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(self.tolerations, told):
                return False
        try:
            return all(program.evaluate({"device": device.seen}) is True for program in self.selectors)
        except EvaluationError as exc:
            raise AllocationError(f"request {self.name}: CEL runtime error: {exc}") from exc


class Claim:
    """What a ResourceClaim asks for, with its classes looked up. Raises AllocationError."""

    def __init__(self, claim: Object, class_named: Callable[[str], Object | None]) -> None:
        self.object = claim
        devices = claim["spec"].get("devices") or {}
        self.requests = [list(_alternatives(r, class_named)) for r in devices.get("requests") or ()]
        self.constraints = devices.get("constraints") or ()
        self.configuration = devices.get("config") or ()


def _alternatives(
    request: Mapping[str, Any], class_named: Callable[[str], Object | None]
) -> Iterator[_Request]:
    name = request["name"]
    if request.get("exactly"):
        yield _request(name, request["exactly"], class_named)
    for sub in request.get("firstAvailable") or ():
        yield _request(f"{name}/{sub['name']}", sub, class_named)


def _request(name: str, asked: Mapping[str, Any], class_named: Callable[[str], Object | None]) -> _Request:
    found = class_named(asked["deviceClassName"])
    if found is None:
        raise AllocationError(f"request {name}: device class {asked['deviceClassName']} does not exist")
    selectors = [*(found["spec"].get("selectors") or ()), *(asked.get("selectors") or ())]
    everything = asked.get("allocationMode") == "All"
    return _Request(
        name,
        asked["deviceClassName"],
        tuple(
            deviceexpressions.environment().compile(s["cel"]["expression"]) for s in selectors if "cel" in s
        ),
        0 if everything else asked.get("count") or 1,
        bool(asked.get("adminAccess")),
        asked.get("tolerations") or (),
        found["spec"].get("config") or (),
    )


@dataclass(slots=True)
class _Search:
    devices: Sequence[Device]
    complete: bool
    used: set[DeviceId]
    steps: int = 0
    chosen: list[tuple[int, _Request, Device]] = field(default_factory=list)  # with the claim's number

    def run(self, claims: Sequence[Claim]) -> bool:
        return self._from(claims, 0, 0)

    def _from(self, claims: Sequence[Claim], claim: int, request: int) -> bool:
        if claim == len(claims):
            return True
        if request == len(claims[claim].requests):
            return self._from(claims, claim + 1, 0)
        return any(self._with(claims, claim, request, a) for a in claims[claim].requests[request])

    def _with(self, claims: Sequence[Claim], claim: int, request: int, wanted: _Request) -> bool:
        fitting = [d for d in self.devices if wanted.accepts(d)]
        count = wanted.count
        if not count:
            if not self.complete or not fitting:
                return False
            count = len(fitting)
        return self._pick(claims, claim, request, wanted, fitting, count, 0)

    def _pick(
        self,
        claims: Sequence[Claim],
        claim: int,
        request: int,
        wanted: _Request,
        fitting: Sequence[Device],
        count: int,
        first: int,
    ) -> bool:
        if not count:
            return self._from(claims, claim, request + 1)
        for at in range(first, len(fitting) - count + 1):
            self.steps += 1
            device = fitting[at]
            taken = device.id in self.used and not wanted.admin
            if taken or self.steps > MOST_STEPS or not self._agrees(claims[claim], claim, wanted, device):
                continue
            self.chosen.append((claim, wanted, device))
            if not wanted.admin:
                self.used.add(device.id)
            if sum(c == claim for c, _, _ in self.chosen) <= MOST_RESULTS and self._pick(
                claims, claim, request, wanted, fitting, count - 1, at + 1
            ):
                return True
            self.chosen.pop()
            if not wanted.admin:
                self.used.discard(device.id)
        return False

    def _agrees(self, asked: Claim, claim: int, wanted: _Request, device: Device) -> bool:
        for constraint in asked.constraints:
            named = constraint.get("requests") or ()
            if not _concerns(named, wanted.name):
                continue
            others = [d for c, r, d in self.chosen if c == claim and _concerns(named, r.name)]
            same, distinct = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
            key = same or distinct
            value = device.attributes.get(key)
            if value is None:
                return False
            if same and any(other.attributes.get(key) != value for other in others):
                return False
            if distinct and any(other.attributes.get(key) == value for other in others):
                return False
        return True


def _concerns(requests: Sequence[str], name: str) -> bool:
    return not requests or name in requests or name.partition("/")[0] in requests


def allocate(
    claims: Sequence[Claim],
    devices: Sequence[Device],
    *,
    complete: bool,
    used: Iterable[DeviceId],
    node: Object,
) -> list[Object] | None:
    """An allocation for each claim, as it stands in its status; None where the node cannot serve them all."""
    search = _Search(devices, complete, set(used))
    if not search.run(claims):
        return None
    return [
        _allocation(claim, [(r, d) for c, r, d in search.chosen if c == number], node)
        for number, claim in enumerate(claims)
    ]


def _allocation(claim: Claim, chosen: Sequence[tuple[_Request, Device]], node: Object) -> Object:
    results: list[Object] = []
    for request, device in chosen:
        driver, pool, name = device.id
        result: Object = {"request": request.name, "driver": driver, "pool": pool, "device": name}
        if request.admin:
            result["adminAccess"] = True
        if request.tolerations:
            result["tolerations"] = list(request.tolerations)
        results.append(result)
    configuration: list[Object] = []
    for name, request in {r.name: r for r, _ in chosen}.items():
        configuration += [{"source": "FromClass", "requests": [name], **c} for c in request.configuration]
    names = {r.name for r, _ in chosen}
    for config in claim.configuration:
        named = config.get("requests") or ()
        if any(_concerns(named, asked) for asked in names):
            configuration.append({"source": "FromClaim", **config})
    allocation: Object = {"devices": {"results": results}}
    if configuration:
        allocation["devices"]["config"] = configuration
    if any(device.is_bound_to_node for _, device in chosen):
        allocation["nodeSelector"] = _only(node)
    return allocation


def _only(node: Object) -> Object:
    field_is = {"key": "metadata.name", "operator": "In", "values": [node["metadata"]["name"]]}
    return {"nodeSelectorTerms": [{"matchFields": [field_is]}]}


def used_by(claims: Iterable[Object]) -> Iterator[DeviceId]:
    """Devices that claims have been given for themselves."""
    for claim in claims:
        allocation = (claim.get("status") or {}).get("allocation") or {}
        yield from ids_of(allocation)


def ids_of(allocation: Mapping[str, Any]) -> Iterator[DeviceId]:
    for result in (allocation.get("devices") or {}).get("results") or ():
        if not result.get("adminAccess"):
            yield result["driver"], result["pool"], result["device"]
