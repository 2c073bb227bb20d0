"""Several API servers of one cluster: each says that it is there, and `kubernetes.default` leads to all that are.

A server keeps a Lease in kube-system that names its address, and renews it. Whose lease has not changed for a while, by
the clock of the one who looks (steps of a wall clock do not matter), is left out of the endpoints; after an hour
its lease is removed.

Upstream: pkg/controlplane/controller/apiserverleasegc, apiserver identity (KEP-1965), pkg/controlplane/reconcilers.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.objects.meta import Object, annotations_of, format_micro_time
from timonel.server.request import Objects, Reader, User
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

RENEW_EVERY = 10.0
STARTING = 0.05
GONE_AFTER = 30.0  # seconds without a renewal after which a server is not led to
FORGOTTEN_AFTER = 3600.0
NAMESPACE = "kube-system"
LABEL = "apiserver.kubernetes.io/identity"
ADDRESS = "timonel.dev/apiserver-address"
LEASES = "leases.coordination.k8s.io"
SLICES = "endpointslices.discovery.k8s.io"
SELF = User("system:apiserver", ("system:masters",))


@dataclass(frozen=True, slots=True, order=True)
class Address:
    ip: str
    port: int


def subsets(addresses: Iterable[Address]) -> list[Object]:
    """Of the Endpoints; one for each port."""
    by_port: dict[int, list[str]] = {}
    for each in sorted(addresses):
        by_port.setdefault(each.port, []).append(each.ip)
    return [
        {
            "addresses": [{"ip": ip} for ip in ips],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        for port, ips in sorted(by_port.items())
    ]


def slice_of(addresses: Iterable[Address]) -> tuple[list[Object], list[Object]]:
    """Endpoints and ports of the slice, which has one port: that of the first server."""
    found = sorted(addresses)
    port = found[0].port
    endpoints = [{"addresses": [a.ip], "conditions": {"ready": True}} for a in found if a.port == port]
    return endpoints, [{"name": "https", "port": port, "protocol": "TCP"}]


class Peers:
    def __init__(self, objects: Objects, reader: Reader, clock: Clock) -> None:
        self._objects, self._reader, self._clock = objects, reader, clock
        self._seen: dict[str, tuple[str, float]] = {}  # lease -> its version, and when it was first seen
        reader.on_change(LEASES, self._noticed)
        for resource in ("endpoints", SLICES):
            reader.on_change(resource, lambda old, new: None)

    def _noticed(self, old: Object | None, new: Object | None) -> None:
        lease = new or old
        assert lease is not None
        metadata = lease["metadata"]
        if metadata.get("namespace") != NAMESPACE or LABEL not in (metadata.get("labels") or {}):
            return
        if new is None:
            self._seen.pop(metadata["name"], None)
        else:
            self._seen[metadata["name"]] = (metadata["resourceVersion"], self._clock.monotonic())

    async def run(self, where: Callable[[], Address]) -> None:
        """For as long as the server runs; `where` it listens is known a moment after it began."""
        while not (me := where()).port:
            await self._clock.sleep(STARTING)
        name = f"apiserver-{uuid.uuid5(uuid.NAMESPACE_URL, f'https://{me.ip}:{me.port}').hex[:26]}"
        while True:
            try:
                await self._renew(name, me)
                await self._lead_to({*self._alive(), me})
                await self._forget()
            except (errors.StatusError, StoreError) as error:
                logger.warning("Could not tell the other servers", extra={"error": str(error)})
            await self._clock.sleep(RENEW_EVERY)

    async def _renew(self, name: str, me: Address) -> None:
        now = format_micro_time(self._clock.now())

        def renewed(lease: Object) -> None:
            lease["spec"]["renewTime"] = now

        if self._reader.get(LEASES, NAMESPACE, name) is not None:
            await self._objects.change(LEASES, NAMESPACE, name, renewed)
            return
        lease = {
            "metadata": {
                "name": name,
                "labels": {LABEL: "kube-apiserver"},
                "annotations": {ADDRESS: f"{me.ip} {me.port}"},
            },
            "spec": {
                "holderIdentity": f"{name}_{uuid.uuid4()}",
                "leaseDurationSeconds": int(FORGOTTEN_AFTER),
                "renewTime": now,
            },
        }
        await self._objects.create(LEASES, lease, namespace=NAMESPACE)

    def _alive(self) -> Iterable[Address]:
        now = self._clock.monotonic()
        for name, (_, seen) in self._seen.items():
            lease = self._reader.get(LEASES, NAMESPACE, name)
            if lease is not None and now - seen <= GONE_AFTER:
                ip, _, port = annotations_of(lease).get(ADDRESS, "").partition(" ")
                if ip and port.isdecimal():
                    yield Address(ip, int(port))

    async def _lead_to(self, addresses: set[Address]) -> None:
        endpoints, ports = slice_of(addresses)
        both: tuple[tuple[str, Object], ...] = (
            ("endpoints", {"subsets": subsets(addresses)}),
            (SLICES, {"endpoints": endpoints, "ports": ports}),
        )
        for resource, wanted in both:
            found = self._reader.get(resource, "default", "kubernetes")
            if found is None or all(found.get(key) == value for key, value in wanted.items()):
                continue
            await self._objects.change(resource, "default", "kubernetes", _with(wanted))

    async def _forget(self) -> None:
        now = self._clock.monotonic()
        for name, (_, seen) in list(self._seen.items()):
            if now - seen > FORGOTTEN_AFTER:
                await self._objects.delete(LEASES, NAMESPACE, name, options={}, user=SELF)


def _with(fields: Object) -> Callable[[Object], None]:
    return lambda obj: obj.update(fields)
