"""DefaultBinder: binds a pod to its node through pods/binding."""

from __future__ import annotations

from timonel.scheduler.framework import Cluster, State


class DefaultBinder:
    name = "DefaultBinder"
    events: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    def attach(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def bind(self, state: State, node: str) -> bool | None:
        assert self._cluster is not None
        await self._cluster.bind(state.info.pod, node)
        return True
