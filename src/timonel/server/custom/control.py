"""What becomes of a definition: its names are settled, it is established, and in the end its objects are deleted.

One worker takes definitions in the order in which they changed; all that is decided is decided in `conditions`. The
deletion of objects waits for their finalizers in a task of its own, and begins again after a restart.

Upstream: apiextensions-apiserver/pkg/controller/{status,establish,apiapproval,nonstructuralschema,finalizer}.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from timonel.aio.clock import wait_until
from timonel.machinery.errors import NotFound, StatusError
from timonel.objects.meta import Object, format_time
from timonel.server import fieldmanager
from timonel.server.custom import conditions
from timonel.server.custom.definition import QUALIFIED, TERMINATING
from timonel.server.custom.serving import CustomResources
from timonel.server.objects import MANAGER
from timonel.server.options import DeleteOptions
from timonel.server.registry import Endpoint, Stale
from timonel.server.request import Reader
from timonel.server.verbs import delete
from timonel.server.verbs.call import Core, cloned
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
RETRY_AFTER = 1.0
PATIENCE = 60.0  # until the condition says that objects remain
LOOK_AGAIN = 5.0


class Controller:
    def __init__(self, core: Core, reader: Reader, resources: CustomResources) -> None:
        self._core = core
        self._reader = reader
        self._resources = resources
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._accepted: dict[str, tuple[str, Object]] = {}  # group and accepted names, by name
        self._cleaning: set[str] = set()

    def attach(self) -> None:
        self._core.registry.by_qualified[QUALIFIED].begin_delete = mark
        self._reader.on_change(QUALIFIED, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            name = new["metadata"]["name"]
            self._accepted[name] = (new["spec"]["group"], accepted_names(new))
            self._add(name)
            if old is None or accepted_names(old) == accepted_names(new):
                return
        if old is not None:  # names may have become free
            name = old["metadata"]["name"]
            if new is None:
                self._accepted.pop(name, None)
            for other, (group, _) in self._accepted.items():
                if group == old["spec"]["group"] and other != name:
                    self._add(other)

    def _add(self, name: str) -> None:
        if name not in self._queued:
            self._queued.add(name)
            self._queue.put_nowait(name)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                name = await self._queue.get()
                self._queued.discard(name)
                try:
                    await self._sync(name, group)
                except (StatusError, StoreError, Stale) as error:
                    logger.warning("Failed to settle a definition", extra={"crd": name, "error": str(error)})
                    self._later(name)

    def _later(self, name: str) -> None:
        self._core.clock.call_later(RETRY_AFTER, lambda: self._add(name))

    async def _sync(self, name: str, group: asyncio.TaskGroup) -> None:
        endpoint = self._core.registry.by_qualified[QUALIFIED]
        entry = endpoint.cache.entries.get(endpoint.kind.key("", name))
        if entry is None:
            return
        crd = entry.decoded()
        if not crd["metadata"].get("deletionTimestamp"):
            before = cloned(crd.get("status") or {})
            self._settle(crd)
            if crd["status"] != before:
                await self._write(name, self._settle)
        elif FINALIZER in (crd["metadata"].get("finalizers") or ()) and name not in self._cleaning:
            self._cleaning.add(name)
            group.create_task(self._clean_up(name), name=f"clean up {name}")

    def _settle(self, crd: Object) -> None:
        group, name = crd["spec"]["group"], crd["metadata"]["name"]
        others = [n for other, (its, n) in self._accepted.items() if its == group and other != name]
        conditions.settle(crd, others, self._core.clock.now())

    async def _write(self, name: str, change: Callable[[Object], None]) -> None:
        """Change the status of a definition, if there still is one. No tree is kept in the cache."""
        registry = self._core.registry
        endpoint = registry.by_qualified[QUALIFIED]
        try:
            entry = await registry.read(endpoint, "", name)
            while True:
                old, new = entry.decoded(), entry.decoded()
                change(new)
                if new == old:
                    return
                now = self._core.clock.now()
                fieldmanager.updated(endpoint, old, new, manager=MANAGER, now=now, subresource="status")
                try:
                    await registry.update(endpoint, new, entry)
                    return
                except Stale:
                    entry = await registry.reread(endpoint, "", name)
        except NotFound:
            return

    # ---- deletion

    async def _clean_up(self, name: str) -> None:
        try:
            await self._say(
                name, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
            )
            live = self._resources.find(name)
            if live is not None and live.main is not None:
                await self._delete_all(name, live.main)
                await self._say(name, "False", "InstanceDeletionCompleted", "removed all instances")
            else:
                await self._say(name, "False", "NeverEstablished", "resource was never established")
            await self._let_go(name)
        except (StatusError, StoreError, Stale) as error:
            logger.warning("Failed to clean up after a definition", extra={"crd": name, "error": str(error)})
            text = f"could not issue all deletes: {error}"
            try:
                await self._say(name, "True", "InstanceDeletionFailed", text)
            except (StatusError, StoreError) as second:
                logger.warning("Failed to say so", extra={"crd": name, "error": str(second)})
            self._later(name)
        finally:
            self._cleaning.discard(name)

    async def _say(self, name: str, status: str, reason: str, message: str) -> None:
        now = self._core.clock.now()
        await self._write(
            name, lambda crd: conditions.set_condition(crd, TERMINATING, status, reason, message, now)
        )

    async def _delete_all(self, name: str, endpoint: Endpoint) -> None:
        """Ask for the deletion of every object, and wait until there are none."""
        registry, clock = self._core.registry, self._core.clock
        changed = asyncio.Event()
        cache = endpoint.cache

        def noticed(old: Object | None, new: Object | None) -> None:
            changed.set()

        await registry.caches.ensure(cache)
        cache.listeners.append(noticed)
        try:
            waited, told = 0.0, False
            while cache.entries:
                changed.clear()
                for entry in list(cache.entries.values()):
                    if not entry.obj["metadata"].get("deletionTimestamp"):
                        await self._delete(endpoint, entry.namespace, entry.name)
                if not cache.entries:
                    break
                begun = clock.monotonic()
                await wait_until(clock, changed, LOOK_AGAIN)
                waited += clock.monotonic() - begun
                if waited >= PATIENCE and not told:
                    told = True
                    text = "could not confirm zero CustomResources remaining: timed out waiting for the condition"
                    await self._say(name, "True", "InstanceDeletionCheck", text)
                await registry.caches.ensure(cache)
        finally:
            cache.listeners.remove(noticed)

    async def _delete(self, endpoint: Endpoint, namespace: str, name: str) -> None:
        """As the verb does it, but nobody is asked whether it may be."""
        registry = self._core.registry
        try:
            entry = await registry.read(endpoint, namespace, name)
            while True:
                try:
                    await delete.attempt(self._core, endpoint, entry, DeleteOptions())
                    return
                except Stale:
                    entry = await registry.reread(endpoint, namespace, name)
        except NotFound:
            return

    async def _let_go(self, name: str) -> None:
        """Take the finalizer away; with the last one the definition goes."""
        registry = self._core.registry
        endpoint = registry.by_qualified[QUALIFIED]
        try:
            entry = await registry.read(endpoint, "", name)
            while True:
                crd = entry.decoded()
                left = [f for f in crd["metadata"].get("finalizers") or () if f != FINALIZER]
                try:
                    if left:
                        crd["metadata"]["finalizers"] = left
                        await registry.update(endpoint, crd, entry)
                    else:
                        await registry.delete(endpoint, entry)
                    return
                except Stale:
                    entry = await registry.reread(endpoint, "", name)
        except NotFound:
            return


def accepted_names(crd: Object) -> Object:
    names: Object = (crd.get("status") or {}).get("acceptedNames") or {}
    return names


def mark(crd: Object, now: float) -> None:
    """The first request to delete a definition. Upstream: customresourcedefinition/etcd.go (REST.Delete)."""
    crd["metadata"]["deletionTimestamp"] = format_time(now)
    finalizers = crd["metadata"].setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    conditions.set_condition(crd, TERMINATING, "True", "InstanceDeletionPending", text, now)
