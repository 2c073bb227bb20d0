"""ComponentStatuses: what the parts of the control plane say of themselves, worked out when somebody asks.

They are not stored, so they have no revision, neither one by one nor as a list. A component is asked itself where it
runs in this process (`ComponentStatuses.here`); one that runs elsewhere is healthy while it renews its Lease.

Upstream: pkg/registry/core/componentstatus/rest.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import orjson

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.objects.meta import Object, parse_time
from timonel.server import health
from timonel.server.request import Objects
from timonel.server.watchcache import Entry, Kind

RESOURCE = "componentstatuses"
LEASES = "leases.coordination.k8s.io"
# of a component: the Lease that its leader holds, in kube-system
LEASE_OF = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}
STORE = "etcd-0"  # whatever the store is: clients look for this name


class Unstored(Entry):
    """An object without a revision."""

    __slots__ = ()

    def __init__(self, kind: Kind, obj: Object) -> None:
        super().__init__(kind, kind.key("", obj["metadata"]["name"]), kind.encode(obj), 0, obj)
        tail = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        self.item = orjson.dumps(tail)


def component(kind: Kind, name: str, problem: str) -> Object:
    condition = {"type": "Healthy", "status": "False" if problem else "True", "message": problem or "ok"}
    return {
        "kind": kind.rtype.kind,
        "apiVersion": kind.rtype.api_version,
        "metadata": {"name": name},
        "conditions": [condition],
    }


def lease_problem(lease: Object, name: str, now: float) -> str:
    """What a component's Lease says about it; nothing while it is renewed."""
    spec = lease.get("spec") or {}
    renewed = parse_time(spec.get("renewTime"))
    if renewed is None or not spec.get("holderIdentity"):
        return f"no {name} has taken the lease kube-system/{name}"
    late = now - renewed - float(spec.get("leaseDurationSeconds") or 0)
    return f"{name} has not renewed the lease kube-system/{name} in time" if late > 0 else ""


class ComponentStatuses:
    """`here` holds the checks of components that run in this process."""

    def __init__(self, objects: Objects, clock: Clock, store: Callable[[], Awaitable[str]]) -> None:
        self.here: dict[str, health.Check] = {}
        self._objects, self._clock, self._store = objects, clock, store

    async def entries(self, kind: Kind) -> Sequence[Entry]:
        return [Unstored(kind, component(kind, name, problem)) for name, problem in await self._problems()]

    async def _problems(self) -> Iterable[tuple[str, str]]:
        found = {name: await self._problem(name) for name in LEASE_OF}
        return sorted({**found, STORE: await health.outcome(self._store)}.items())

    async def _problem(self, name: str) -> str:
        check = self.here.get(name)
        if check is not None:
            return await health.outcome(check)
        try:
            lease = await self._objects.get(LEASES, "kube-system", LEASE_OF[name])
        except errors.NotFound:
            lease = {}
        return lease_problem(lease, LEASE_OF[name], self._clock.now())
