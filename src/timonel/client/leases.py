"""Leader election: of several candidates, the one that holds a Lease runs; the others wait for it to lapse.

A candidate watches the Lease, and how long it has not changed by its own clock, as clocks of machines differ: it takes
over as soon as the Lease is given back or has lapsed, without asking in between. A leader that cannot renew for
`renew_deadline` stops its work before anyone else may take over.

Upstream: client-go tools/leaderelection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from timonel.aio.clock import Clock
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import NotFound, StatusError
from timonel.objects.meta import Key, Object, format_micro_time
from timonel.records import dataclass

logger = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases", True)


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds. Upstream's defaults."""

    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0


class Lost(Exception):
    """The Lease could not be renewed in time."""


class LeaderElection:
    """Holds a Lease in the name of `identity`. `lead` runs the work while it is held."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        lease: Key,
        identity: str,
        terms: Terms | None = None,
        jitter: Callable[[], float] = random.random,
        told: Callable[[Object, str], None] = lambda lease, what: None,
    ) -> None:
        """`told` hears of the Lease that this candidate became leader, and that it had to stop."""
        self._told = told
        self._lease_object: Object = {}
        self._transport, self._clock, self._jitter = transport, clock, jitter
        self._lease, self._identity, self._terms = lease, identity, terms or Terms()
        self._seen = ("", 0.0, 0.0)  # the last version, when it was first seen and how long it is good for

    async def lead(
        self, work: Callable[[], Awaitable[None]], waiting: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for the Lease, then run `work`; raises Lost when it is lost, and gives it back in the end.

        `waiting` is called when another holds it.
        """
        while not await self._try():
            waiting()
            await self._chance()
        self._told(self._lease_object, f"{self._identity} became leader")
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                await work()
                renewing.cancel()
        finally:
            await self._release()

    async def _chance(self) -> None:
        """Wait until the Lease may be had: nobody holds it, or it has not changed for as long as it is good for."""
        if self._seen[1] + self._seen[2] <= self._clock.monotonic():
            await self._clock.sleep(self._retry())  # it could be had, but for an error
            return
        changed = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._follow(changed))
            while not changed.is_set():
                left = self._seen[1] + self._seen[2] - self._clock.monotonic()
                if left <= 0:
                    break
                async with asyncio.TaskGroup() as waits:
                    timer = waits.create_task(self._clock.sleep(left))
                    given = waits.create_task(changed.wait())
                    await asyncio.wait({timer, given}, return_when=asyncio.FIRST_COMPLETED)
                    timer.cancel()
                    given.cancel()
            following.cancel()
        # Several may have waited for the same moment.
        await self._clock.sleep(0.1 * self._jitter())

    def _retry(self) -> float:
        return self._terms.retry_period * (1 + 1.2 * self._jitter())

    async def _follow(self, free: asyncio.Event) -> None:
        """Notes every renewal; sets `free` when nobody holds the Lease. Polls while it cannot be watched."""
        while True:
            try:
                await self._follow_once(free)
            except (StatusError, Unreachable) as exc:
                logger.info("Could not watch a lease: %s", exc)
            await self._clock.sleep(self._retry())
            if await self._try():
                free.set()

    async def _follow_once(self, free: asyncio.Event) -> None:
        """By a list first: the version of the Lease itself may lie before what a server that has just begun knows."""
        chosen = f"metadata.name={self._lease.name}"
        listed = await self._transport.list(LEASES, self._lease.namespace, field_selector=chosen)
        if not any(map(_holder, listed.items)):
            free.set()
        for lease in listed.items:
            self._note(lease)
        events = self._transport.watch(
            LEASES, self._lease.namespace, field_selector=chosen, resource_version=listed.resource_version
        )
        async for event in events:
            if event.type == "BOOKMARK":
                continue
            if event.type == "DELETED" or not _holder(event.object):
                free.set()
            else:
                self._note(event.object)

    async def _renew(self) -> None:
        renewed = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._terms.retry_period)
            if await self._try():
                renewed = self._clock.monotonic()
            elif self._clock.monotonic() - renewed >= self._terms.renew_deadline:
                self._told(self._lease_object, f"{self._identity} stopped leading")
                raise Lost(f"lease {self._lease} could not be renewed")

    async def _try(self) -> bool:
        """Acquire or renew; whether the Lease is held now."""
        try:
            return await self._acquire()
        except (StatusError, Unreachable) as exc:
            logger.info("Could not acquire or renew a lease: %s", exc)
            return False

    async def _acquire(self) -> bool:
        now = format_micro_time(self._clock.now())
        try:
            lease = await self._transport.get(LEASES, self._lease)
        except NotFound:
            self._held(await self._transport.create(LEASES, self._new(now), namespace=self._lease.namespace))
            return True
        spec: dict[str, Any] = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._has_lapsed(lease):
            return False
        wanted = {
            **spec,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._terms.lease_duration),
            "renewTime": now,
        }
        if holder != self._identity:
            wanted |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        self._held(await self._transport.update(LEASES, {**lease, "spec": wanted}))
        return True

    def _held(self, lease: Object) -> None:
        self._lease_object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": lease["metadata"],
        }

    def _has_lapsed(self, lease: Object) -> bool:
        self._note(lease)
        return self._clock.monotonic() - self._seen[1] >= self._seen[2]

    def _note(self, lease: Object) -> None:
        """Since when this version of the Lease is known, and how long it is good for."""
        if lease["metadata"]["resourceVersion"] != self._seen[0]:
            length = lease["spec"].get("leaseDurationSeconds") or self._terms.lease_duration
            self._seen = lease["metadata"]["resourceVersion"], self._clock.monotonic(), float(length)

    async def _release(self) -> None:
        try:
            lease = await self._transport.get(LEASES, self._lease)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") == self._identity:
                await self._transport.update(
                    LEASES, {**lease, "spec": {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}}
                )
        except (StatusError, Unreachable) as exc:
            logger.info("Could not give a lease back: %s", exc)

    def _new(self, now: str) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._lease.name, "namespace": self._lease.namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(self._terms.lease_duration),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }


def _holder(lease: Object) -> str:
    return (lease.get("spec") or {}).get("holderIdentity") or ""
