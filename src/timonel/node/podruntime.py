"""What the runtime has of one pod: its sandboxes and containers, newest first, as plain values.

Also the labels by which they are found again after a restart of the agent.
Upstream: pkg/kubelet/kuberuntime/labels.go, pkg/kubelet/container/runtime.go (PodStatus).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from timonel.node.cri.runtime import Container, Sandbox, SandboxState
from timonel.objects.meta import Object
from timonel.records import dataclass

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY = "io.kubernetes.container.terminationMessagePolicy"
GRACE = "io.kubernetes.pod.terminationGracePeriod"
RUNS_TO_END = (
    "timonel.dev/runs-to-end"  # for the simulated runtime: this container is expected to end by itself
)


@dataclass(frozen=True, slots=True)
class PodRuntime:
    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        return self.sandboxes[0] if self.sandboxes else None

    def latest(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)

    def previous(self, name: str) -> Container | None:
        """The one before the latest."""
        found = [c for c in self.containers if c.name == name]
        return found[1] if len(found) > 1 else None

    def find(self, container_id: str) -> Container | None:
        return next((c for c in self.containers if c.id == container_id), None)

    def with_container(self, container: Container) -> PodRuntime:
        rest = [c for c in self.containers if c.id != container.id]
        return replace(self, containers=_containers((container, *rest)))

    def with_sandbox(self, sandbox: Sandbox) -> PodRuntime:
        rest = [s for s in self.sandboxes if s.id != sandbox.id]
        return replace(self, sandboxes=_sandboxes((sandbox, *rest)))

    def without(self, *ids: str) -> PodRuntime:
        return PodRuntime(
            tuple(s for s in self.sandboxes if s.id not in ids),
            tuple(c for c in self.containers if c.id not in ids),
        )

    @property
    def is_ready(self) -> bool:
        return self.sandbox is not None and self.sandbox.state is SandboxState.READY


def pod_runtime(sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> PodRuntime:
    return PodRuntime(_sandboxes(sandboxes), _containers(containers))


def merged(status: Container, sandbox_id: str, message: str = "") -> Container:
    """A status, which does not say which sandbox it belongs to, with what was known besides."""
    return replace(status, sandbox_id=sandbox_id, message=message or status.message)


def _sandboxes(found: Iterable[Sandbox]) -> tuple[Sandbox, ...]:
    return tuple(sorted(found, key=lambda s: (s.created_at, s.attempt), reverse=True))


def _containers(found: Iterable[Container]) -> tuple[Container, ...]:
    return tuple(sorted(found, key=lambda c: (c.created_at, c.attempt), reverse=True))


def sandbox_labels(pod: Object) -> dict[str, str]:
    meta = pod["metadata"]
    return {
        **(meta.get("labels") or {}),
        POD_NAME: meta["name"],
        POD_NAMESPACE: meta["namespace"],
        POD_UID: meta["uid"],
    }


def container_labels(pod: Object, container: Mapping[str, Any]) -> dict[str, str]:
    meta = pod["metadata"]
    return {
        POD_NAME: meta["name"],
        POD_NAMESPACE: meta["namespace"],
        POD_UID: meta["uid"],
        CONTAINER_NAME: container["name"],
    }


def container_annotations(pod: Object, container: Mapping[str, Any], attempt: int) -> dict[str, str]:
    return {
        HASH: spec_hash(container),
        RESTART_COUNT: str(attempt),
        TERMINATION_PATH: container.get("terminationMessagePath", ""),
        TERMINATION_POLICY: container.get("terminationMessagePolicy", "File"),
        GRACE: str(pod["spec"].get("terminationGracePeriodSeconds", 30)),
        RUNS_TO_END: "true" if _runs_to_end(pod, container) else "false",
    }


def _runs_to_end(pod: Object, container: Mapping[str, Any]) -> bool:
    spec = pod["spec"]
    if any(c["name"] == container["name"] for c in spec.get("initContainers") or ()):
        return bool(container.get("restartPolicy") != "Always")
    return bool(spec.get("restartPolicy", "Always") != "Always")


def spec_hash(container: Mapping[str, Any]) -> str:
    """Of what makes a running container outdated when it changes: its name and image, as upstream's HashContainer."""
    text = json.dumps([container["name"], container.get("image", "")])
    return hashlib.blake2s(text.encode(), digest_size=4).hexdigest()
