"""What an agent of a simulated node has in place of probes and image pulls: what the pod's annotation says.

See `simulation.behaviour`. The runtime itself is `cri.simulated`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timonel.node import backoff
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Container, Image
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.images import ImageError, ImageManager
from timonel.node.probes import Result, Target
from timonel.node.simulation.behaviour import Behaviour
from timonel.node.simulation.life import behaviour, why_waiting
from timonel.objects.meta import Object, uid_of

OFTEN: Mapping[str, Any] = {"periodSeconds": 1, "failureThreshold": 1}  # a probe that the pod does not have


class SimulatedProber:
    """Probes pass, unless the container's behaviour says that it is not ready, or fails."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime

    def readiness(self, container: Container, spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = spec.get("readinessProbe")
        how = self._runtime.behaviour(container.id)
        says = how is not None and (how.ready_after is not None or not how.is_ever_ready)
        return found or (OFTEN if says else None)

    async def ask(self, target: Target, probe: Mapping[str, Any]) -> Result:
        how = self._runtime.behaviour(target.container_id)
        if how is None:
            return Result(True)
        try:
            lived = (
                self._runtime.now() - (await self._runtime.container_status(target.container_id)).started_at
            )
        except RuntimeFailure:
            return Result(None, "the container is gone")
        if probe is target.container.get("livenessProbe"):
            return _liveness(how, lived)
        return Result(True) if probe is target.container.get("startupProbe") else _readiness(how, lived)


def _liveness(how: Behaviour, lived: float) -> Result:
    fails = how.fail_liveness_after is not None and lived >= how.fail_liveness_after
    return Result(False, "simulated: it fails") if fails else Result(True)


def _readiness(how: Behaviour, lived: float) -> Result:
    is_ready = how.is_ever_ready and (how.ready_after is None or lived >= how.ready_after)
    return Result(True) if is_ready else Result(False, "simulated: it is not ready")


class SimulatedImages(ImageManager):
    """Holds back the containers that are to wait, for whatever reason."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._until: dict[tuple[str, str], float] = {}  # pod and container: when it may go on

    async def ensure(self, pod: Object, container: Mapping[str, Any], secrets: Sequence[Object]) -> Image:
        how = behaviour(pod, container)
        if how.waiting:
            now = self._clock.now()
            key = (uid_of(pod), container["name"])
            until = self._until.setdefault(
                key, now + (how.wait_for if how.wait_for is not None else float("inf"))
            )
            if now < until:
                why = how.message or why_waiting(how.waiting, container)
                raise ImageError(how.waiting, why, min(until, now + backoff.LIMIT))
        return await super().ensure(pod, container, secrets)

    def forget(self, uid: str) -> None:
        super().forget(uid)
        for key in [key for key in self._until if key[0] == uid]:
            del self._until[key]
