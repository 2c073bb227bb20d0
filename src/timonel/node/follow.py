"""List, then watch, for ever: what the node agent knows of the API server's objects.

`follow` yields the whole set first and after every gap, single changes in between. `Watched` keeps single named
objects (ConfigMaps and Secrets that pods here use) for as long as somebody holds them.

An informer would serve, but pods wait for what is seen here: it is looked for again sooner, and a gap is told as one
whole set, by which the agent knows that what it still runs is not wanted any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from timonel.aio.clock import Clock, outside
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import Expired, Gone, StatusError
from timonel.objects.meta import Key, Object
from timonel.records import dataclass

logger = logging.getLogger(__name__)

RETRY, RETRY_LIMIT = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Replaced:
    """This is everything there is."""

    objects: Sequence[Object]


@dataclass(frozen=True, slots=True)
class Changed:
    object: Object
    is_deleted: bool


async def follow(
    transport: Transport, clock: Clock, resource: Resource, namespace: str = "", *, field_selector: str = ""
) -> AsyncIterator[Replaced | Changed]:
    delay = RETRY
    while True:
        try:
            found = await transport.list(resource, namespace, field_selector=field_selector)
            yield Replaced(found.items)
            version = found.resource_version
            delay = RETRY
            while True:
                events = transport.watch(
                    resource, namespace, field_selector=field_selector, resource_version=version
                )
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        yield Changed(event.object, event.type == "DELETED")
                await outside(clock).sleep(RETRY)
        except (Expired, Gone):
            continue
        except (StatusError, Unreachable) as e:
            logger.info("Lost sight of %s, retrying", resource, extra={"error": str(e)})
            await outside(clock).sleep(delay)
            delay = min(delay * 2, RETRY_LIMIT)


class Watched:
    """Named objects that pods of this node use. `changed` is called with (resource, key) after each change."""

    def __init__(self, transport: Transport, clock: Clock, changed: Callable[[Resource, Key], None]) -> None:
        self._transport = transport
        self._clock = clock
        self._changed = changed
        self._holders: dict[tuple[Resource, Key], set[str]] = {}
        self._tasks: dict[tuple[Resource, Key], asyncio.Task[None]] = {}
        self._objects: dict[tuple[Resource, Key], Object | None] = {}
        self._known: dict[tuple[Resource, Key], asyncio.Event] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Owns the watches; the objects can be asked for while this runs."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def hold(self, holder: str, wanted: Iterable[tuple[Resource, Key]]) -> None:
        """`holder` needs exactly these from now on."""
        keep = set(wanted)
        for what in keep:
            self._holders.setdefault(what, set()).add(holder)
            if what not in self._tasks and self._group is not None:
                self._known[what] = asyncio.Event()
                self._tasks[what] = self._group.create_task(
                    self._keep(what), name=f"watch {what[0]} {what[1]}"
                )
        for what, holders in list(self._holders.items()):
            if holder in holders and what not in keep:
                holders.discard(holder)
                if not holders:
                    self._forget(what)

    async def get(self, resource: Resource, key: Key) -> Object | None:
        """The object as last seen, once it has been looked for; None if it does not exist. It must be held."""
        await self._known[(resource, key)].wait()
        return self._objects.get((resource, key))

    def peek(self, resource: Resource, key: Key) -> Object | None:
        return self._objects.get((resource, key))

    def _forget(self, what: tuple[Resource, Key]) -> None:
        del self._holders[what]
        self._tasks.pop(what).cancel()
        self._objects.pop(what, None)
        self._known.pop(what, None)

    async def _keep(self, what: tuple[Resource, Key]) -> None:
        resource, key = what
        selector = f"metadata.name={key.name}"
        async for news in follow(
            self._transport, self._clock, resource, key.namespace, field_selector=selector
        ):
            if isinstance(news, Replaced):
                self._objects[what] = news.objects[0] if news.objects else None
            else:
                self._objects[what] = None if news.is_deleted else news.object
            first = not self._known[what].is_set()
            self._known[what].set()
            if not first:
                self._changed(resource, key)
