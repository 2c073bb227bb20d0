"""APIServices of what this server serves itself: made at start for built-in groups, and kept for custom resources.

Those of built-in groups may be changed and deleted until the next start; those of CustomResourceDefinitions may not.

Upstream: kube-aggregator/pkg/controllers/autoregister, pkg/controlplane/controller/crdregistration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.objects.meta import Object, labels_of
from timonel.server.aggregation import priorities
from timonel.server.aggregation.priorities import AUTOMANAGED, ON_START
from timonel.server.aggregation.routes import RESOURCE, GroupVersion, group_version
from timonel.server.request import Objects, Reader, User
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
RETRY = 1.0
_SELF = User("system:apiserver", ("system:masters",))


class Registrar:
    """`built_in` gives the group versions of the server that come from no definition."""

    def __init__(
        self,
        reader: Reader,
        objects: Objects,
        clock: Clock,
        built_in: Callable[[], Iterable[GroupVersion]],
    ) -> None:
        self._reader, self._objects, self._clock, self._built_in = reader, objects, clock, built_in
        self._changed = asyncio.Event()
        self._definitions: dict[str, Object] = {}

    def follow(self) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            """Definitions are large, and their status changes often: what matters of them is kept."""
            name = (new or old or {})["metadata"]["name"]
            essence = priorities.essence(new) if new is not None else None
            if self._definitions.get(name) == essence:
                return
            if essence is None:
                del self._definitions[name]
            else:
                self._definitions[name] = essence
            self._changed.set()

        def api_service_changed(old: Object | None, new: Object | None) -> None:
            if any(obj is not None and priorities.is_managed(obj) for obj in (old, new)):
                self._changed.set()

        self._reader.on_change(DEFINITIONS, changed)
        self._reader.on_change(RESOURCE, api_service_changed)

    async def run(self) -> None:
        await self._again_until_done(self._register_built_in)
        while True:
            self._changed.clear()
            await self._again_until_done(self._sync_custom)
            await self._changed.wait()

    async def _again_until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
                return
            except (errors.StatusError, StoreError) as e:
                logger.warning("Could not register an APIService: %s", e)
                await self._clock.sleep(RETRY)

    async def _register_built_in(self) -> None:
        wanted = {
            (group, version): priorities.local(
                group, version, managed=ON_START, priorities=priorities.of_built_in(group, version)
            )
            for group, version in self._built_in()
            if group != priorities.OWN_GROUP
        }
        for obj in wanted.values():
            await self._put(obj)
        for found in self._reader.list(RESOURCE):  # of groups that are served no more
            if labels_of(found).get(AUTOMANAGED) == ON_START and group_version(found) not in wanted:
                await self._delete(found)

    async def _sync_custom(self) -> None:
        wanted = priorities.of_definitions(self._definitions.values())
        for key, obj in wanted.items():
            found = self._reader.get(RESOURCE, "", priorities.name_of(*key))
            if found is None or priorities.is_managed(found):
                await self._put(obj)
        for found in self._reader.list(RESOURCE):
            if priorities.is_managed(found) and group_version(found) not in wanted:
                await self._delete(found)

    async def _put(self, wanted: Object) -> None:
        name = wanted["metadata"]["name"]
        found = self._reader.get(RESOURCE, "", name)
        if found is None:
            try:
                await self._objects.create(RESOURCE, wanted)
            except errors.AlreadyExists:
                return
            return
        if AUTOMANAGED not in labels_of(found) or found["spec"] == wanted["spec"]:
            return

        def restore(obj: Object) -> None:
            obj["spec"] = wanted["spec"]

        await self._objects.change(RESOURCE, "", name, restore)

    async def _delete(self, found: Object) -> None:
        metadata = found["metadata"]
        options = {"preconditions": {"uid": metadata["uid"]}}
        try:
            await self._objects.delete(RESOURCE, "", metadata["name"], options=options, user=_SELF)
        except (errors.NotFound, errors.Conflict):
            return
