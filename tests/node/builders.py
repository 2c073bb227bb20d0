"""Pods, containers and sandboxes for the node's tests, with keyword overrides."""

from __future__ import annotations

from typing import Any

from timonel.node.cri.runtime import Container, ContainerState, Sandbox, SandboxState
from timonel.node.podruntime import PodRuntime, pod_runtime
from timonel.objects.meta import Object

UID = "1111-2222"


def container(name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "resources": {}, **fields}


def pod(
    *containers: dict[str, Any], name: str = "web", uid: str = UID, status: Any = None, **spec: Any
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "generation": 1},
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "containers": list(containers) or [container()],
            **spec,
        },
        "status": status or {"phase": "Pending", "qosClass": "BestEffort"},
    }


def sandbox(id_: str = "s1", *, attempt: int = 0, state: SandboxState = SandboxState.READY) -> Sandbox:
    ips = ("10.244.1.2",) if state is SandboxState.READY else ()
    return Sandbox(id_, "web", UID, "default", attempt, state, created_at=100.0 + attempt, ips=ips)


def ran(
    name: str = "main",
    state: ContainerState = ContainerState.RUNNING,
    *,
    code: int = 0,
    attempt: int = 0,
    sandbox_id: str = "s1",
    finished: float = 150.0,
    **fields: Any,
) -> Container:
    return Container(
        id=f"{name}-{attempt}",
        sandbox_id=sandbox_id,
        name=name,
        attempt=attempt,
        state=state,
        created_at=110.0 + attempt,
        started_at=120.0,
        finished_at=finished if state is ContainerState.EXITED else 0,
        exit_code=code,
        **fields,
    )


def runtime(*containers: Container, sandboxes: tuple[Sandbox, ...] | None = None) -> PodRuntime:
    return pod_runtime((sandbox(),) if sandboxes is None else sandboxes, containers)


EXITED = ContainerState.EXITED
RUNNING = ContainerState.RUNNING
CREATED = ContainerState.CREATED
