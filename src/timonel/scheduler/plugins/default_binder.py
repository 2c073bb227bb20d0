"""DefaultBinder: binds a pod to its node through pods/binding."""

from __future__ import annotations

from typing import Protocol

from timonel.objects.meta import Object
from timonel.scheduler.framework import State


class Binds(Protocol):
    async def bind(self, pod: Object, node: str) -> None: ...


class DefaultBinder:
    name = "DefaultBinder"
    events: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.cluster: Binds | None = None  # set by the shell before anything is bound

    async def bind(self, state: State, node: str) -> None:
        assert self.cluster is not None
        await self.cluster.bind(state.info.pod, node)
