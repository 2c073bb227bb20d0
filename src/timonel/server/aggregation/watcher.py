"""Keeps the Available condition of every APIService: on changes of it, its Service and endpoints, and now and then.

Only APIServices with a Service are looked at again without a change, every `RESYNC` seconds: without any, nothing runs.
A server that cannot be reached is tried again soon, and later and later. `seen` is told what a check found.

Upstream: kube-aggregator/pkg/controllers/status/{local,remote}.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from timonel.aio.clock import Clock, deadline
from timonel.machinery import errors
from timonel.objects.meta import Object, labels_of
from timonel.server.aggregation import availability
from timonel.server.aggregation.availability import Finding
from timonel.server.aggregation.backend import Backends, identity
from timonel.server.aggregation.routes import RESOURCE
from timonel.server.outbound import SLICES, Unresolved
from timonel.server.request import Objects, Reader, User
from timonel.server.subresources.nodes import Unreachable, send
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

RESYNC = 30.0
FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
CHECK_TIMEOUT = 5.0
AGGREGATOR = User("system:kube-aggregator", ("system:masters",))


class Watcher:
    def __init__(
        self,
        reader: Reader,
        objects: Objects,
        backends: Backends,
        clock: Clock,
        seen: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._reader, self._objects, self._backends, self._clock = reader, objects, backends, clock
        self._seen = seen
        self._waiting: set[str] = set()
        self._some = asyncio.Event()
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._told: dict[str, Finding] = {}
        self._due: dict[str, float] = {}  # when to look again

    def follow(self) -> None:
        self._reader.on_change(RESOURCE, self._api_service_changed)
        self._reader.on_change("services", self._service_changed)
        self._reader.on_change(SLICES, self._slice_changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wait()
                ready = self._waiting - self._busy
                self._waiting -= ready
                self._busy |= ready
                for name in ready:
                    group.create_task(self._look(name))

    async def _wait(self) -> None:
        """Until something is to be looked at."""
        while not self._waiting - self._busy:
            self._some.clear()
            timer = None
            if self._due:
                name, at = min(self._due.items(), key=lambda item: item[1])
                left = at - self._clock.monotonic()
                if left <= 0:
                    del self._due[name]
                    self._waiting.add(name)
                    continue
                timer = self._clock.call_later(left, self._some.set)
            try:
                await self._some.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def _look(self, name: str) -> None:
        self._due.pop(name, None)
        again: float | None = None
        try:
            again = await self._checked(name)
        except errors.NotFound:
            self._failures.pop(name, None)
        except (errors.StatusError, StoreError) as e:
            logger.warning("Could not tell whether an APIService is available: %s", e)
            again = LONGEST_RETRY
        finally:
            self._busy.discard(name)
            if again is not None:
                self._due[name] = self._clock.monotonic() + again
            self._some.set()

    async def _checked(self, name: str) -> float | None:
        """Look, and say so; the result is when to look again."""
        api_service = self._reader.get(RESOURCE, "", name)
        if api_service is None:
            raise errors.not_found("apiservices", name, "apiregistration.k8s.io")
        named = availability.service_of(api_service)
        if named is None:
            await self._tell(name, availability.LOCAL)
            return None
        finding = await self._remote(api_service, named)
        await self._tell(name, finding)
        if finding.is_good:
            self._failures.pop(name, None)
            self._seen(name)
            return RESYNC
        if finding.reason != "FailedDiscoveryCheck":
            return RESYNC
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        return float(min(FIRST_RETRY * 2 ** min(failures - 1, 10), LONGEST_RETRY))

    async def _remote(self, api_service: Object, named: tuple[str, str, int]) -> Finding:
        namespace, service, _ = named
        if self._backends.nearby(api_service) is not None:
            return await self._try(api_service)
        found = self._reader.get("services", namespace, service)
        slices = availability.slices_of(self._reader.list(SLICES, namespace), service)
        wrong = availability.problem(api_service, found, slices)
        return wrong if wrong is not None else await self._try(api_service)

    async def _try(self, api_service: Object) -> Finding:
        """Ask for the list of resources, which every server must have. It need not prove who it is for that."""
        try:
            address = self._backends.address(api_service)
        except Unresolved as e:
            return availability.failed_check(str(e))
        spec = api_service["spec"]
        path = f"/apis/{spec['group']}/{spec['version']}" if spec.get("group") else f"/api/{spec['version']}"
        url = f"https://{address.shown}{path}"
        try:
            async with deadline(self._clock, CHECK_TIMEOUT):
                backend = await self._backends.connect(api_service, address, verify=False)
                try:
                    headers = [("Host", address.shown), ("Connection", "close"), *identity(AGGREGATOR)]
                    head = await send(backend, "GET", path, headers)
                finally:
                    backend.close()
        except TimeoutError:
            why = f'Get "{url}": context deadline exceeded'
            return availability.failed_check(f"failing or missing response from {url}: {why}")
        except ValueError as e:  # of certificates
            return availability.failed_check(str(e))
        except Unreachable as e:
            return availability.failed_check(f'failing or missing response from {url}: Get "{url}": {e}')
        if not 200 <= head.status < 300:
            why = f"bad status from {url}: {head.status}"
            return availability.failed_check(f"failing or missing response from {url}: {why}")
        return availability.PASSED

    async def _tell(self, name: str, finding: Finding) -> None:
        now = self._clock.now()
        self._told[name] = finding
        await self._objects.change(
            RESOURCE, "", name, lambda obj: availability.set_condition(obj, finding, now)
        )

    # ---- what has changed

    def _add(self, name: str) -> None:
        self._waiting.add(name)
        self._some.set()

    def _api_service_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._due.pop(old["metadata"]["name"], None)
            self._told.pop(old["metadata"]["name"], None)
        elif old is None or old["spec"] != new["spec"] or not self._is_as_told(new):
            self._add(new["metadata"]["name"])

    def _is_as_told(self, api_service: Object) -> bool:
        """Whether nobody else has changed what was said here."""
        told = self._told.get(api_service["metadata"]["name"])
        return told is not None and availability.says(api_service, told)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        if old is None or new is None or old["spec"] != new["spec"]:
            self._add_those_of(obj["metadata"]["namespace"], obj["metadata"]["name"])

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        service = labels_of(obj).get(availability.SERVICE_NAME)
        if service:
            self._add_those_of(obj["metadata"]["namespace"], service)

    def _add_those_of(self, namespace: str, service: str) -> None:
        for api_service in self._reader.list(RESOURCE):
            named = availability.service_of(api_service)
            if named is not None and named[:2] == (namespace, service):
                self._add(api_service["metadata"]["name"])
