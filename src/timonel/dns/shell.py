"""Keeps the zone in step with Services, EndpointSlices and Namespaces. The zone is built when it is next asked."""

from __future__ import annotations

from timonel.client.informer import InformerFactory
from timonel.dns.records import Zone, build
from timonel.objects.meta import Object


class LiveZone:
    """Call it for the current Zone; a change makes the next call build a new one."""

    def __init__(self, informers: InformerFactory, domain: str) -> None:
        self._domain = domain
        self._services = informers.get("services")
        self._slices = informers.get("endpointslices.discovery.k8s.io")
        self._namespaces = informers.get("namespaces")
        self._zone: Zone | None = None
        for informer in (self._services, self._slices, self._namespaces):
            informer.add_handler(self._changed)

    def __call__(self) -> Zone:
        if self._zone is None:
            self._zone = build(
                self._domain, self._services.list(), self._slices.list(), self._namespaces.list()
            )
        return self._zone

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self._zone = None
