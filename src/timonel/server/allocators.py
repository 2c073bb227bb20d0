"""Cluster addresses and node ports of Services: who has what, and handing out more.

The Services themselves are the record: `follow` rebuilds the books from them and keeps them. An allocation is made
while a write is admitted and taken back by its `undo` when the write does not happen; a deleted Service frees what it
had. An address that the books show as free is claimed by an IPAddress (`addresses`) before the Service is written, a
node port, where other servers write to the same store, by a record there (`claims`). Addresses come from the ranges
that the server was started with and from those of ServiceCIDRs that are ready.

Upstream: pkg/registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from timonel.aio.clock import Clock
from timonel.apis.core import servicerules as servicelib
from timonel.apis.core.service import SERVICE
from timonel.apis.resource import ResourceType
from timonel.machinery import errors, field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Key, Object, key_of
from timonel.server.addresses import AddressClaims
from timonel.server.claims import Claims
from timonel.server.portrepair import PortRepair
from timonel.server.ranges import (
    IPV4,
    IPV6,
    AddressPool,
    PortRange,
    Unavailable,
    contains,
    family_of,
    number_of,
)
from timonel.server.request import AdmissionCall, Objects, OnlyMutates, Operation, Reader
from timonel.server.servicefindings import addresses_of

NONE = "None"
CIDRS = "servicecidrs.networking.k8s.io"
_DRY_RUN_PORT = 32768  # dry runs are shown ports beyond this one, as by upstream


class ServiceAllocators(OnlyMutates):
    """The admission step that gives a Service its addresses and ports; last of the mutating ones.

    Upstream does this in its storage layer, before validation: so here too.
    """

    name = "ServiceAllocation"
    stores = True

    def __init__(
        self,
        *,
        address_ranges: tuple[str, ...] = ("10.96.0.0/16",),
        ports: PortRange | None = None,
        claims: Callable[[str, Callable[[int, Key], bool]], Claims] | None = None,
    ) -> None:
        """`claims` makes those of a kind of numbers, where other servers hand them out, too."""
        pools = [AddressPool(cidr) for cidr in address_ranges]
        self._addresses = {each.family: each for each in pools}
        self._default_family = pools[0].family
        self._ports = ports or PortRange()
        self._reader: Reader | None = None
        self._address_claims: AddressClaims | None = None
        self._port_claims = claims("nodeports", self._has_port) if claims is not None else None

    def follow(self, reader: Reader, addresses: AddressClaims | None = None) -> None:
        self._reader, self._address_claims = reader, addresses
        reader.on_change("services", self._changed)
        reader.on_change(CIDRS, self._ranges_changed)

    def background(self) -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside."""
        for claims in (self._address_claims, self._port_claims):
            if claims is not None:
                yield claims.run

    def in_use(self, address: str) -> Key | None:
        """Who has it, or is about to."""
        return self._pool_of(address).owner(address)

    def port_repair(self, objects: Objects, reader: Reader, clock: Clock) -> PortRepair:
        return PortRepair(objects, reader, clock, self._ports, self._port_claims)

    def in_range(self, address: str) -> bool:
        """Whether it is of a range of the cluster, be it one that is given out from no longer."""
        if address in self._pool_of(address):
            return True
        ranges = self._reader.list(CIDRS) if self._reader is not None else ()
        return any(contains(cidr, address) for each in ranges for cidr in each["spec"].get("cidrs") or ())

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        is_write = operation in (Operation.CREATE, Operation.UPDATE)
        return resource.qualified == "services" and not subresource and is_write

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        if call.old is None:
            SERVICE.prepare_create(call.obj)
        else:
            SERVICE.prepare_update(call.obj, call.old)
        owner = Key(call.namespace, call.name)
        self._set_families(call.obj, call.old, call.name)
        await self._set_addresses(call, call.obj, owner)
        await self._set_ports(call, call.obj, owner)

    # ---- address families

    def _set_families(self, obj: Object, old: Object | None, name: str) -> None:
        spec = obj["spec"]
        if spec.get("type") == "ExternalName" or _keeps_preference(obj, old):
            return
        headless = spec.get("clusterIP") == NONE and not spec.get("selector")
        if spec.get("ipFamilyPolicy") is None:
            before = (old["spec"].get("ipFamilyPolicy") if old else None) or ""
            spec["ipFamilyPolicy"] = before or ("RequireDualStack" if headless else "SingleStack")
        _refuse(name, _about_addresses(obj, old))
        causes = list(_policy_causes(spec, old["spec"] if old else None))
        families: list[str] = list(spec.get("ipFamilies") or ())
        for index, address in enumerate(spec.get("clusterIPs") or ()):
            if address == NONE:
                break
            family = IPV6 if ":" in address else IPV4
            if index < len(families):
                continue
            if family in self._addresses:
                families.append(family)
            else:
                text = f"{family} is not configured on this cluster"
                causes.append(field.invalid(f"spec.clusterIPs[{index}]", spec["clusterIPs"], text))
        _refuse(name, causes)
        if headless:
            families = families or [self._default_family]
            if len(families) < 2 and spec["ipFamilyPolicy"] != "SingleStack":
                families.append(IPV6 if families[0] == IPV4 else IPV4)
        else:
            _refuse(name, self._unconfigured(spec, families))
            families = families or [self._default_family]
            if spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1 and len(self._addresses) == 2:
                families.append(IPV6 if families[0] == IPV4 else IPV4)
        spec["ipFamilies"] = families

    def _unconfigured(self, spec: Object, families: list[str]) -> Iterator[Cause]:
        if spec["ipFamilyPolicy"] == "RequireDualStack" and len(self._addresses) < 2:
            text = "this cluster is not configured for dual-stack services"
            yield field.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], text)
        for index, family in enumerate(families):
            if family not in self._addresses:
                yield field.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")

    # ---- addresses

    async def _set_addresses(self, call: AdmissionCall, obj: Object, owner: Key) -> None:
        spec = obj["spec"]
        if spec.get("type") == "ExternalName" or (spec.get("clusterIPs") or [""])[0] == NONE:
            return
        before = set(call.old["spec"].get("clusterIPs") or ()) if call.old else set()
        addresses: list[str] = list(spec.get("clusterIPs") or ())
        asked = list(addresses)
        for index, family in enumerate(spec.get("ipFamilies") or ()):
            if family not in self._addresses:
                continue
            wanted = addresses[index] if index < len(addresses) else ""
            if wanted and wanted in before:
                continue
            address = await self._one_address(call, family, wanted, asked, owner)
            if index < len(addresses):
                addresses[index] = address
            else:
                addresses.append(address)
        if addresses:
            spec["clusterIPs"], spec["clusterIP"] = addresses, addresses[0]

    async def _one_address(
        self, call: AdmissionCall, family: str, wanted: str, asked: list[str], owner: Key
    ) -> str:
        addresses = self._addresses[family]
        others: set[int] = set()  # claimed by somebody else
        while True:
            try:
                address = wanted or addresses.next_free(others)
                if wanted:
                    addresses.check(wanted, dry_run=call.dry_run)
                    if others:
                        raise Unavailable("provided IP is already allocated")
            except Unavailable as e:
                if not wanted:
                    raise _internal(f"failed to allocate a serviceIP: {e}") from e
                cause = field.invalid("spec.clusterIPs", asked, f"failed to allocate IP {wanted}: {e}")
                raise errors.invalid("Service", call.name, (cause,)) from e
            if call.dry_run:
                return address
            addresses.take(address, owner)  # before anything is awaited: this server's own calls come second
            try:
                revision = await self._claim(address, owner)
            except BaseException:
                addresses.release(address, owner)
                raise
            if revision:
                call.undo.append(partial(self._give_back, address, owner, revision))
                return address
            addresses.release(address, owner)
            others.add(number_of(address))

    async def _claim(self, address: str, owner: Key) -> int:
        return 1 if self._address_claims is None else await self._address_claims.take(address, owner)

    def _give_back(self, address: str, owner: Key, revision: int) -> None:
        self._pool_of(address).release(address, owner)
        if self._address_claims is not None:
            self._address_claims.given_back(address, revision)

    # ---- ports

    async def _set_ports(self, call: AdmissionCall, obj: Object, owner: Key) -> None:
        spec = obj["spec"]
        old = call.old
        mine = set(_node_ports(old)) if old is not None else set()
        taken: set[int] = set()  # by this call
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            if old is None:
                await self._create_ports(call, obj, owner, taken)
            else:
                await self._update_ports(call, obj, owner, taken, mine)
        await self._set_health_port(call, obj, owner, taken)

    async def _create_ports(self, call: AdmissionCall, obj: Object, owner: Key, taken: set[int]) -> None:
        """Ports with one number (TCP and UDP of DNS, say) share a node port."""
        ports: list[Object] = obj["spec"].get("ports") or []
        by_port: dict[int, int] = {}
        for index, port in enumerate(ports):
            if not port.get("nodePort") and not servicelib.needs_node_ports(obj):
                continue
            shared = by_port.get(port.get("port", 0), 0)
            if not shared:
                wanted = next(
                    (p["nodePort"] for p in ports if p.get("port") == port.get("port") and p.get("nodePort")),
                    0,
                )
                port["nodePort"] = await self._one_port(call, owner, taken, wanted, index)
                by_port[port.get("port", 0)] = port["nodePort"]
            elif not port.get("nodePort"):
                port["nodePort"] = shared
            elif port["nodePort"] != shared:
                await self._one_port(call, owner, taken, port["nodePort"], index)

    async def _update_ports(
        self, call: AdmissionCall, obj: Object, owner: Key, taken: set[int], mine: set[int]
    ) -> None:
        for index, port in enumerate(obj["spec"].get("ports") or ()):
            wanted = port.get("nodePort", 0)
            if not wanted and not servicelib.needs_node_ports(obj):
                continue
            if wanted in mine or wanted in taken:
                continue
            port["nodePort"] = await self._one_port(call, owner, taken, wanted, index)

    async def _one_port(
        self, call: AdmissionCall, owner: Key, taken: set[int], wanted: int, index: int
    ) -> int:
        try:
            return await self._any_port(call, owner, taken, wanted)
        except Unavailable as e:
            if not wanted:
                raise _internal(f"failed to allocate a nodePort: {e}") from e
            cause = field.invalid(f"spec.ports[{index}].nodePort", wanted, str(e))
            raise errors.invalid("Service", call.name, (cause,)) from e

    async def _any_port(self, call: AdmissionCall, owner: Key, taken: set[int], wanted: int) -> int:
        """The wanted one or any other; it is taken, too, unless this is a dry run. Raises Unavailable."""
        if not wanted and call.dry_run:
            # nobody's: it shows that there will be one
            shown = (max(0, *taken) if taken else _DRY_RUN_PORT) + 1
            taken.add(shown)
            return shown
        others: set[int] = set()  # claimed by other servers
        while True:
            port = wanted or self._ports.next_free(taken | others)
            if wanted:
                self._ports.check(wanted, dry_run=call.dry_run)
                if wanted in taken or others:
                    raise Unavailable("provided port is already allocated")
            if call.dry_run or await self._keep_port(call, owner, port):
                taken.add(port)
                return port
            others.add(port)

    async def _keep_port(self, call: AdmissionCall, owner: Key, port: int) -> bool:
        self._ports.take(port, owner)  # before anything is awaited: this server's own calls come second
        try:
            revision = 1 if self._port_claims is None else await self._port_claims.take(port, owner)
        except BaseException:
            self._ports.release(port, owner)
            raise
        if revision:
            call.undo.append(partial(self._give_port_back, port, owner, revision))
        else:
            self._ports.release(port, owner)
        return bool(revision)

    def _give_port_back(self, port: int, owner: Key, revision: int) -> None:
        self._ports.release(port, owner)
        if self._port_claims is not None:
            self._port_claims.given_back(port, revision)

    async def _set_health_port(self, call: AdmissionCall, obj: Object, owner: Key, taken: set[int]) -> None:
        spec = obj["spec"]
        needed = call.old is not None and servicelib.needs_health_check(call.old)
        if not servicelib.needs_health_check(obj):
            if needed:
                spec.pop("healthCheckNodePort", None)
            return
        if needed:
            return
        wanted = spec.get("healthCheckNodePort", 0)
        try:
            spec["healthCheckNodePort"] = await self._any_port(call, owner, taken, wanted)
        except Unavailable as e:
            what = f"requested HealthCheck NodePort {wanted}" if wanted else "a HealthCheck NodePort 0"
            raise _internal(f"failed to allocate {what}: {e}") from e

    # ---- the books

    def _has_port(self, number: int, owner: Key) -> bool:
        reader = self._reader
        found = reader.get("services", owner.namespace, owner.name) if reader is not None else None
        return found is not None and number in _node_ports(found)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        kept_addresses = set(addresses_of(new)) if new is not None else set()
        kept_ports = set(_node_ports(new)) if new is not None else set()
        if old is not None:
            owner = key_of(old)
            revision = int(old["metadata"].get("resourceVersion") or 0)
            for address in set(addresses_of(old)) - kept_addresses:
                self._give_back(address, owner, revision)
            for port in set(_node_ports(old)) - kept_ports:
                self._give_port_back(port, owner, revision)
        if new is not None:
            owner = key_of(new)
            for address in kept_addresses:
                self._pool_of(address).take(address, owner)
            for port in kept_ports:
                self._ports.take(port, owner)
            if self._address_claims is not None:
                self._address_claims.changed(new)

    def _ranges_changed(self, old: Object | None, new: Object | None) -> None:
        """Ranges that are being deleted are given out from no longer."""
        assert self._reader is not None
        ready = [each for each in self._reader.list(CIDRS) if is_ready(each)]
        for pool in self._addresses.values():
            pool.extend(cidr for each in ready for cidr in each["spec"].get("cidrs") or ())

    def _pool_of(self, address: str) -> AddressPool:
        return self._addresses.get(family_of(address)) or self._addresses[self._default_family]


