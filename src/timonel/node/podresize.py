"""What one pod's containers were given and what they run with; brings the second to the first. Owned by its runner.

Whether the node can give more is decided by `pods`, who knows the others. Upstream: pkg/kubelet/allocation,
kuberuntime_manager.go (doPodResizeAction): the pod's own group grows before its containers' and shrinks after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from timonel.node import podspec, resizing
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Container, ContainerState
from timonel.node.preparation import Preparation
from timonel.node.resizing import Pending
from timonel.objects.meta import Object

if TYPE_CHECKING:
    from timonel.node.podrunner import PodRunner, Surroundings


class PodResize:
    def __init__(
        self, runner: PodRunner, pod: Object, around: Surroundings, preparation: Preparation, *, is_new: bool
    ) -> None:
        self._runner = runner
        self._around = around
        self._preparation = preparation
        self._desired = pod
        self._given = resizing.wanted(pod) if is_new else resizing.given_before(pod)
        self._in_force: dict[str, Mapping[str, Any]] = dict(self._given)  # what running containers have
        self._pending: Pending | None = None
        self._is_in_progress = False
        self._has_grown = False  # the pod's own group, for what was given last
        self._error = ""

    # ---- the spec, and what was given

    def effective(self, pod: Object) -> Object:
        """A pod as it came from the API server, with what it was given."""
        self._desired = pod
        for name, resources in resizing.wanted(pod).items():
            self._given = {name: resources, **self._given}
        return resizing.allotted(pod, self._given)

    @property
    def desired(self) -> Object:
        return self._desired

    @property
    def is_wanted(self) -> bool:
        given = self._given
        return any(
            not resizing.is_same(resources, given.get(name, {}))
            for name, resources in resizing.wanted(self._desired).items()
        )

    @property
    def is_put_off(self) -> bool:
        return self._pending is not None and self._pending.reason == resizing.DEFERRED

    def settle(self) -> None:
        """Nothing else is asked for than what was given (any more)."""
        self._pending = None

    def give(self) -> Object:
        """The node can: what the spec asks for is what the pod has from now on."""
        self._given = resizing.wanted(self._desired)
        self._pending, self._error = None, ""
        self._is_in_progress, self._has_grown = True, False
        self._record("Normal", "ResizeStarted", "started")
        return resizing.allotted(self._desired, self._given)

    def put_off(self, why: Pending) -> None:
        if self._pending == why:
            return
        self._pending = why
        self._record("Warning", f"Resize{why.reason}", why.reason, why.message)
        self._runner.wake()

    def _record(self, kind: str, reason: str, what: str, error: str = "") -> None:
        message = resizing.event_message(what, self._desired, error)
        self._around.records.record(self._desired, kind, reason, message)

    # ---- for the status

    @property
    def in_force(self) -> Mapping[str, Mapping[str, Any]]:
        return self._in_force

    def conditions(self) -> dict[str, tuple[str, str]]:
        return resizing.conditions(self._pending, in_progress=self._is_in_progress, error=self._error)

    # ---- bringing it about

    def started(self, name: str, resources: Mapping[str, Any]) -> None:
        """A container was made with these."""
        if name in self._given:
            self._in_force[name] = resources

    def outdated(self) -> dict[str, tuple[Container, Mapping[str, Any], bool]]:
        """By name, running containers that have not what they were given: the spec, and whether to restart them."""
        found = dict[str, tuple[Container, Mapping[str, Any], bool]]()
        for spec in resizing.resizable(self._runner.pod):
            name = spec["name"]
            container = self._runner.runtime.latest(name)
            if container is None or container.state is not ContainerState.RUNNING:
                continue
            differing = resizing.changed(self._in_force.get(name, {}), spec.get("resources") or {})
            if differing:
                found[name] = (container, spec, resizing.asks_for_restart(spec, differing))
        return found

    def restarts(self) -> list[tuple[str, Container]]:
        """Containers to be restarted, once everything else is done."""
        outdated = self.outdated()
        if not self._has_grown or not all(restarts for _, _, restarts in outdated.values()):
            return []
        return [(name, container) for name, (container, _, _) in outdated.items()]

    @property
    def is_due(self) -> bool:
        """Whether there is something to carry out now."""
        outdated = self.outdated()
        if not outdated:
            return self._is_in_progress
        return not self._has_grown or not all(restarts for _, _, restarts in outdated.values())

    async def carry_out(self) -> None:
        """Tell the kernel all that needs no restart. RuntimeFailure or OSError: to be tried again."""
        pod = self._runner.pod
        before = resizing.allotted(pod, self._in_force)
        try:
            await self._preparation.resize_group(before, pod, done=False)
            self._has_grown = True
            for name, (container, spec, restarts) in self.outdated().items():
                if restarts:
                    continue
                facts = self._around.node
                resources = podspec.resources_of(pod, spec, facts.memory_capacity)
                await self._around.runtime.update_resources(container.id, resources)
                self._in_force[name] = spec.get("resources") or {}
            if not self.outdated():
                await self._preparation.resize_group(before, pod, done=True)
        except (RuntimeFailure, OSError) as e:
            message = e.message if isinstance(e, RuntimeFailure) else str(e)
            if message != self._error:
                self._error = message
                self._record("Warning", "ResizeError", "error", message)
            raise
        self._error = ""
        if not self.outdated():
            self._finish()

    def _finish(self) -> None:
        if self._is_in_progress:
            self._is_in_progress = False
            self._record("Normal", "ResizeCompleted", "completed")
