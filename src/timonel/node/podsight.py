"""What is known here of what the runtime has of one pod, and how it comes to be known. Owned by the pod's runner.

Three ways: the runtime tells of an end (`look_at`), a list of everything shows a difference (`compare`), an operation
broke off and nobody knows how far it went (`take_stock`). What an operation is busy with it takes note of by itself.
Upstream: pkg/kubelet/pleg/generic.go, kuberuntime_manager.go (GetPodStatus).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from timonel.node import podactions, podstatus, termination
from timonel.node.cri.errors import Missing, RuntimeFailure
from timonel.node.cri.runtime import Container, ContainerState, SandboxState
from timonel.node.podprobes import PodProbes
from timonel.node.podruntime import CONTAINER_NAME, POD_UID, PodRuntime, merged
from timonel.node.references import containers_of
from timonel.node.relist import insist, read_pod

if TYPE_CHECKING:
    from timonel.node.podrunner import PodRunner, Surroundings

logger = logging.getLogger(__name__)

LAG = 0.01  # the runtime's event may come before its own status shows it
LAG_TRIES = 8
RETRY = 1.0


class PodSight:
    """`runtime` is what is known; `attempts` are the next ones of containers that the runtime has forgotten."""

    def __init__(
        self, runner: PodRunner, runtime: PodRuntime, around: Surroundings, probes: PodProbes
    ) -> None:
        self.runtime = runtime
        self.attempts = podstatus.next_attempts(runner.pod, runtime)
        self._runner = runner
        self._around = around
        self._clock = around.clock
        self._probes = probes
        self._dirty: set[str] = set()
        self._strays: dict[str, str] = {}  # containers that a list showed, unknown to us -> their sandbox
        self._found = {c.id for c in runtime.containers}

    # ---- news of what the runtime has of this pod is for us

    def own(self) -> None:
        for id_ in self._ids():
            self._around.owners[id_] = self._runner

    def disown(self) -> None:
        for id_ in self._ids():
            self._around.owners.pop(id_, None)

    def _ids(self) -> list[str]:
        return [s.id for s in self.runtime.sandboxes] + [c.id for c in self.runtime.containers]

    def forget(self, *ids: str) -> None:
        """They were removed."""
        self.runtime = self.runtime.without(*ids)
        for id_ in ids:
            self._around.owners.pop(id_, None)

    # ---- looking

    def look_at(self, *ids: str) -> None:
        self._dirty.update(ids)

    def compare(self, listed: PodRuntime) -> bool:
        """Look at whatever is not in the state that we believe it to be in, or not known here at all.

        Whether there is anything to look at.
        """
        states, believed = (
            {s.id: s.state for s in r.sandboxes} | {c.id: c.state for c in r.containers}
            for r in (listed, self.runtime)
        )
        self.look_at(*(id_ for id_, state in believed.items() if states.get(id_) is not state))
        if self._runner.is_syncing:
            self._strays = {c.id: c.sandbox_id for c in listed.containers if c.id not in believed}
            self.look_at(*(id_ for id_ in states if id_ not in believed))
        return bool(self._dirty)

    async def look(self) -> None:
        unanswered = set[str]()
        while self._dirty:
            found = self._dirty.pop()
            try:
                await self._look_at(found)
            except Missing:
                self._lost(found)
            except RuntimeFailure as e:
                logger.info("Could not look at %s", found, extra={"error": e.message})
                unanswered.add(found)
        if unanswered:
            self._dirty |= unanswered
            self._runner.wake_at(self._clock.now() + RETRY)

    async def _look_at(self, found: str) -> None:
        known, stray = self.runtime.find(found), self._strays.get(found)
        if known is not None:
            self.remember(await self._look_at_container(known))
        elif stray is None:
            await self._look_at_sandbox(found)
        else:
            container = await self._around.runtime.container_status(found)
            if container.name not in self._runner.busy:
                self._find(container, stray)

    async def _look_at_container(self, known: Container) -> Container:
        container = await self._around.runtime.container_status(known.id)
        for tries in range(LAG_TRIES):
            if known.state is not ContainerState.RUNNING or container.state is not known.state:
                break
            await self._clock.sleep(LAG * 2**tries)
            container = await self._around.runtime.container_status(known.id)
        return container

    async def _look_at_sandbox(self, sandbox_id: str) -> None:
        fresh = await self._around.runtime.sandbox_status(sandbox_id)
        for tries in range(LAG_TRIES):
            if fresh.state is not SandboxState.READY or not self._runner.is_syncing:
                break
            await self._clock.sleep(LAG * 2**tries)
            fresh = await self._around.runtime.sandbox_status(sandbox_id)
        if podactions.SANDBOX not in self._runner.busy:
            self.runtime = self.runtime.with_sandbox(fresh)
            self._around.owners[fresh.id] = self._runner

    # ---- after an operation that failed or broke off

    async def take_stock(self, operation: str) -> None:
        """See how far it went; asked until the runtime answers."""
        self._runner.publish()
        if operation == podactions.SANDBOX:
            await self.read_again()
        elif operation in self._names():
            await self.read_again(operation)

    async def read_again(self, name: str = "") -> None:
        """The containers of one name; or the sandboxes, and all containers that nothing is being done with."""
        runtime, labels = self._around.runtime, {POD_UID: self._runner.uid}
        names = self._names() - self._runner.busy
        if name:
            labels[CONTAINER_NAME] = name
            names = {name}
        fresh = await insist(self._clock, lambda: read_pod(runtime, labels, self.runtime))
        for container in self.runtime.containers:
            if container.name in names and fresh.find(container.id) is None:
                self._lost(container.id)
        for container in fresh.containers:
            if container.name in names:
                self._find(container, container.sandbox_id)
        if not name:
            self.runtime = replace(self.runtime, sandboxes=fresh.sandboxes)
            self.own()

    def _names(self) -> set[str]:
        return {c["name"] for c in containers_of(self._runner.pod)}

    # ---- taking note

    def remember(self, container: Container, sandbox_id: str = "") -> None:
        """Take over a container's fresh status; a status does not say which sandbox it belongs to."""
        known = self.runtime.find(container.id)
        owner = sandbox_id or (known.sandbox_id if known else container.sandbox_id)
        message = container.message
        if container.state is ContainerState.EXITED:
            message = termination.message_of(container) or message
            self._probes.stop(container.id)
        fresh = merged(container, owner, message)
        self.runtime = self.runtime.with_container(fresh)
        self._around.owners[fresh.id] = self._runner
        if fresh.state is ContainerState.RUNNING and fresh.id in self._around.exits:
            self.look_at(fresh.id)
            self._runner.wake()

    def _find(self, container: Container, sandbox_id: str) -> None:
        self.remember(container, sandbox_id)
        self._found.add(container.id)

    def _lost(self, id_: str) -> None:
        """The runtime has it no more. A container that ran counts nevertheless."""
        container = self.runtime.find(id_)
        if container is not None:
            self._probes.stop(id_)
            if container.state is not ContainerState.CREATED:
                self.attempts[container.name] = container.attempt + 1
        self.runtime = self.runtime.without(id_)

    def probe_found(self) -> None:
        """What was not seen to start, by this life of the agent, and runs is probed from now on."""
        specs = {c["name"]: c for c in containers_of(self._runner.pod)}
        while self._found:
            container = self.runtime.find(self._found.pop())
            if container is not None and container.state is ContainerState.RUNNING:
                self._probes.begin(container, specs[container.name])
