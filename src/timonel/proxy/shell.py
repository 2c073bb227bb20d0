"""Keeps the kernel's rules in step with Services and EndpointSlices.

A change marks its Service; what is marked is worked out again and applied as one transaction. While a transaction
runs, further changes gather, so a burst costs few transactions and a quiet cluster none. A refused transaction starts
over with the whole table, after a pause: the kernel's state is unknown then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from timonel.aio.clock import Clock
from timonel.client.informer import Informer, InformerFactory
from timonel.objects.meta import Key, Object, key_of
from timonel.proxy import ruleset
from timonel.proxy.apply import NftError, run_nft
from timonel.proxy.model import SERVICE_NAME_LABEL, Routing, ServicePort, service_ports

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 5.0  # seconds


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
        apply: Callable[[str], Awaitable[None]] = run_nft,
    ) -> None:
        self._services: Informer = informers.get("services")
        self._slices: Informer = informers.get("endpointslices.discovery.k8s.io")
        self._network, self._node, self._clock, self._apply = network, node, clock, apply
        self._changed = asyncio.Event()
        self._dirty: set[Key] = set()
        self._wanted: dict[Key, tuple[ServicePort, ...]] = {}
        self._slices_of: dict[Key, dict[Key, Object]] = {}
        self.applied = Routing({})

    async def run(self, ready: asyncio.Event) -> None:
        await self._services.synced.wait()
        await self._slices.synced.wait()
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        fresh = True
        while True:
            self._changed.clear()
            try:
                if fresh:
                    self.applied = Routing({})
                    await self._apply(ruleset.base(self._network))
                    fresh = False
                await self._sync()
                ready.set()
            except NftError as exc:
                logger.error("Rules were refused, starting over in %s s: %s", RETRY_INTERVAL, exc)
                fresh = True
                await self._clock.sleep(RETRY_INTERVAL)
                continue
            await self._changed.wait()

    async def _sync(self) -> None:
        for key in self._dirty:
            service = self._services.get(key)
            if service is None:
                self._wanted.pop(key, None)
            else:
                mine = list(self._slices_of.get(key, {}).values())
                self._wanted[key] = tuple(service_ports(service, mine, self._node))
        self._dirty.clear()
        wanted = Routing({port.id: port for ports in self._wanted.values() for port in ports})
        transaction = ruleset.update(self._network, self.applied, wanted)
        if transaction:
            await self._apply(transaction)
        self.applied = wanted

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        self._mark(key_of(obj))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for obj, gone in ((old, True), (new, False)):
            if obj is None or obj.get("addressType") != "IPv4":
                continue
            owner = (obj["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
            if not owner:
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
