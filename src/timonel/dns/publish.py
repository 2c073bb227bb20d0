"""Makes a node's DNS server an endpoint of the Service kube-dns, by an EndpointSlice of its own."""

from __future__ import annotations

import asyncio
import logging

from timonel.aio.clock import Clock
from timonel.client.rest import Client
from timonel.client.transport import Unreachable
from timonel.machinery.errors import StatusError
from timonel.objects.meta import Key, Object, key_of

logger = logging.getLogger(__name__)

SLICES = "endpointslices.discovery.k8s.io"
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds


def endpoint_slice(*, service: Key, node: str, address: str, port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.name}-{node}",
            "namespace": service.namespace,
            "labels": {
                "kubernetes.io/service-name": service.name,
                "endpointslice.kubernetes.io/managed-by": "dns.timonel.dev",
            },
        },
        "addressType": "IPv4",
        "ports": [
            {"name": "dns", "protocol": "UDP", "port": port},
            {"name": "dns-tcp", "protocol": "TCP", "port": port},
        ],
        "endpoints": [{"addresses": [address], "nodeName": node, "conditions": {"ready": True}}],
    }


class Publisher:
    """A lifecycle Service: ready once the slice is as it should be; an unreachable server is asked again."""

    name = "dns publisher"

    def __init__(self, client: Client, wanted: Object, clock: Clock) -> None:
        self._client, self._wanted, self._clock = client, wanted, clock

    async def run(self, ready: asyncio.Event) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._put()
            except (Unreachable, StatusError) as exc:
                logger.info("Could not publish the DNS server yet: %s", exc)
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            ready.set()
            await asyncio.Event().wait()

    async def _put(self) -> None:
        found = await self._client.find(SLICES, key_of(self._wanted))
        if found is None:
            await self._client.create(SLICES, self._wanted)
        elif any(found.get(part) != self._wanted[part] for part in ("endpoints", "ports")):
            metadata = {**found["metadata"], "labels": self._wanted["metadata"]["labels"]}
            await self._client.update(SLICES, {**self._wanted, "metadata": metadata})
