"""Keeps the zone in step with Services, EndpointSlices and Namespaces, and the settings with their ConfigMap.

A change costs what it changes: the entry of one Service is worked out again when the zone is next asked for. Each
change makes a new `Zone`, which keeps the answers that were given from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from timonel.aio.clock import Clock
from timonel.client.informer import Index, Informer, InformerFactory
from timonel.client.transport import Transport
from timonel.dns.forward import Forwarder
from timonel.dns.records import SERVICE_NAME_LABEL, Entry, Zone, entry_of, reversed_names
from timonel.dns.settings import Upstream, forwarding
from timonel.objects.meta import Key, Object, key_of

logger = logging.getLogger(__name__)

SETTINGS = Key("kube-system", "kube-dns")  # a ConfigMap


class LiveZone:
    """Call it for the current Zone."""

    def __init__(self, informers: InformerFactory, domain: str) -> None:
        self._domain = domain
        self._services = informers.get("services")
        self._slices_of: dict[Key, dict[Key, Object]] = {}
        self._dirty: set[Key] = set()
        self._entries: dict[Key, Entry] = {}
        self._reverse: dict[str, tuple[str, ...]] = {}
        self._namespaces: set[str] = set()
        self._zone: Zone | None = None
        self._services.add_handler(self._service_changed)
        informers.get("endpointslices.discovery.k8s.io").add_handler(self._slice_changed)
        informers.get("namespaces").add_handler(self._namespace_changed)

    def __call__(self) -> Zone:
        if self._zone is None:
            for key in self._dirty:
                self._work_out(key)
            self._dirty.clear()
            self._zone = Zone(self._domain, self._entries, self._namespaces, self._reverse)
        return self._zone

    def _work_out(self, key: Key) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            for ip, name in reversed_names(self._domain, old):
                rest = tuple(n for n in self._reverse.get(ip, ()) if n != name)
                if rest:
                    self._reverse[ip] = rest
                else:
                    self._reverse.pop(ip, None)
        service = self._services.get(key)
        if service is None:
            return
        entry = self._entries[key] = entry_of(service, list(self._slices_of.get(key, {}).values()))
        for ip, name in reversed_names(self._domain, entry):
            self._reverse[ip] = (*self._reverse.get(ip, ()), name)

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        self._zone = None

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        self._mark(key_of(obj))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for obj, gone in ((old, True), (new, False)):
            owner = obj and (obj["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
            if obj is None or not owner:
                continue
            service = Key(obj["metadata"]["namespace"], owner)
            known = self._slices_of.setdefault(service, {})
            if gone:
                known.pop(key_of(obj), None)
            else:
                known[key_of(obj)] = obj
            if not known:
                del self._slices_of[service]
            self._mark(service)

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._namespaces.discard(old["metadata"]["name"])
        if new is not None:
            self._namespaces.add(new["metadata"]["name"])
        self._zone = None


class Settings:
    """A lifecycle Service: gives the forwarder what the ConfigMap says, now and whenever it changes."""

    name = "dns settings"

    def __init__(
        self,
        transport: Transport,
        index: Index,
        clock: Clock,
        *,
        forwarder: Forwarder,
        own: Sequence[str] = (),
    ) -> None:
        self._informer = Informer(
            transport,
            index.resource("configmaps"),
            clock,
            namespace=SETTINGS.namespace,
            field_selector=f"metadata.name={SETTINGS.name}",
        )
        self._forwarder, self._own = forwarder, own
        self._default: tuple[Upstream, ...] = forwarder.settings.upstreams

    async def run(self, ready: asyncio.Event) -> None:
        self._informer.add_handler(self._changed)
        await self._informer.run(ready)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        data = (new or {}).get("data") or {}
        self._forwarder.settings, problems = forwarding(data, self._default, self._own)
        for problem in problems:
            logger.error("ConfigMap %s/%s: %s", SETTINGS.namespace, SETTINGS.name, problem)
