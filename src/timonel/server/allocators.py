"""Cluster addresses and node ports of Services: who has what, and handing out more.

The Services themselves are the record: `follow` rebuilds the books from them and keeps them. An allocation is made
while a write is admitted and taken back by its `undo` when the write does not happen; a deleted Service frees what it
had. Where other servers write to the same store, what the books show as free is claimed in the store first (`claims`).

Addresses and ports are handed out in turn from the upper band of their range; the lower band is left to those that ask
for a number of their own. Upstream: pkg/registry/core/service/{ipallocator,portallocator,storage/alloc.go}.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Coroutine, Iterator
from functools import partial
from typing import Any

from timonel.apis.core import servicerules as servicelib
from timonel.apis.core.service import SERVICE
from timonel.apis.resource import ResourceType
from timonel.machinery import errors, field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Key, Object, key_of
from timonel.server.claims import Claims
from timonel.server.request import AdmissionCall, Operation, Reader

IPV4, IPV6 = "IPv4", "IPv6"
NONE = "None"
_DRY_RUN_PORT = 32768  # dry runs are shown ports beyond this one, as by upstream


class Unavailable(Exception):
    """The asked-for address or port cannot be had; the text goes into a message."""


class Numbers:
    """A range of numbers and their owners. Knows no addresses and no ports, only ints."""

    def __init__(self, first: int, last: int, reserved: int) -> None:
        self.first, self.last = first, last
        self._dynamic = min(first + reserved, last)  # the lower band ends here
        self._next = self._dynamic
        self._owners: dict[int, Key] = {}

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def owner(self, number: int) -> Key | None:
        return self._owners.get(number)

    def take(self, number: int, owner: Key) -> None:
        self._owners[number] = owner

    def release(self, number: int, owner: Key) -> None:
        if self._owners.get(number) == owner:
            del self._owners[number]

    def next_free(self, taken: Collection[int] = ()) -> int:
        """A free number, the upper band first; raises Unavailable."""
        for low, high, start in (
            (self._dynamic, self.last, self._next),
            (self.first, self._dynamic - 1, self.first),
        ):
            size = high - low + 1
            for step in range(max(size, 0)):
                number = low + (start - low + step) % size
                if number not in self._owners and number not in taken:
                    if low == self._dynamic:
                        self._next = number + 1 if number < self.last else low
                    return number
        raise Unavailable("range is full")


class AddressRange:
    """One family's range of cluster addresses."""

    def __init__(self, cidr: str) -> None:
        network = ipaddress.ip_network(cidr)
        self.family = IPV4 if network.version == 4 else IPV6
        size = network.num_addresses
        first, last = int(network.network_address) + 1, int(network.broadcast_address)
        self._numbers = Numbers(
            first, last - 1 if self.family == IPV4 else last, min(max(16, size // 16), 256) - 1
        )
        self._make: Callable[[int], object] = (
            ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
        )

    def check(self, address: str, *, dry_run: bool) -> None:
        """As upstream, a dry run does not look whether the address is free."""
        number = int(ipaddress.ip_address(address))
        if number not in self._numbers:
            raise Unavailable("the provided network does not match the current range")
        if self._numbers.owner(number) is not None and not dry_run:
            raise Unavailable("provided IP is already allocated")

    def next_free(self, taken: Collection[int] = ()) -> str:
        return str(self._make(self._numbers.next_free(taken)))

    def take(self, address: str, owner: Key) -> None:
        number = int(ipaddress.ip_address(address))
        if number in self._numbers:
            self._numbers.take(number, owner)

    def release(self, address: str, owner: Key) -> None:
        self._numbers.release(int(ipaddress.ip_address(address)), owner)


class PortRange:
    def __init__(self, first: int = 30000, last: int = 32767) -> None:
        size = last - first + 1
        self._numbers = Numbers(first, last, min(max(16, size // 32), 128) if size > 32 else 0)

    def check(self, port: int, *, dry_run: bool) -> None:
        """As upstream, a dry run does not look whether the port is in the range."""
        if port not in self._numbers and not dry_run:
            valid = f"{self._numbers.first}-{self._numbers.last}"
            raise Unavailable(f"provided port is not in the valid range. The range of valid ports is {valid}")
        if self._numbers.owner(port) is not None:
            raise Unavailable("provided port is already allocated")

    def next_free(self, taken: set[int]) -> int:
        return self._numbers.next_free(taken)

    def take(self, port: int, owner: Key) -> None:
        if port in self._numbers:
            self._numbers.take(port, owner)

    def release(self, port: int, owner: Key) -> None:
        self._numbers.release(port, owner)


class ServiceAllocators:
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
        ranges = [AddressRange(cidr) for cidr in address_ranges]
        self._addresses = {each.family: each for each in ranges}
        self._default_family = ranges[0].family
        self._ports = ports or PortRange()
        self._reader: Reader | None = None
        self._address_claims = claims("addresses", self._has_address) if claims is not None else None
        self._port_claims = claims("nodeports", self._has_port) if claims is not None else None

    def follow(self, reader: Reader) -> None:
        self._reader = reader
        reader.on_change("services", self._changed)

    def background(self) -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside: nothing, where this is the only server."""
        for claims in (self._address_claims, self._port_claims):
            if claims is not None:
                yield claims.run

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

    async def validate(self, call: AdmissionCall) -> None:
        """Nothing: see admit."""

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
        others: set[int] = set()  # claimed by other servers
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
            number = int(ipaddress.ip_address(address))
            addresses.take(address, owner)  # before anything is awaited: this server's own calls come second
            try:
                claimed = self._address_claims is None or await self._address_claims.take(number, owner)
            except BaseException:
                addresses.release(address, owner)
                raise
            if claimed:
                call.undo.append(partial(addresses.release, address, owner))
                return address
            addresses.release(address, owner)
            others.add(number)

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
            claimed = self._port_claims is None or await self._port_claims.take(port, owner)
        except BaseException:
            self._ports.release(port, owner)
            raise
        if claimed:
            call.undo.append(lambda: self._ports.release(port, owner))
        else:
            self._ports.release(port, owner)
        return claimed

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

    def _has_address(self, number: int, owner: Key) -> bool:
        found = self._service(owner)
        return found is not None and number in (int(ipaddress.ip_address(a)) for a in _addresses(found))

    def _has_port(self, number: int, owner: Key) -> bool:
        found = self._service(owner)
        return found is not None and number in _node_ports(found)

    def _service(self, owner: Key) -> Object | None:
        return self._reader.get("services", owner.namespace, owner.name) if self._reader is not None else None

    def _changed(self, old: Object | None, new: Object | None) -> None:
        kept_addresses = set(_addresses(new)) if new is not None else set()
        kept_ports = set(_node_ports(new)) if new is not None else set()
        if old is not None:
            owner = key_of(old)
            revision = int(old["metadata"].get("resourceVersion") or 0)
            for address in set(_addresses(old)) - kept_addresses:
                self._range_of(address).release(address, owner)
                if self._address_claims is not None:
                    self._address_claims.given_back(int(ipaddress.ip_address(address)), revision)
            for port in set(_node_ports(old)) - kept_ports:
                self._ports.release(port, owner)
                if self._port_claims is not None:
                    self._port_claims.given_back(port, revision)
        if new is not None:
            owner = key_of(new)
            for address in kept_addresses:
                self._range_of(address).take(address, owner)
            for port in kept_ports:
                self._ports.take(port, owner)

    def _range_of(self, address: str) -> AddressRange:
        family = IPV6 if ":" in address else IPV4
        return self._addresses.get(family) or self._addresses[self._default_family]


def _addresses(obj: Object) -> list[str]:
    return [a for a in obj["spec"].get("clusterIPs") or () if a and a != NONE]


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
