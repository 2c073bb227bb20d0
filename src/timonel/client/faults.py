"""A transport on which things go wrong, as they do: for tests of everything that sits on a Transport.

`Faulty` stands before another transport. What goes wrong is drawn from a seeded generator, so that a run can be had
again: refusals (409, 429, 500), answers that are lost although the work was done, watches that end or forget, news that
come late, and times in which the server is away. What was written is counted, too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import field
from typing import Any, TypeVar, cast

from timonel.aio.clock import Clock
from timonel.client.transport import ObjectList, Resource, Transport, Unreachable, WatchEvent
from timonel.machinery.errors import Conflict, Expired, InternalError, TooManyRequests
from timonel.objects.meta import Key, Object
from timonel.records import dataclass

T = TypeVar("T")


@dataclass(slots=True)
class Faults:
    """Shared by the transports of a cluster; `rate` is the fraction of requests that fail, 0: none do."""

    rate: float = 0.0
    away: bool = False
    seed: int = 0
    count: int = 0  # of what has gone wrong so far
    lag: float = 0.0  # seconds by which news of a watch are late at most; then `clock` must be there
    clock: Clock | None = None
    writes: Counter[str] = field(default_factory=Counter)  # requests so far, as `NAME VERB RESOURCE`
    _random: random.Random | None = None

    @property
    def dice(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self.seed)
        return self._random

    def strikes(self) -> bool:
        return self.rate > 0 and self.dice.random() < self.rate

    async def dawdle(self) -> None:
        if self.lag and self.clock is not None and self.dice.random() < 0.1:
            await self.clock.sleep(self.lag * self.dice.random())


class Faulty:
    """A Transport; `name` is who uses it."""

    def __init__(self, inner: Transport, faults: Faults, name: str = "") -> None:
        self._inner, self._faults, self._name = inner, faults, name

    async def _write(self, verb: str, resource: Resource, work: Callable[[], Awaitable[T]]) -> T:
        self._faults.writes[f"{self._name} {verb} {resource}"] += 1
        return await self._do(work, writes=True)

    async def _do(self, work: Callable[[], Awaitable[T]], *, writes: bool = False) -> T:
        faults = self._faults
        if faults.away:
            faults.count += 1
            raise Unreachable("connection refused")
        if not faults.strikes():
            return await work()
        faults.count += 1
        kinds: list[Exception] = [TooManyRequests("too many requests"), InternalError("something broke")]
        if writes:
            kinds.append(Conflict("the object has been modified"))
            if faults.dice.random() < 0.3:
                await work()  # done, but nobody hears of it
                raise Unreachable("connection reset by peer")
        raise faults.dice.choice(kinds)

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Object:
        return await self._do(lambda: self._inner.get(resource, key, subresource=subresource))

    async def list(self, resource: Resource, namespace: str = "", **options: Any) -> ObjectList:
        return await self._do(lambda: self._inner.list(resource, namespace, **options))

    async def watch(
        self, resource: Resource, namespace: str = "", **options: Any
    ) -> AsyncIterator[WatchEvent]:
        faults = self._faults
        if faults.away:
            raise Unreachable("connection refused")
        if faults.strikes():
            faults.count += 1
            raise Expired("too old resource version")
        events = cast(Any, self._inner.watch(resource, namespace, **options))
        async with aclosing(events):
            async for event in events:
                if faults.away:
                    return  # what has happened meanwhile is seen by the next one
                if faults.strikes():
                    faults.count += 1
                    return
                await faults.dawdle()
                yield event

    async def create(self, resource: Resource, obj: Object, **options: Any) -> Object:
        return await self._write("create", resource, lambda: self._inner.create(resource, obj, **options))

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        return await self._write(
            "update", resource, lambda: self._inner.update(resource, obj, subresource=subresource)
        )

    async def patch(self, resource: Resource, key: Key, patch: Any, **options: Any) -> Object:
        return await self._write(
            "patch", resource, lambda: self._inner.patch(resource, key, patch, **options)
        )

    async def delete(self, resource: Resource, key: Key, **options: Any) -> Object:
        return await self._write("delete", resource, lambda: self._inner.delete(resource, key, **options))

    async def delete_collection(self, resource: Resource, namespace: str = "", **options: Any) -> None:
        await self._write(
            "delete_collection",
            resource,
            lambda: self._inner.delete_collection(resource, namespace, **options),
        )

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        return await self._do(lambda: self._inner.raw(method, path, query=query, body=body))

    async def close(self) -> None:
        await self._inner.close()
