"""A range of cluster addresses is ready, and stays while addresses in use come from it alone.

Watches   servicecidrs.networking.k8s.io (all of them are woken by each, for one may cover what another held);
          ipaddresses.networking.k8s.io (wake the ranges that they are in and that are being deleted)
Writes    servicecidrs.networking.k8s.io (the protection finalizer), servicecidrs/status (Ready)
Upstream  pkg/controller/servicecidrs/servicecidrs_controller.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from timonel.control.actions import Outcome, Plan, Status, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects import conditions
from timonel.objects.meta import Key, Object, is_deleting, key_of, labels_of, nested, parse_time, protected
from timonel.records import dataclass

RESOURCE, ADDRESSES = "servicecidrs.networking.k8s.io", "ipaddresses.networking.k8s.io"
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED_BY, ALLOCATOR = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
GRACE = 10.0  # seconds until every API server knows that a range is given out from no longer
READY, STILL_USED = (
    "Kubernetes Service CIDR is ready",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Observed:
    """Asked only of a range that is being deleted."""

    now: float
    in_use: bool = False


def networks(cidr: Object) -> list[Network]:
    return [ipaddress.ip_network(text) for text in nested(cidr, "spec", "cidrs") or ()]


def addresses(cache: Cache) -> list[Address]:
    """Those of Services."""
    claims = cache.list(ADDRESSES)
    return [
        ipaddress.ip_address(claim["metadata"]["name"])
        for claim in claims
        if labels_of(claim).get(MANAGED_BY) == ALLOCATOR
    ]


def is_needed(own: Sequence[Network], others: Sequence[Network], used: Iterable[Address]) -> bool:
    """Whether an address in use is in none of the other ranges."""
    if all(any(covers(other, network) for other in others) for network in own):
        return False
    return any(
        any(address in network for network in own) and not any(address in other for other in others)
        for address in used
    )


def covers(outer: Network, inner: Network) -> bool:
    return (
        outer.version == inner.version
        and int(outer.network_address) <= int(inner.network_address)
        and int(inner.broadcast_address) <= int(outer.broadcast_address)
    )


def observe(desired: Object, cache: Cache) -> Observed:
    if not is_deleting(desired):
        return Observed(cache.now())
    others = [
        network
        for cidr in cache.list(RESOURCE)
        if key_of(cidr) != key_of(desired)
        for network in networks(cidr)
    ]
    return Observed(cache.now(), is_needed(networks(desired), others, addresses(cache)))


def reconcile(desired: Object, observed: Observed) -> Plan:
    if is_deleting(desired) and not observed.in_use:
        since = parse_time(desired["metadata"]["deletionTimestamp"]) or observed.now
        if observed.now < since + GRACE:
            return Plan(requeue_after=since + GRACE - observed.now)
    changed = protected(desired, FINALIZER, in_use=observed.in_use)
    return Plan() if changed is None else Plan((Update(RESOURCE, changed),))


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    if not is_deleting(desired):
        ready = ("True", "", READY)
    elif observed.in_use:
        ready = ("False", "Terminating", STILL_USED)
    else:
        return None
    state, reason, message = ready
    condition = conditions.make("Ready", state, "", message, observed.now) | {"reason": reason}
    old: Status = desired.get("status") or {}
    return {**old, "conditions": conditions.put(old.get("conditions"), condition)}


def _all(obj: Object, cache: Cache) -> Iterable[Key]:
    return {key_of(obj), *(key_of(each) for each in cache.list(RESOURCE))}


def _deleted_ranges(obj: Object, cache: Cache) -> Iterable[Key]:
    return [key_of(each) for each in cache.list(RESOURCE) if is_deleting(each)]


SERVICE_CIDR = ControllerType(
    name="service-cidrs-controller",
    watches=(Watch(RESOURCE, wakes=_all), Watch(ADDRESSES, wakes=_deleted_ranges)),
    observe=observe,
    reconcile=reconcile,
    status=status,
)
