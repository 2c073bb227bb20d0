"""IPAddress objects of Services: the claim on a cluster address, which everybody can read and only one can have.

An IPAddress is made before the Service that uses it, and is removed when the Service has given the address back. One
that was left behind is taken over: at once by who knows that its Service has had the address and gave it back since, or
after a while by anybody who sees that the Service does not have it (the server that made the claim died before it wrote
the Service). What others made, to keep an address for themselves, is theirs for good.

`repair` sets right what does not belong together, at the start and now and then: addresses in use that nobody claimed,
claims that nobody uses.

Upstream: pkg/registry/core/service/ipallocator/ipallocator.go, .../controller/repairip.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from timonel.aio.clock import Clock, upkeep
from timonel.machinery import errors
from timonel.objects.meta import Key, Object, key_of
from timonel.server.ranges import family_of
from timonel.server.request import Objects, Reader, User
from timonel.server.servicefindings import (
    ADDRESS_REPAIR,
    ALLOCATOR,
    FAMILY,
    MANAGED_BY,
    Finding,
    Notes,
    about_addresses,
    about_claim,
    addresses_of,
    holder_of,
    is_labelled,
)
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

RESOURCE = "ipaddresses.networking.k8s.io"
SERVER = User("system:apiserver", ("system:masters",))
ABANDONED_AFTER = 90.0  # seconds: no write takes longer than a request may
REPAIR_EVERY = 180.0  # as upstream
ATTEMPTS = 5


def ip_address(address: str, owner: Key) -> Object:
    labels = {FAMILY: family_of(address), MANAGED_BY: ALLOCATOR}
    parent = {"resource": "services", "namespace": owner.namespace, "name": owner.name}
    return {"metadata": {"name": address, "labels": labels}, "spec": {"parentRef": parent}}


class AddressClaims:
    """`in_use(address)` says for whom this server has an address in its books, Services being written included."""

    def __init__(
        self,
        objects: Objects,
        reader: Reader,
        clock: Clock,
        in_use: Callable[[str], Key | None],
        in_range: Callable[[str], bool] = lambda address: True,
        *,
        shared: bool,
    ) -> None:
        """`in_range(address)`: whether it is of a range of the cluster. `shared`: other servers claim, too."""
        self._in_range = in_range
        self._service_notes = Notes(objects, clock, ADDRESS_REPAIR, "ClusterIPAllocation")
        self._claim_notes = Notes(objects, clock, ADDRESS_REPAIR, "IPAddressAllocation")
        self._objects, self._reader, self._clock, self._in_use = objects, reader, clock, in_use
        self._patience = ABANDONED_AFTER if shared else 0.0
        self._given_back: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._last_use: dict[str, int] = {}  # address -> revision at which its last owner still had it
        self._unused: dict[
            str, tuple[str, float]
        ] = {}  # address -> uid of a claim, since when it is seen unused
        self._broken = asyncio.Event()
        self._broken.set()  # nobody knows what was before the start
        reader.on_change(RESOURCE, self._claim_changed)

    # ---- for who gives out addresses

    async def take(self, address: str, owner: Key) -> int:
        """The revision of the claim, if the address is the owner's from now on; else 0."""
        wanted = ip_address(address, owner)
        for _ in range(ATTEMPTS):
            try:
                made = await self._objects.create(RESOURCE, wanted)
                return int(made["metadata"]["resourceVersion"])
            except errors.AlreadyExists:
                pass
            try:
                found = await self._objects.get(RESOURCE, "", address)
            except errors.NotFound:
                continue
            if holder_of(found) == owner and self._has(address, owner):
                return int(found["metadata"]["resourceVersion"])
            if not self._is_free(address, owner, found):
                return 0
            await self._remove(found)
        return 0

    def given_back(self, address: str, revision: int) -> None:
        """Its owner had it at this revision, and has it no longer."""
        self._last_use[address] = revision
        self._given_back.put_nowait((address, revision))

    def changed(self, service: Object) -> None:
        """A Service is there: should a claim of its be missing, it is made."""
        if any(self._reader.get(RESOURCE, "", address) is None for address in addresses_of(service)):
            self._broken.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._remove_given_back())
            group.create_task(self._repair_often())

    # ---- whose

    def _is_free(self, address: str, owner: Key, claim: Object) -> bool:
        holder = holder_of(claim)
        if holder is None or self._has(address, holder):
            return False
        if holder == owner or int(claim["metadata"]["resourceVersion"]) <= self._last_use.get(address, 0):
            return True
        return self._unused_for(claim) >= self._patience

    def _has(self, address: str, holder: Key) -> bool:
        service = self._reader.get("services", holder.namespace, holder.name)
        return service is not None and address in addresses_of(service)

    def _unused_for(self, claim: Object) -> float:
        """Seconds, by our own clock, since this claim was first seen without a Service."""
        address, uid, now = claim["metadata"]["name"], claim["metadata"]["uid"], self._clock.monotonic()
        seen, since = self._unused.get(address, ("", now))
        if seen != uid:
            since = now
        self._unused[address] = (uid, since)
        return now - since

    # ---- removal and repair

    async def _remove(self, claim: Object) -> None:
        metadata = claim["metadata"]
        options: Object = {"preconditions": {"uid": metadata["uid"]}}
        try:
            await self._objects.delete(RESOURCE, "", metadata["name"], options=options, user=SERVER)
        except (errors.NotFound, errors.Conflict):  # somebody was faster
            logger.debug("A claim was gone already", extra={"address": metadata["name"]})
        self._unused.pop(metadata["name"], None)

    async def _remove_given_back(self) -> None:
        while True:
            address, revision = await self._given_back.get()
            try:
                found = await self._objects.get(RESOURCE, "", address)
                if self._is_left(address, found, revision):
                    await self._remove(found)
            except errors.NotFound:
                continue
            except (errors.StatusError, StoreError) as error:  # the next repair does it
                logger.debug("A claim was not removed", extra={"address": address, "error": str(error)})

    def _is_left(self, address: str, claim: Object, revision: int) -> bool:
        """A claim that was made later is somebody's who is about to use it, if only of another server."""
        holder = holder_of(claim)
        if holder is None or self._has(address, holder):
            return False
        is_old = int(claim["metadata"]["resourceVersion"]) <= revision
        return is_old or (not self._patience and self._in_use(address) is None)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            holder = holder_of(old)
            if holder is not None and self._has(old["metadata"]["name"], holder):
                self._broken.set()

    async def _repair_often(self) -> None:
        while True:
            timer = upkeep(self._clock).call_later(REPAIR_EVERY, self._broken.set)
            await self._broken.wait()
            timer.cancel()
            self._broken.clear()
            try:
                await self.repair()
            except* (errors.StatusError, StoreError) as failures:
                logger.warning("Could not repair the IPAddresses of Services: %s", failures.exceptions[0])

    async def repair(self) -> None:
        """What is wrong is told, and mended where that is possible."""
        services = self._reader.list("services")
        found = [finding for service in services for finding in self._about(service)]
        found = [finding for finding in found if await self._is_true(finding)]
        left = [claim for claim in self._abandoned() if is_labelled(claim)]
        await self._service_notes.tell(found)
        await self._claim_notes.tell(
            f for f in (about_claim(c, self._service) for c in left) if f is not None
        )
        async with asyncio.TaskGroup() as group:
            for finding in found:
                if finding.mend:
                    group.create_task(self._claim(finding.mend, key_of(finding.about)))
            for claim in left:
                group.create_task(self._remove(claim))

    def _about(self, service: Object) -> Iterator[Finding]:
        return about_addresses(
            service,
            in_range=self._in_range,
            claim_of=lambda address: self._reader.get(RESOURCE, "", address),
            service_at=self._service,
        )

    def _service(self, key: Key) -> Object | None:
        return self._reader.get("services", key.namespace, key.name)

    async def _is_true(self, finding: Finding) -> bool:
        """A claim may be there before the cache shows it."""
        if not finding.mend:
            return True
        try:
            there = await self._objects.get(RESOURCE, "", finding.mend)
        except errors.NotFound:
            return True
        return holder_of(there) != key_of(finding.about)

    async def _claim(self, address: str, owner: Key) -> None:
        """Upstream, too, takes what a Service has back from who claims it for something else."""
        claim = self._reader.get(RESOURCE, "", address)
        if claim is not None and holder_of(claim) != owner:
            await self._remove(claim)
        if not await self.take(address, owner):
            where = {"address": address, "service": f"{owner.namespace}/{owner.name}"}
            logger.warning("The address of a Service is claimed for something else", extra=where)

    def _abandoned(self) -> Iterator[Object]:
        for claim in self._reader.list(RESOURCE):
            holder = holder_of(claim)
            name = claim["metadata"]["name"]
            if holder is None or self._has(name, holder) or self._in_use(name) is not None:
                self._unused.pop(name, None)
            elif self._unused_for(claim) >= self._patience:
                yield claim