def is_ready(cidr: Object) -> bool:
    """A ServiceCIDR from which addresses may be given out."""
    condition: Object = next(
        (c for c in (cidr.get("status") or {}).get("conditions") or () if c.get("type") == "Ready"), {}
    )
    return condition.get("status") == "True" and not cidr["metadata"].get("deletionTimestamp")


def _node_ports(obj: Object) -> list[int]:
    spec = obj["spec"]
    found = [p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")]
    return [*found, spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else found


def _keeps_preference(obj: Object, old: Object | None) -> bool:
    """A PreferDualStack service is not changed because the cluster's families did."""
    if old is None or old["spec"].get("type") == "ExternalName":
        return False
    spec, before = obj["spec"], old["spec"]
    if before.get("ipFamilyPolicy") != "PreferDualStack" or spec.get("ipFamilyPolicy") != "PreferDualStack":
        return False
    return all(not spec.get(key) or spec.get(key) == before.get(key) for key in ("clusterIPs", "ipFamilies"))


def _about_addresses(obj: Object, old: Object | None) -> Iterator[Cause]:
    found = SERVICE.validate(obj) if old is None else SERVICE.validate_update(obj, old)
    return (c for c in found if c.field.startswith(("spec.clusterIP", "spec.ipFamil")))


def _policy_causes(spec: Object, before: Object | None) -> Iterator[Cause]:
    path, policy = "spec.ipFamilyPolicy", spec["ipFamilyPolicy"]
    addresses, families = spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    if before is not None:
        old_addresses, old_families = before.get("clusterIPs") or [], before.get("ipFamilies") or []
        if policy == "SingleStack":
            if addresses == old_addresses and len(addresses) > 1:
                spec["clusterIPs"] = addresses = addresses[:1]
            if families == old_families and len(families) > 1:
                spec["ipFamilies"] = families = families[:1]
        else:
            if 0 < len(addresses) < len(old_addresses):
                text = "must be 'SingleStack' to release the secondary cluster IP"
                yield field.invalid(path, policy, text)
            if 0 < len(families) < len(old_families):
                text = "must be 'SingleStack' to release the secondary IP family"
                yield field.invalid(path, policy, text)
    if policy == "SingleStack":
        choice = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"
        if len(addresses) == 2:
            yield field.invalid(path, policy, f"{choice} cluster IPs are specified")
        if len(families) == 2:
            yield field.invalid(path, policy, f"{choice} IP families are specified")


def _refuse(name: str, causes: Iterator[Cause] | list[Cause]) -> None:
    found = tuple(causes)
    if found:
        raise errors.invalid("Service", name, found)


def _internal(text: str) -> errors.InternalError:
    return errors.InternalError(f"Internal error occurred: {text}", causes=(Cause("", text),))
