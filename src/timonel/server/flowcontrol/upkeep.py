"""Keeps the built-in configuration in the API as it should be, and says of each FlowSchema whether its level exists.

Upstream: apiserver/pkg/util/flowcontrol/apf_controller.go (status), pkg/registry/flowcontrol/{ensurer,rest}.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.objects.meta import Object, annotations_of, format_time
from timonel.server.flowcontrol.defaults import AUTOUPDATE, DEFAULTS, LEVELS, SCHEMAS, Default
from timonel.server.request import Objects, Reader, User
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

PRODUCER, CONSUMER = (
    "api-priority-and-fairness-config-producer-v1",
    "api-priority-and-fairness-config-consumer-v1",
)
KEEP_DELAY = 0.5  # seconds after a change, so that many of them are one
RETRY_DELAY = 10.0  # seconds after a failure
SELF = User("system:apiserver", ("system:masters",))


class Upkeep:
    def __init__(self, objects: Objects, reader: Reader, clock: Clock) -> None:
        self._objects, self._reader, self._clock = objects, reader, clock
        self._changed = asyncio.Event()

    def follow(self) -> None:
        for resource in (LEVELS, SCHEMAS):
            self._reader.on_change(resource, lambda old, new: self._changed.set())

    async def ensure(self) -> None:
        """What is missing or not as it should be. All at once, so that the store commits them together."""
        async with asyncio.TaskGroup() as group:
            for default in DEFAULTS:
                found = self._reader.get(default.resource, "", default.name)
                if found is None:
                    group.create_task(self._create(default))
                elif (change := difference(default, found)) is not None:
                    group.create_task(
                        self._objects.change(default.resource, "", default.name, change, manager=PRODUCER)
                    )
            for resource, name in unwanted(self._reader):
                group.create_task(self._remove(resource, name))

    async def run(self) -> None:
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.ensure()
                await self._tell_of_levels()
            except* (errors.StatusError, StoreError) as failures:
                logger.warning("Could not keep the flow control configuration: %s", failures.exceptions[0])
                self._changed.set()
                await self._clock.sleep(RETRY_DELAY)
            await self._clock.sleep(KEEP_DELAY)

    async def _create(self, default: Default) -> None:
        try:
            await self._objects.create(default.resource, default.obj(), manager=PRODUCER)
        except errors.AlreadyExists:
            return  # the cache was behind, or another server was faster

    async def _remove(self, resource: str, name: str) -> None:
        try:
            await self._objects.delete(resource, "", name, options={}, user=SELF)
        except errors.NotFound:
            return

    async def _tell_of_levels(self) -> None:
        levels = {level["metadata"]["name"] for level in self._reader.list(LEVELS)}
        async with asyncio.TaskGroup() as group:
            for schema in self._reader.list(SCHEMAS):
                wanted = dangling(schema, levels, format_time(self._clock.now()))
                if wanted is not None:
                    group.create_task(self._tell(schema["metadata"]["name"], wanted))

    async def _tell(self, name: str, condition: Object) -> None:
        def change(schema: Object) -> None:
            conditions = schema.setdefault("status", {}).setdefault("conditions", [])
            conditions[:] = [c for c in conditions if c.get("type") != condition["type"]] + [condition]

        try:
            await self._objects.change(SCHEMAS, "", name, change, manager=CONSUMER, subresource="status")
        except errors.NotFound:
            return  # it was deleted in between


def difference(default: Default, found: Object) -> Callable[[Object], None] | None:
    """What must change in place of a built-in object that is there; None where nothing must."""
    annotation = annotations_of(found).get(AUTOUPDATE, "")
    if default.mandatory:
        automatic = True
    elif annotation in ("true", "false"):
        automatic = annotation == "true"
    else:  # nobody has said: it is ours as long as nobody has changed it
        automatic = found["metadata"].get("generation") == 1
    wanted = "true" if automatic else "false"
    if annotation == wanted and (not automatic or found["spec"] == default.spec):
        return None

    def change(obj: Object) -> None:
        annotations = obj["metadata"].get("annotations") or {}
        obj["metadata"]["annotations"] = annotations | {AUTOUPDATE: wanted}
        if automatic and obj["spec"] != default.spec:
            obj["spec"] = dict(default.spec)
            obj["metadata"]["generation"] = obj["metadata"].get("generation", 0) + 1

    return change


def unwanted(reader: Reader) -> Iterator[tuple[str, str]]:
    """What an older version has made and this one does not know."""
    ours = {(default.resource, default.name) for default in DEFAULTS}
    for resource in (SCHEMAS, LEVELS):
        for obj in reader.list(resource):
            name = obj["metadata"]["name"]
            if annotations_of(obj).get(AUTOUPDATE) == "true" and (resource, name) not in ours:
                yield resource, name


def dangling(schema: Object, levels: set[str], now: str) -> Object | None:
    """The condition that a FlowSchema should have; None where it has it."""
    level = (schema["spec"].get("priorityLevelConfiguration") or {}).get("name", "")
    text = f"This FlowSchema references the PriorityLevelConfiguration object named {quote(level)}"
    if level in levels:
        wanted = {"status": "False", "reason": "Found", "message": f"{text} and it exists"}
    else:
        wanted = {"status": "True", "reason": "NotFound", "message": f"{text} but there is no such object"}
    for condition in (schema.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Dangling" and wanted.items() <= condition.items():
            return None
    return {"type": "Dangling", "lastTransitionTime": now, **wanted}
