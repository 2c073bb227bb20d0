"""Keeps the kernel's rules in step with Services and EndpointSlices.

A change marks its Service; what is marked is worked out again and applied as one transaction. While a transaction
runs, further changes gather, so a burst costs few transactions and a quiet cluster none. A refused transaction starts
over with the whole tables, after a pause: the kernel's state is unknown then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from timonel.aio.clock import Clock
from timonel.client.informer import Informer, InformerFactory
from timonel.netfilter.elements import Changes
from timonel.netfilter.kernel import Kernel, NftError
from timonel.objects.meta import Key, Object, key_of
from timonel.proxy import conntrack, ruleset
from timonel.proxy.elements import Elements
from timonel.proxy.health import HealthServers
from timonel.proxy.model import (
    SERVICE_NAME_LABEL,
    ZONE_LABEL,
    HealthPort,
    Place,
    ServicePort,
    health_port,
    service_ports,
)

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 5.0  # seconds


class Rules(Protocol):
    """Where rules go: the kernel, or a stand-in."""

    async def rules(self, text: str) -> None: ...

    async def elements(self, table: str, changes: Changes) -> None: ...

    async def blocking(self, work: Callable[[], int]) -> int: ...

    def watch(self, table: str, gone: Callable[[], None]) -> None: ...

    def close(self) -> None: ...


class Proxy:
    """A lifecycle Service; ready once the rules of the first picture are in the kernel."""

    name = "proxy"

    def __init__(
        self,
        *,
        informers: InformerFactory,
        network: ruleset.Network,
        node: str,
        clock: Clock,
        kernel: Rules | None = None,
    ) -> None:
        self._services: Informer = informers.get("services")
        self._slices: Informer = informers.get("endpointslices.discovery.k8s.io")
        self._nodes: Informer = informers.metadata("nodes")
        self._network, self._place, self._clock = network, Place(node), clock
        self._kernel: Rules = kernel or Kernel()
        self._changed = asyncio.Event()
        self._dirty: set[Key] = set()
        self._ports: dict[Key, dict[str, ServicePort]] = {}
        self._slices_of: dict[Key, dict[Key, Object]] = {}
        self._health: dict[Key, HealthPort] = {}
        self._elements = Elements()
        self._moved: dict[str, ServicePort] = {}  # UDP ports with other targets than before
        self._lost = False  # the table is gone, and not by us
        self.healthy = False  # whether the kernel has what it should have

    async def run(self, ready: asyncio.Event) -> None:
        for informer in (self._services, self._slices, self._nodes):
            await informer.synced.wait()
        self._nodes.add_handler(self._node_changed)
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        servers = HealthServers(lambda: self.healthy)
        try:
            await self._keep(ready, servers)
        finally:
            servers.close()
            self._kernel.close()

    async def _keep(self, ready: asyncio.Event, servers: HealthServers) -> None:
        fresh = True
        self._kernel.watch(self._network.table, self._removed)
        while True:
            self._changed.clear()
            if self._lost:
                logger.warning("Somebody removed table %s, making it anew", self._network.table)
                fresh, self._lost = True, False
            try:
                if fresh:
                    await self._start_over()
                    fresh = False
                await self._sync()
                self.healthy = True
                ready.set()
            except NftError as exc:
                self.healthy = False
                logger.error("Rules were refused, starting over in %s s: %s", RETRY_INTERVAL, exc)
                fresh = True
                await self._clock.sleep(RETRY_INTERVAL)
                continue
            await servers.update({port.port: port for port in self._health.values()})
            await self._forget_flows()
            await self._changed.wait()

    def _removed(self) -> None:
        self._lost = True
        self._changed.set()

    async def _start_over(self) -> None:
        await self._kernel.rules(ruleset.base(self._network))
        self._elements = Elements()
        for ports in self._ports.values():
            for port in ports.values():
                self._elements.put(port)

    async def _sync(self) -> None:
        for key in self._dirty:
            self._work_out(key)
        self._dirty.clear()
        changes, kinds = self._elements.take()
        if kinds:
            await self._kernel.rules(ruleset.chains(self._network, kinds))
        if changes:
            await self._kernel.elements(self._network.table, changes)

    def _work_out(self, key: Key) -> None:
        service, old = self._services.get(key), self._ports.get(key, {})
        mine = list(self._slices_of.get(key, {}).values())
        new: dict[str, ServicePort] = {}
        health = None
        if service is not None:
            new = {port.id: port for port in service_ports(service, mine, self._place, old)}
            health = health_port(service, mine, self._place.node)
        for id_ in old.keys() - new.keys():
            self._elements.drop(id_)
        for id_, port in new.items():
            if old.get(id_) != port:
                self._elements.put(port)
        self._moved.update({i: p for i, p in new.items() if p.protocol == "udp" and old.get(i) != p})
        self._ports.pop(key, None)
        self._health.pop(key, None)
        if new:
            self._ports[key] = new
        if health is not None:
            self._health[key] = health

    async def _forget_flows(self) -> None:
        moved, self._moved = self._moved, {}
        if not moved:
            return
        leads = conntrack.wanted(moved.values())
        try:
            count = await self._kernel.blocking(lambda: conntrack.forget_stale(leads))
        except NftError as exc:
            logger.warning("Stale UDP flows may stay: %s", exc)
        else:
            if count:
                logger.info("Forgot %s stale UDP flows", count)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or new["metadata"]["name"] != self._place.node:
            return
        zone = (new["metadata"].get("labels") or {}).get(ZONE_LABEL, "")
        if zone != self._place.zone:
            self._place = Place(self._place.node, zone)
            for key in [*self._ports, *self._slices_of]:
                self._mark(key)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        self._mark(key_of(obj))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for obj, gone in ((old, True), (new, False)):
            owner = obj and (obj["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
            if obj is None or not owner:
                continue
            service, slice_ = Key(obj["metadata"]["namespace"], owner), key_of(obj)
            known = self._slices_of.setdefault(service, {})
            if gone:
                known.pop(slice_, None)
            else:
                known[slice_] = obj
            if not known:
                del self._slices_of[service]
            self._mark(service)

    def _mark(self, service: Key) -> None:
        self._dirty.add(service)
        self._changed.set()
