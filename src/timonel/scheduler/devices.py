"""Which devices a claim gets on a node: structured parameters, by search with backtracking. Pure.

A claim asks for devices of a class, by number or all there are, one kind or the first available of several; selectors
are CEL over a device, constraints tie devices of several requests together. A device that several may have is given in
portions of its capacity.

Upstream: dynamic-resource-allocation/structured/internal/incubating/allocator_incubating.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from timonel.apis import deviceexpressions
from timonel.machinery.cel import EvaluationError, Program
from timonel.objects.meta import Object
from timonel.scheduler import devicecapacity
from timonel.scheduler.devicecapacity import Amounts
from timonel.scheduler.devicepools import Device, NodeMatches, Pool, Taken
from timonel.scheduler.tolerations import tolerates

MOST_RESULTS = 32  # devices of one claim
MOST_STEPS = 100_000  # of one search


class AllocationError(Exception):
    """The question cannot be answered: a class is missing, a selector fails."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One request, or one of the alternatives of one."""

    name: str  # request, or request/subrequest
    class_name: str
    selectors: tuple[Program, ...]
    count: int  # 0: all
    admin: bool
    tolerations: Sequence[Mapping[str, Any]]
    capacity: Mapping[str, Any]  # how much of a device
    configuration: Sequence[Mapping[str, Any]]  # of the class

    def selects(self, device: Device) -> bool:
        try:
            return all(program.evaluate({"device": device.seen}) is True for program in self.selectors)
        except EvaluationError as exc:
            raise AllocationError(f"request {self.name}: CEL runtime error: {exc}") from exc

    def tolerates(self, device: Device) -> bool:
        for taint in device.spec.get("taints") or ():
            told = (taint["key"], taint.get("value", ""), taint["effect"])
            if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(self.tolerations, told):
                return False
        return True


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
) -> Iterator[Request]:
    name = request["name"]
    if request.get("exactly"):
        yield _request(name, request["exactly"], class_named)
    for sub in request.get("firstAvailable") or ():
        yield _request(f"{name}/{sub['name']}", sub, class_named)


def _request(name: str, asked: Mapping[str, Any], class_named: Callable[[str], Object | None]) -> Request:
    found = class_named(asked["deviceClassName"])
    if found is None:
        raise AllocationError(f"request {name}: device class {asked['deviceClassName']} does not exist")
    selectors = [*(found["spec"].get("selectors") or ()), *(asked.get("selectors") or ())]
    everything = asked.get("allocationMode") == "All"
    return Request(
        name,
        asked["deviceClassName"],
        tuple(
            deviceexpressions.environment().compile(s["cel"]["expression"]) for s in selectors if "cel" in s
        ),
        0 if everything else asked.get("count") or 1,
        bool(asked.get("adminAccess")),
        asked.get("tolerations") or (),
        (asked.get("capacity") or {}).get("requests") or {},
        found["spec"].get("config") or (),
    )


@dataclass(frozen=True, slots=True)
class Choice:
    claim: int  # the claim's number
    request: Request
    device: Device
    portion: Amounts | None  # of a shared device


@dataclass(slots=True)
class _Search:
    claims: Sequence[Claim]
    pools: Sequence[Pool]
    node: Object
    matches: NodeMatches
    taken: Taken
    steps: int = 0
    chosen: list[Choice] = field(default_factory=list)
    fitting: dict[Request, list[Device]] = field(default_factory=dict)
    left: dict[tuple[str, str], dict[tuple[str, str], int]] = field(default_factory=dict)

    def run(self) -> bool:
        return self._from(0, 0)

    def _from(self, claim: int, request: int) -> bool:
        if claim == len(self.claims):
            return True
        if request == len(self.claims[claim].requests):
            return self._from(claim + 1, 0)
        return any(self._with(claim, request, a) for a in self.claims[claim].requests[request])

    def _with(self, claim: int, request: int, wanted: Request) -> bool:
        if not wanted.count and not all(pool.complete and pool.valid for pool in self.pools):
            return False
        fitting = self.fitting.get(wanted)
        if fitting is None:
            fitting = self.fitting[wanted] = list(self._fitting(wanted))
        count = wanted.count or len(fitting)
        if not count or sum(c.claim == claim for c in self.chosen) + count > MOST_RESULTS:
            return False
        return self._pick(claim, request, wanted, fitting, count, 0)

    def _fitting(self, wanted: Request) -> Iterator[Device]:
        """The devices of the node that a request selects, and that have what it asks for."""
        for pool in self.pools:
            if not pool.complete or not pool.valid:
                continue
            for device in pool.devices_of(self.node, self.matches):
                if wanted.selects(device) and self._portion(wanted, device, ()) is not None:
                    yield device

    def _pick(
        self, claim: int, request: int, wanted: Request, fitting: Sequence[Device], count: int, first: int
    ) -> bool:
        if not count:
            return self._from(claim, request + 1)
        for at in range(first, len(fitting) - count + 1):
            self.steps += 1
            if self.steps > MOST_STEPS:
                return False
            choice = self._choice(claim, wanted, fitting[at])
            if choice is None:
                continue
            self._draw(choice, 1)
            self.chosen.append(choice)
            if self._pick(claim, request, wanted, fitting, count - 1, at + 1):
                return True
            self.chosen.pop()
            self._draw(choice, -1)
        return False

    def _choice(self, claim: int, wanted: Request, device: Device) -> Choice | None:
        """None where it cannot be given."""
        if not device.is_shared:
            others = [c for c in self.chosen if c.device.id == device.id]
            if wanted.admin:
                if any(other.claim == claim for other in others):
                    return None
            elif others or device.id in self.taken.devices:
                return None
        elif not wanted.admin and device.id in self.taken.devices:
            return None
        portion = self._portion(wanted, device, self.chosen)
        if portion is None or not self._has_counters(device) or not wanted.tolerates(device):
            return None
        if not self._agrees(self.claims[claim], claim, wanted, device):
            return None
        return Choice(claim, wanted, device, portion if device.is_shared else None)

    def _portion(self, wanted: Request, device: Device, beside: Sequence[Choice]) -> Amounts | None:
        """What would be taken of the device's capacity; None where there is not enough of it."""
        portion = devicecapacity.consumed(device.capacity, wanted.capacity, device.id[0])
        if portion is None:
            return None
        others = [
            *self.taken.capacity.get(device.id, ()),
            *(c.portion for c in beside if c.portion is not None and c.device.id == device.id),
        ]
        return portion if devicecapacity.fits(device.capacity, portion, others) else None

    def _is_shared_already(self, device: Device) -> bool:
        return device.is_shared and (
            device.id in self.taken.capacity or any(c.device.id == device.id for c in self.chosen)
        )

    def _counters(self, pool: tuple[str, str]) -> dict[tuple[str, str], int]:
        found = self.left.get(pool)
        if found is None:
            of = next(p for p in self.pools if p.id == pool)
            found = self.left[pool] = of.left(self.taken)
        return found

    def _has_counters(self, device: Device) -> bool:
        if not device.draws or self._is_shared_already(device):
            return True
        left = self._counters(device.id[:2])
        return all(left.get(counter, 0) >= amount for counter, amount in device.draws.items())

    def _draw(self, choice: Choice, sign: int) -> None:
        """Called before the choice is put on the list, and after it has been taken off it."""
        if choice.device.draws and not self._is_shared_already(choice.device):
            left = self._counters(choice.device.id[:2])
            for counter, amount in choice.device.draws.items():
                left[counter] = left.get(counter, 0) - sign * amount

    def _agrees(self, asked: Claim, claim: int, wanted: Request, device: Device) -> bool:
        for constraint in asked.constraints:
            named = constraint.get("requests") or ()
            if not concerns(named, wanted.name):
                continue
            others = [c.device for c in self.chosen if c.claim == claim and concerns(named, c.request.name)]
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


