"""How the containers of one pod end: hooks, grace periods, order. Owned by the pod's runner, which says when.

Upstream: pkg/kubelet/kuberuntime/kuberuntime_container.go (killContainer, killContainersWithSyncResult).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timonel.aio.clock import wait_until
from timonel.node import podactions
from timonel.node.cri.errors import Missing, RuntimeFailure, RuntimeGone
from timonel.node.cri.runtime import Container, ContainerState
from timonel.node.hooks import HookFailed
from timonel.node.podprobes import PodProbes
from timonel.node.preparation import Preparation
from timonel.node.references import containers_of
from timonel.node.relist import insist
from timonel.objects import pods as podlib

if TYPE_CHECKING:
    from timonel.node.podrunner import PodRunner, Surroundings

logger = logging.getLogger(__name__)

MINIMUM_GRACE = 2.0  # what is left for a container at the least after its preStop hook
LEAVE, LEAVE_FROM = 0.3, 5.0  # seconds left to routing to forget a pod; grace periods long enough for that
RETRY = 1.0
POD_RETRY, POD_RETRY_LIMIT = 0.4, 10.0


class PodEnding:
    def __init__(
        self, runner: PodRunner, around: Surroundings, probes: PodProbes, preparation: Preparation
    ) -> None:
        self._runner = runner
        self._around = around
        self._clock = around.clock
        self._probes = probes
        self._preparation = preparation

    @property
    def grace(self) -> float:
        return float(self._runner.pod["spec"].get("terminationGracePeriodSeconds", 30))

    async def stop(
        self,
        container: Container,
        spec: Mapping[str, Any],
        message: str,
        *,
        grace: float | None = None,
        turn: Iterable[asyncio.Event] = (),
    ) -> None:
        """One container; the pod's own grace period holds where no other is given. Between its preStop hook and its end
        it waits for its `turn`, but no longer than the grace period."""
        grace = self.grace if grace is None else grace
        self._probes.spare(container.id)
        self._around.records.record(self._runner.pod, "Normal", "Killing", message, container=spec["name"])
        hook = (spec.get("lifecycle") or {}).get("preStop")
        begun = self._clock.monotonic()
        if hook is not None and grace > 0:
            await self._pre_stop(hook, spec, container, grace)
        await self._wait(turn, begun + grace)
        left = grace - (self._clock.monotonic() - begun)
        left = max(left, MINIMUM_GRACE) if grace > 0 else 0
        runtime, id_ = self._around.runtime, container.id
        await insist(self._clock, lambda: runtime.stop_container(id_, left), only=RuntimeGone)
        try:
            status = await insist(self._clock, lambda: runtime.container_status(id_), only=RuntimeGone)
            self._runner.sight.remember(status)
        except Missing:
            self._probes.stop(container.id)
            self._runner.sight.runtime = self._runner.runtime.without(container.id)

    async def _wait(self, turn: Iterable[asyncio.Event], until: float) -> None:
        for other in turn:
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            await wait_until(self._clock, other, left)

    async def _pre_stop(
        self, hook: Mapping[str, Any], spec: Mapping[str, Any], container: Container, grace: float
    ) -> None:
        try:
            async with asyncio.timeout(grace):
                await self._around.hooks.run(hook, spec, container.id, self._runner.ip())
        except HookFailed as e:
            self._around.records.record(
                self._runner.pod,
                "Warning",
                "FailedPreStopHook",
                "PreStopHook failed",
                container=spec["name"],
            )
            logger.info("preStop hook failed", extra={"pod": self._runner.uid, "error": str(e)})
        except TimeoutError:
            logger.info("preStop hook took longer than the grace period", extra={"pod": self._runner.uid})

    async def stop_all(self, grace: float) -> None:
        """Containers first, all at once; then sidecars, the last one first. Repeated until the runtime agrees.

        preStop hooks do not wait for their turn: all begin at once, as kubelet's."""
        if grace >= LEAVE_FROM and podlib.is_ready(self._runner.pod):
            # Differs from upstream: whoever routes to a ready pod hears of its end as we do; stopping at once would
            # refuse the connections that are still on their way to it.
            await self._clock.sleep(LEAVE)
            grace -= LEAVE
        delay = POD_RETRY
        while True:
            try:
                self._runner.sight.runtime = await self._preparation.reread(self._runner.runtime)
                await self._stop_in_order(grace)
                return
            except RuntimeFailure as e:
                extra = {"pod": self._runner.uid, "error": e.message}
                logger.warning("Could not kill pod, retrying", extra=extra)
                await self._clock.sleep(delay)
                delay = min(2 * delay, POD_RETRY_LIMIT)

    async def _stop_in_order(self, grace: float) -> None:
        inits = self._runner.pod["spec"].get("initContainers") or ()
        sidecars = [c["name"] for c in inits if podactions.is_sidecar(c)]
        running = self._running()
        gone = {c.id: asyncio.Event() for c in running}
        specs = {c["name"]: c for c in containers_of(self._runner.pod)}
        async with asyncio.TaskGroup() as group:
            for container in running:
                turn = [gone[c.id] for c in running if _goes_before(c.name, container.name, sidecars)]
                spec = specs.get(container.name, {"name": container.name})
                group.create_task(self._stop_quietly(container, spec, grace, turn, gone[container.id]))
        for sandbox in self._runner.runtime.sandboxes:
            await self._around.runtime.stop_sandbox(sandbox.id)

    def _running(self) -> list[Container]:
        alive = (ContainerState.RUNNING, ContainerState.UNKNOWN)
        return [c for c in self._runner.runtime.containers if c.state in alive]

    async def _stop_quietly(
        self,
        container: Container,
        spec: Mapping[str, Any],
        grace: float,
        turn: Iterable[asyncio.Event],
        gone: asyncio.Event,
    ) -> None:
        message = f"Stopping container {container.name}"
        try:
            await self.stop(container, spec, message, grace=grace, turn=turn)
        except RuntimeFailure as e:
            extra = {"pod": self._runner.uid, "error": e.message}
            logger.warning("Could not stop container", extra=extra)
            await self._clock.sleep(RETRY)
        finally:
            gone.set()


def _goes_before(name: str, other: str, sidecars: Sequence[str]) -> bool:
    """Whether a container ends before another one: sidecars last, in the opposite order of their start."""
    if other not in sidecars:
        return False
    return name not in sidecars or sidecars.index(name) > sidecars.index(other)
