"""The probes of one pod's running containers, and what they have found. Owned by the pod's runner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from timonel.node import measures, probes
from timonel.node.cri.runtime import Container
from timonel.node.probes import Result, Target

if TYPE_CHECKING:
    from timonel.node.podrunner import PodRunner, Surroundings


class PodProbes:
    """`ready`, `started` and `failed` are read by the pure modules; ids of containers that run."""

    def __init__(self, runner: PodRunner, around: Surroundings) -> None:
        self._runner = runner
        self._around = around
        self._tasks: dict[str, dict[str, asyncio.Task[None]]] = {}  # container id -> kind -> its loop
        self.ready: set[str] = set()
        self.started: set[str] = set()
        self.failed: dict[str, str] = {}

    def begin(self, container: Container, spec: Mapping[str, Any]) -> None:
        """The container runs, and its postStart hook is done."""
        if container.id in self._tasks:
            return
        self._tasks[container.id] = {}
        if probe := spec.get("startupProbe"):
            self._watch("startup", probe, container, spec)
        else:
            self._has_started(container, spec)

    def spare(self, *container_ids: str) -> None:
        """They are being stopped: whether they are ready is asked on, nothing else. All of them without names."""
        for container_id in container_ids or list(self._tasks):
            tasks = self._tasks.get(container_id, {})
            for kind in ("liveness", "startup"):
                if kind in tasks:
                    tasks.pop(kind).cancel()

    def stop(self, container_id: str) -> None:
        for task in self._tasks.pop(container_id, {}).values():
            task.cancel()
        self.ready.discard(container_id)
        self.started.discard(container_id)
        self.failed.pop(container_id, None)

    def close(self) -> None:
        for container_id in list(self._tasks):
            for task in self._tasks.pop(container_id).values():
                task.cancel()

    def _has_started(self, container: Container, spec: Mapping[str, Any]) -> None:
        self.started.add(container.id)
        if probe := self._around.prober.readiness(container, spec):
            self._watch("readiness", probe, container, spec)
        else:
            self.ready.add(container.id)
        if probe := spec.get("livenessProbe"):
            self._watch("liveness", probe, container, spec)
        self._runner.wake()

    def _watch(
        self, kind: str, probe: Mapping[str, Any], container: Container, spec: Mapping[str, Any]
    ) -> None:
        title = probes.TITLES[kind]

        def target() -> Target:
            return Target(container.id, self._runner.ip(), spec)

        def told(state: bool, result: Result) -> bool:
            return self._told(kind, container, spec, state=state)

        def failed(result: Result) -> None:
            record = self._around.records.record
            if result.is_warning:
                message = f"{title} probe warning: {result.output}"
                record(self._runner.pod, "Warning", "ProbeWarning", message, container=container.name)
            elif result.ok is None:
                message = f"{title} probe errored and resulted in unknown state: {result.output}"
                record(self._runner.pod, "Warning", "Unhealthy", message, container=container.name)
            else:
                message = f"{title} probe failed: {result.output}"
                record(self._runner.pod, "Warning", "Unhealthy", message, container=container.name)

        async def ask() -> Result:
            counts = self._around.measures
            since = counts.watch()
            result = await self._around.prober.ask(target(), probe)
            kinds = {True: measures.SUCCESSFUL, False: measures.FAILED, None: measures.UNKNOWN}
            counts.probe(self._runner.pod, container.name, kind, kinds[result.ok], counts.watch() - since)
            return result

        async def loop() -> None:
            await probes.watch(
                self._around.clock,
                probe,
                ask,
                told,
                failed,
                started_at=container.started_at,
            )

        task = self._runner.spawn_background(loop(), f"{kind} probe of {container.name}")
        self._tasks[container.id][kind] = task

    def _told(self, kind: str, container: Container, spec: Mapping[str, Any], *, state: bool) -> bool:
        """Whether the probe is to go on."""
        runner = self._runner
        if kind == "readiness":
            (self.ready.add if state else self.ready.discard)(container.id)
            runner.wake()
            return True
        if not state:
            self.failed[container.id] = kind
            runner.wake()
            return False
        if kind == "startup":
            self._has_started(container, spec)
            return False
        return True