def concerns(requests: Sequence[str], name: str) -> bool:
    return not requests or name in requests or name.partition("/")[0] in requests


def allocate(
    claims: Sequence[Claim],
    pools: Sequence[Pool],
    *,
    node: Object,
    matches: NodeMatches,
    taken: Taken,
    new_id: Callable[[], str],
) -> list[Object] | None:
    """An allocation for each claim, as it stands in its status; None where the node cannot serve them all.

    `new_id` names portions of shared devices.
    """
    search = _Search(claims, pools, node, matches, taken)
    if not search.run():
        return None
    return [
        _allocation(claim, [c for c in search.chosen if c.claim == number], node, new_id)
        for number, claim in enumerate(claims)
    ]


def _allocation(claim: Claim, chosen: Sequence[Choice], node: Object, new_id: Callable[[], str]) -> Object:
    allocation: Object = {"devices": {"results": [_result(choice, new_id) for choice in chosen]}}
    configuration = list(_configuration(claim, chosen))
    if configuration:
        allocation["devices"]["config"] = configuration
    selector = _where(chosen, node)
    if selector:
        allocation["nodeSelector"] = selector
    return allocation


def _result(choice: Choice, new_id: Callable[[], str]) -> Object:
    driver, pool, name = choice.device.id
    result: Object = {"request": choice.request.name, "driver": driver, "pool": pool, "device": name}
    if choice.request.admin:
        result["adminAccess"] = True
    if choice.request.tolerations:
        result["tolerations"] = list(choice.request.tolerations)
    for key in ("bindingConditions", "bindingFailureConditions"):
        if choice.device.spec.get(key):
            result[key] = list(choice.device.spec[key])
    if choice.portion is not None:
        result["shareID"] = new_id()
        if choice.portion:
            result["consumedCapacity"] = {n: str(q) for n, q in sorted(choice.portion.items())}
    return result


def _configuration(claim: Claim, chosen: Sequence[Choice]) -> Iterator[Object]:
    """Of each class once, with the requests that are of it, then of the claim; no names where they are all."""
    selected = {choice.request.name: choice.request for choice in chosen}
    by_class: dict[str, list[Request]] = {}
    for request in selected.values():
        by_class.setdefault(request.class_name, []).append(request)
    found: list[Object] = [
        {"source": "FromClass", "requests": [r.name for r in requests], **config}
        for requests in by_class.values()
        for config in requests[0].configuration
    ]
    for config in claim.configuration:
        named = config.get("requests") or ()
        if not named:
            found.append({"source": "FromClaim", **config})
        found += [
            {"source": "FromClaim", **config}
            for name in (selected if named else ())
            if name in named or name.partition("/")[0] in named
        ]
    for config in found:
        if len(config.get("requests") or ()) == len(claim.requests):
            config.pop("requests", None)
        yield config


def _where(chosen: Iterable[Choice], node: Object) -> Object | None:
    """On which nodes the devices can be used."""
    term: dict[str, list[Any]] = {"matchFields": [], "matchExpressions": []}
    for choice in chosen:
        place = choice.device.place
        if place.get("nodeName") or choice.device.spec.get("bindsToNode"):
            name = {"key": "metadata.name", "operator": "In", "values": [node["metadata"]["name"]]}
            return {"nodeSelectorTerms": [{"matchFields": [name]}]}
        for asked in ((place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ())[:1]:
            for kind, known in term.items():
                known += [r for r in asked.get(kind) or () if r not in known]
    told = {kind: known for kind, known in term.items() if known}
    return {"nodeSelectorTerms": [told]} if told else None
