"""What `get pods` prints: the summary of a pod's containers in one word, and the other cells.

Upstream: pkg/printers/internalversion/printers.go printPod.
"""

from __future__ import annotations

from typing import Any

from timonel.apis.printing import AGE, human_duration
from timonel.apis.resource import Column
from timonel.objects import pods
from timonel.objects.meta import Object, is_deleting, nested, parse_time
from timonel.records import dataclass


@dataclass(slots=True)
class Restarts:
    """How often containers were started again, and when one of them last ended."""

    count: int = 0
    last: float = 0.0

    def add(self, status: Object) -> None:
        self.count += status.get("restartCount", 0)
        ended = parse_time(nested(status, "lastState", "terminated", "finishedAt"))
        self.last = max(self.last, ended or 0.0)

    def __str__(self) -> str:
        return str(self.count)

    def text(self, now: float) -> str:
        if self.count and self.last:
            return f"{self.count} ({human_duration(now - self.last)} ago)"
        return str(self.count)


@dataclass(slots=True)
class Summary:
    ready: int
    total: int
    reason: str
    restarts: Restarts


def is_sidecar(container: Object | None) -> bool:
    return container is not None and container.get("restartPolicy") == "Always"


def summarize(pod: Object) -> Summary:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    initial = {c.get("name"): c for c in spec.get("initContainers") or ()}
    phase = status.get("phase", "")
    reason = status.get("reason") or phase
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    total = len(spec.get("containers") or ()) + sum(map(is_sidecar, initial.values()))

    ready, restarts, sidecar_restarts = 0, Restarts(), Restarts()
    initializing = False
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        restarts.add(container)
        sidecar = is_sidecar(initial.get(container.get("name")))
        if sidecar:
            sidecar_restarts.add(container)
        if nested(container, "state", "terminated") is not None and not _exit_code(container):
            continue
        if sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        reason = _init_reason(container, index, len(initial))
        initializing = True
        break

    if not initializing or pods.is_condition_true(pod, "Initialized"):
        restarts, running = sidecar_restarts, False
        for container in reversed(status.get("containerStatuses") or ()):
            restarts.add(container)
            state = container.get("state") or {}
            found = _reason_of(state)
            if found:
                reason = found
            elif container.get("ready") and state.get("running") is not None:
                running = True
                ready += 1
        if reason == "Completed" and running:
            reason = "Running" if pods.is_ready(pod) else "NotReady"

    if is_deleting(pod):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif not pods.is_terminal(pod):
            reason = "Terminating"
    return Summary(ready, total, reason, restarts)


def _exit_code(container: Object) -> int:
    return nested(container, "state", "terminated", "exitCode") or 0


def _ending(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _init_reason(container: Object, index: int, total: int) -> str:
    state = container.get("state") or {}
    waiting = nested(state, "waiting", "reason")
    if state.get("terminated") is not None:
        return "Init:" + _ending(state["terminated"])
    if waiting and waiting != "PodInitializing":
        return f"Init:{waiting}"
    return f"Init:{index}/{total}"


def _reason_of(state: Object) -> str:
    waiting: str | None = nested(state, "waiting", "reason")
    if waiting:
        return waiting
    return _ending(state["terminated"]) if state.get("terminated") is not None else ""


def _ready(pod: Object, now: float) -> str:
    summary = summarize(pod)
    return f"{summary.ready}/{summary.total}"


def _readiness_gates(pod: Object, now: float) -> str:
    gates = nested(pod, "spec", "readinessGates") or []
    if not gates:
        return "<none>"
    met = sum(pods.is_condition_true(pod, gate.get("conditionType", "")) for gate in gates)
    return f"{met}/{len(gates)}"


def _address(pod: Object, now: float) -> Any:
    addresses = nested(pod, "status", "podIPs") or []
    return (addresses[0].get("ip") if addresses else "") or "<none>"


COLUMNS = (
    Column("Ready", _ready, description="The aggregate readiness state of this pod for accepting traffic."),
    Column(
        "Status",
        lambda pod, now: summarize(pod).reason,
        description="The aggregate status of the containers in this pod.",
    ),
    Column(
        "Restarts",
        lambda pod, now: summarize(pod).restarts.text(now),
        description=(
            "The number of times the containers in this pod have been restarted and when the last container in"
            " this pod has restarted."
        ),
    ),
    AGE,
    Column("IP", _address, priority=1, doc="status.podIP"),
    Column("Node", lambda pod, now: pods.node_of(pod) or "<none>", priority=1, doc="spec.nodeName"),
    Column(
        "Nominated Node",
        lambda pod, now: nested(pod, "status", "nominatedNodeName") or "<none>",
        priority=1,
        doc="status.nominatedNodeName",
    ),
    Column("Readiness Gates", _readiness_gates, priority=1, doc="spec.readinessGates"),
)
