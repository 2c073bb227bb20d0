"""What is wrong with the cluster addresses and node ports of Services, told as Events, in upstream's words.

A finding is told when it is new, and again only after it was gone: what stays wrong is not told every few minutes.

Upstream: pkg/registry/core/service/ipallocator/controller/repairip.go, .../portallocator/controller/repair.go.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Collection, Iterable, Iterator

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.objects.meta import Key, Object, format_micro_time, format_time, key_of, labels_of
from timonel.records import dataclass
from timonel.server.ranges import family_of
from timonel.server.request import Objects
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

FAMILY, MANAGED_BY = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
ADDRESS_REPAIR, PORT_REPAIR = "ipallocator-repair-controller", "portallocator-repair-controller"


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend`: the address or port that is to be claimed anew."""

    about: Object
    reason: str
    message: str
    mend: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.about["metadata"].get("uid", ""), self.reason, self.message


# ---- addresses


def addresses_of(service: Object) -> list[str]:
    return [a for a in service["spec"].get("clusterIPs") or () if a and a != "None"]


def holder_of(claim: Object) -> Key | None:
    """The Service that an IPAddress is for; None where somebody else than an API server made it."""
    parent = _parent(claim)
    if labels_of(claim).get(MANAGED_BY) != ALLOCATOR or parent.get("resource") != "services":
        return None
    return Key(parent.get("namespace", ""), parent.get("name", ""))


def _parent(claim: Object) -> Object:
    found: Object = (claim.get("spec") or {}).get("parentRef") or {}
    return found


def about_addresses(
    service: Object,
    *,
    in_range: Callable[[str], bool],
    claim_of: Callable[[str], Object | None],
    service_at: Callable[[Key], Object | None],
) -> Iterator[Finding]:
    """Of one Service; `claim_of` an address is its IPAddress."""
    owner = key_of(service)
    for address in addresses_of(service):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            text = "Cluster IP <nil> is not a valid IP; please recreate Service"
            yield Finding(service, "ClusterIPNotValid", text)
            continue
        what = f"[{family_of(address)}]: {address}"
        claim = claim_of(address)
        if not in_range(address):
            text = f"Cluster IP {what} is not within any configured Service CIDR; please recreate service"
            yield Finding(service, "ClusterIPOutOfRange", text)
        elif claim is None:
            text = f"Cluster IP {what} is not allocated; repairing"
            yield Finding(service, "ClusterIPNotAllocated", text, address)
        else:
            yield from _about_claim(service, owner, address, claim, service_at)


def _about_claim(
    service: Object, owner: Key, address: str, claim: Object, service_at: Callable[[Key], Object | None]
) -> Iterator[Finding]:
    parent, family = _parent(claim), family_of(address)
    wrong = f"the ClusterIP [{family}]: {address} for Service {owner.namespace}/{owner.name}"
    wrong += " has a wrong reference; repairing"
    if parent.get("group") or parent.get("resource") != "services":
        yield Finding(service, "ClusterIPNotAllocated", wrong, address)
        return
    holder = Key(parent.get("namespace", ""), parent.get("name", ""))
    if holder == owner:
        return
    other = service_at(holder)
    if other is None:
        yield Finding(service, "ClusterIPNotAllocated", wrong, address)
    elif address in addresses_of(other):
        text = f"Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service"
        yield Finding(service, "ClusterIPAlreadyAllocated", text)


def is_labelled(claim: Object) -> bool:
    """As an allocator labels what it makes."""
    labels = labels_of(claim)
    return labels.get(FAMILY) == family_of(claim["metadata"]["name"]) and labels.get(MANAGED_BY) == ALLOCATOR


def about_claim(claim: Object, service_at: Callable[[Key], Object | None]) -> Finding | None:
    """Of one IPAddress that nobody uses and that is about to be removed."""
    holder, name = holder_of(claim), claim["metadata"]["name"]
    if holder is None:
        return None
    what = f"IPAddress: {name} for Service {holder.namespace}/{holder.name}"
    if service_at(holder) is None:
        return Finding(claim, "IPAddressNotAllocated", f"{what} appears to have leaked: cleaning up")
    return Finding(claim, "IPAddressWrongReference", f"{what} has a wrong reference; cleaning up")


# ---- ports


def ports_of(service: Object) -> list[int]:
    """Its node ports. One number counts once where it stands for two protocols, and twice where for one."""
    found: list[int] = []
    seen: dict[int, set[str]] = {}
    for port in service["spec"].get("ports") or ():
        number, protocol = port.get("nodePort") or 0, port.get("protocol", "TCP")
        if number and (number not in seen or protocol in seen[number]):
            found.append(number)
        seen.setdefault(number, set()).add(protocol)
    health = service["spec"].get("healthCheckNodePort") or 0
    if health and (health not in seen or "TCP" in seen[health]):
        found.append(health)
    return found


def about_ports(
    services: Iterable[Object], first: int, last: int, claimed: Collection[int] | None
) -> Iterator[Finding]:
    """Of all Services; `claimed` are the numbers that servers have written down, if they do."""
    taken: set[int] = set()
    for service in services:
        for port in ports_of(service):
            if port in taken:
                text = f"Port {port} was assigned to multiple services; please recreate service"
                yield Finding(service, "PortAlreadyAllocated", text)
            elif not first <= port <= last:
                text = f"Port {port} is not within the port range {first}-{last}; please recreate service"
                yield Finding(service, "PortOutOfRange", text)
            else:
                taken.add(port)
                if claimed is not None and port not in claimed:
                    text = f"Port {port} is not allocated; repairing"
                    yield Finding(service, "PortNotAllocated", text, str(port))


# ---- telling


class Notes:
    """Tells the findings of one component."""

    def __init__(self, objects: Objects, clock: Clock, component: str, action: str = "") -> None:
        """`action`: as the newer API of Events has it, by which some components tell; the others use the older."""
        self._objects, self._clock = objects, clock
        self._component, self._action = component, action
        self._told: set[tuple[str, str, str]] = set()

    async def tell(self, found: Iterable[Finding]) -> None:
        """These are all that there are now."""
        findings = {finding.identity: finding for finding in found}
        for identity, finding in findings.items():
            if identity not in self._told:
                await self._write(finding)
        self._told = set(findings)

    async def _write(self, finding: Finding) -> None:
        logger.warning("%s", finding.message, extra={"reason": finding.reason})
        event = self._event(finding)
        try:
            await self._objects.create("events", event, namespace=event["metadata"]["namespace"])
        except (errors.StatusError, StoreError) as error:
            logger.debug("An event was not recorded", extra={"error": str(error)})

    def _event(self, finding: Finding) -> Object:
        meta = finding.about["metadata"]
        about = {
            "kind": "IPAddress" if "parentRef" in (finding.about.get("spec") or {}) else "Service",
            "apiVersion": "networking.k8s.io/v1" if "parentRef" in finding.about["spec"] else "v1",
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        now = self._clock.now()
        name = f"{meta['name']}.{int(now * 1e9):x}"
        at = format_time(now)
        when = (
            {"eventTime": format_micro_time(now), "action": self._action}
            if self._action
            else {"firstTimestamp": at, "lastTimestamp": at, "count": 1}
        )
        return {
            "metadata": {"name": name, "namespace": meta.get("namespace") or "default"},
            "involvedObject": {key: value for key, value in about.items() if value},
            "type": "Warning",
            "reason": finding.reason,
            "message": finding.message,
            "source": {} if self._action else {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._component if self._action else "",
            **when,
        }
