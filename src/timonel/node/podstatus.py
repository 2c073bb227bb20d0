"""What pod.status says, from the spec, the runtime's view, probe results and what went wrong last. Pure.

Order and words are upstream's: pkg/kubelet/kubelet_pods.go (getPhase, convertToAPIContainerStatuses),
pkg/kubelet/status/generate.go (conditions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Any

from timonel.node import podactions
from timonel.node.cri.runtime import Container, ContainerState
from timonel.node.imagenames import normalized
from timonel.node.podruntime import RESTART_COUNT, PodRuntime
from timonel.objects.meta import Object, format_time
from timonel.records import dataclass

Status = dict[str, Any]
OTHER_STATUSES = ("initContainerStatuses", "ephemeralContainerStatuses")
MESSAGES_LIMIT = 12 << 10
RESIZE_CONDITIONS = ("PodResizePending", "PodResizeInProgress")  # gone when there is nothing to say
DISRUPTION = "DisruptionTarget"
OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the status depends on besides spec and runtime."""

    now: float
    host_ip: str
    start_time: str  # when the agent first saw the pod
    ready: AbstractSet[str] = frozenset()  # ids of containers whose readiness probe passes, or that have none
    started: AbstractSet[str] = frozenset()
    waiting: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # container -> (reason, message)
    failure: tuple[str, str] | None = None  # the node refused or ended the pod: (reason, message)
    disruption: str = ""  # message of the DisruptionTarget condition, when the node ends the pod
    in_force: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # resources that containers run with
    resize: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # condition -> (reason, message)
    is_ending: bool = False  # something may run still, and is being stopped
    is_stopped: bool = False  # nothing runs any more, and nothing will
    runtime_name: str = "containerd"


def build(pod: Object, runtime: PodRuntime, facts: Facts) -> Status:
    """The whole new status; conditions that are not the node's are kept as they are."""
    spec = pod["spec"]
    old: Status = pod.get("status") or {}
    inits = spec.get("initContainers") or []
    init_statuses = [_container_status(pod, c, runtime, facts, init=True) for c in inits]
    # As kubelet: what never had its turn is not said to have ended (status_manager.go TerminatePod)
    had_its_turn = all(s["ready"] or s["started"] for s in init_statuses) or bool(
        old.get("phase") == "Running"
    )
    statuses = [
        _container_status(pod, c, runtime, facts, init=False, had_its_turn=had_its_turn)
        for c in spec["containers"]
    ]
    _shorten([*init_statuses, *statuses])
    phase = _phase_now(pod, init_statuses, statuses, facts, old)
    if phase in ("Succeeded", "Failed"):
        for ended in statuses:
            ended["ready"] = False
    status: Status = {
        "observedGeneration": pod["metadata"].get("generation", 1),
        "phase": phase,
        "conditions": _conditions(pod, runtime, facts, phase, init_statuses, statuses),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": facts.start_time,
        "containerStatuses": statuses,
        "qosClass": old.get("qosClass") or qos_class(spec),
    }
    if facts.failure is not None and phase == "Failed":
        status["reason"], status["message"] = facts.failure
    if inits:
        status["initContainerStatuses"] = init_statuses
    if spec.get("ephemeralContainers"):
        status["ephemeralContainerStatuses"] = [
            {**_container_status(pod, c, runtime, facts, init=False), "ready": False}
            for c in spec["ephemeralContainers"]
        ]
    ips = _pod_ips(pod, runtime, facts)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    if facts.failure is not None and not runtime.containers:
        del status["containerStatuses"]
        status.pop("initContainerStatuses", None)
        status.pop("ephemeralContainerStatuses", None)
    return status


def _pod_ips(pod: Object, runtime: PodRuntime, facts: Facts) -> Sequence[str]:
    if pod["spec"].get("hostNetwork"):
        return [facts.host_ip] if runtime.sandbox else []
    if runtime.sandbox is not None and runtime.sandbox.ips:
        return runtime.sandbox.ips
    old = pod.get("status") or {}
    if runtime.sandbox is not None or facts.is_stopped:
        return [
            entry["ip"] for entry in old.get("podIPs") or ()
        ]  # a stopped sandbox has forgotten its address
    return []


# ---- containers


def _shorten(statuses: Sequence[Status]) -> None:
    """What a pod's containers said at their end fits into 12 KiB together (status_manager.go, normalizeStatus)."""
    limit = MESSAGES_LIMIT // max(len(statuses), 1)
    for status in statuses:
        for key in ("state", "lastState"):
            end = (status.get(key) or {}).get("terminated") or {}
            message = str(end.get("message") or "").encode()
            if len(message) > limit:
                short = {**end, "message": message[:limit].decode("utf-8", "ignore")}
                status[key] = {"terminated": short}


def _container_status(
    pod: Object,
    c: Mapping[str, Any],
    runtime: PodRuntime,
    facts: Facts,
    *,
    init: bool,
    had_its_turn: bool = False,
) -> Status:
    name = c["name"]
    kept = _kept(pod, name, init=init)
    if runtime.latest(name) is None and kept is not None:
        return kept
    latest, previous = runtime.latest(name), runtime.previous(name)
    last: Status = {}
    if previous is not None and previous.state is ContainerState.EXITED:
        last = {"terminated": terminated(previous, facts.runtime_name)}
    state, started = _state(pod, c, latest, facts, init=init, had_its_turn=had_its_turn)
    if "waiting" in state and latest is not None and latest.state is ContainerState.EXITED:
        last = {"terminated": terminated(latest, facts.runtime_name)}
    status: Status = {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": _is_ready(c, latest, facts, init=init),
        "restartCount": _restart_count(latest),
        "image": normalized(c["image"]) if latest is not None else c["image"],
        "imageID": "",
        "started": started,
    }
    if latest is not None:
        status["imageID"] = latest.image_ref
        status["containerID"] = f"{facts.runtime_name}://{latest.id}"
    resources = c.get("resources") or {}
    if resources and latest is not None:
        status["resources"] = dict(facts.in_force.get(name, resources))
        if resources.get("requests"):
            status["allocatedResources"] = dict(resources["requests"])
    mounts = [_mount_status(m) for m in c.get("volumeMounts") or ()]
    if mounts and latest is not None:
        status["volumeMounts"] = mounts
    return status


def _kept(pod: Object, name: str, *, init: bool) -> Status | None:
    """What the API server knows of a container that ended and that the runtime has forgotten."""
    keys = ("initContainerStatuses",) if init else ("containerStatuses", "ephemeralContainerStatuses")
    known = pod.get("status") or {}
    for status in (s for key in keys for s in known.get(key) or ()):
        if status["name"] == name and "terminated" in (status.get("state") or {}):
            return {"lastState": {}, **status}
    return None


def next_attempts(pod: Object, runtime: PodRuntime) -> dict[str, int]:
    """By container, the attempt that follows what the API server knows, where the runtime has forgotten all of them."""
    known = pod.get("status") or {}
    found = dict[str, int]()
    for status in (*(known.get("initContainerStatuses") or ()), *(known.get("containerStatuses") or ())):
        has_run = "waiting" not in (status.get("state") or {"waiting": {}})
        if runtime.latest(status["name"]) is None:
            found[status["name"]] = int(status.get("restartCount", 0)) + has_run
    return found


def _mount_status(mount: Mapping[str, Any]) -> Status:
    found = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        found["readOnly"] = True
        is_recursive = mount.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        found["recursiveReadOnly"] = "Enabled" if is_recursive else "Disabled"
    return found


def _restart_count(latest: Container | None) -> int:
    if latest is None:
        return 0
    return int(latest.annotations.get(RESTART_COUNT, latest.attempt))


def _state(
    pod: Object,
    c: Mapping[str, Any],
    latest: Container | None,
    facts: Facts,
    *,
    init: bool,
    had_its_turn: bool,
) -> tuple[Status, bool]:
    """The container's state and whether it counts as started."""
    waiting = facts.waiting.get(c["name"])
    if latest is not None and latest.state is ContainerState.RUNNING and not facts.is_stopped:
        return {"running": {"startedAt": format_time(latest.started_at)}}, latest.id in facts.started
    if facts.is_stopped and (latest is not None or had_its_turn):
        return {"terminated": _ended(latest, facts)}, False
    if latest is not None and latest.state is ContainerState.EXITED:
        again = podactions.should_restart(pod, c, latest, init=init)
        if waiting is None or not again:
            return {"terminated": terminated(latest, facts.runtime_name)}, False
    if waiting is not None:
        reason, message = waiting
        return {"waiting": {"reason": reason, **({"message": message} if message else {})}}, False
    has_inits = bool(pod["spec"].get("initContainers"))
    return {"waiting": {"reason": "PodInitializing" if has_inits else "ContainerCreating"}}, False


def _ended(latest: Container | None, facts: Facts) -> Status:
    if latest is not None and latest.state is ContainerState.EXITED:
        return terminated(latest, facts.runtime_name)
    # As kubelet: a container of a finished pod of which nothing is known (kubelet_pods.go)
    return {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "startedAt": None,
        "finishedAt": None,
    }


def terminated(c: Container, runtime_name: str) -> Status:
    found: Status = {
        "exitCode": c.exit_code,
        "reason": c.reason or ("Completed" if c.exit_code == 0 else "Error"),
        "startedAt": format_time(c.started_at),  # 1970 for one that never did, as upstream
        "finishedAt": format_time(c.finished_at),
        "containerID": f"{runtime_name}://{c.id}",
    }
    if c.message:
        found["message"] = c.message
    return found


def _is_ready(c: Mapping[str, Any], latest: Container | None, facts: Facts, *, init: bool) -> bool:
    if latest is None:
        return False
    if init and not podactions.is_sidecar(c):
        return latest.state is ContainerState.EXITED and latest.exit_code == 0
    if facts.is_stopped:
        return False
    return latest.state is ContainerState.RUNNING and latest.id in facts.ready and latest.id in facts.started


# ---- phase


def _phase_now(
    pod: Object, inits: Sequence[Status], statuses: Sequence[Status], facts: Facts, old: Status
) -> str:
    if old.get("phase") in ("Succeeded", "Failed"):
        return str(old["phase"])  # a pod never leaves a final phase
    phase = "Failed"
    if facts.failure is None:
        phase = phase_of(pod["spec"], inits, statuses, is_stopped=facts.is_stopped)
    if facts.is_ending and phase in ("Succeeded", "Failed"):
        return str(
            old.get("phase") or "Pending"
        )  # final only once nothing runs (status_manager.go, mergePodStatus)
    return phase


def phase_of(
    spec: Mapping[str, Any], inits: Sequence[Status], statuses: Sequence[Status], *, is_stopped: bool
) -> str:
    pending, failed = _count_inits(spec, inits, is_stopped=is_stopped)
    waiting = sum(1 for s in statuses if "waiting" in s["state"] and not s["lastState"])
    running = sum(1 for s in statuses if "running" in s["state"])
    ends = [e for s in statuses if (e := _end_of(s)) is not None]
    succeeded = sum(1 for e in ends if e["exitCode"] == 0)
    has_begun = any("running" in s["state"] or s["lastState"] for s in statuses) or bool(ends)
    if failed:
        return "Failed"
    if pending and not has_begun and not is_stopped:
        return "Pending"
    if waiting:
        return "Pending"
    if running:
        return "Running"
    if not ends:
        return "Pending"
    if not is_stopped and _any_restarts(spec, statuses):
        return "Running"
    return "Succeeded" if succeeded == len(ends) else "Failed"


def _any_restarts(spec: Mapping[str, Any], statuses: Sequence[Status]) -> bool:
    pairs = zip(spec["containers"], statuses, strict=True)
    return any(
        podactions.restarts_after(spec, c, end["exitCode"], init=False)
        for c, status in pairs
        if (end := _end_of(status)) is not None
    )


def _end_of(status: Status) -> Status | None:
    """How the container ended, if it does not run now."""
    state, last = status["state"], status["lastState"]
    found: Status | None = state.get("terminated")
    if found is None and "waiting" in state:
        found = last.get("terminated")
    return found


def _count_inits(spec: Mapping[str, Any], statuses: Sequence[Status], *, is_stopped: bool) -> tuple[int, int]:
    """Those that are not through yet, and those that failed for good."""
    pending = failed = 0
    for c, status in zip(spec.get("initContainers") or (), statuses, strict=True):
        if podactions.is_sidecar(c):
            pending += not status.get("started")
            continue
        end = _end_of(status)
        if end is not None and end["exitCode"] != 0:
            is_final = is_stopped or not podactions.restarts_after(spec, c, end["exitCode"], init=True)
            failed += is_final
            pending += not is_final
        elif "terminated" not in status["state"]:
            pending += 1
    return pending, failed


# ---- conditions


@dataclass(frozen=True, slots=True)
class _Verdict:
    status: bool
    reason: str = ""
    message: str = ""


def _conditions(
    pod: Object,
    runtime: PodRuntime,
    facts: Facts,
    phase: str,
    inits: Sequence[Status],
    statuses: Sequence[Status],
) -> list[Status]:
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    containers_ready = _containers_ready(pod["spec"], phase, inits, statuses)
    verdicts = {
        "PodReadyToStartContainers": _Verdict(
            not facts.is_stopped and not podactions.needs_sandbox(pod, runtime)
        ),
        "Initialized": _initialized(pod["spec"], phase, inits, statuses),
        "Ready": _pod_ready(pod["spec"], containers_ready, old),
        "ContainersReady": containers_ready,
        "PodScheduled": _Verdict(True),
    }
    if facts.disruption:
        verdicts[DISRUPTION] = _Verdict(True, "TerminationByKubelet", facts.disruption)
    verdicts |= {type_: _Verdict(True, *why) for type_, why in facts.resize.items()}
    generation = pod["metadata"].get("generation", 1)
    own = [_condition(t, verdicts[t], old.get(t), facts.now, generation) for t in verdicts]
    return own + [c for t, c in old.items() if t not in verdicts and t not in RESIZE_CONDITIONS]


def _condition(type_: str, v: _Verdict, old: Status | None, now: float, generation: int) -> Status:
    status = "True" if v.status else "False"
    since = old["lastTransitionTime"] if old and old.get("status") == status else None
    found: Status = {
        "type": type_,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": since or format_time(now),
        "observedGeneration": generation,
    }
    if v.reason:
        found["reason"] = v.reason
    if v.message:
        found["message"] = v.message
    return found


def _listing(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"


def _containers_ready(
    spec: Mapping[str, Any], phase: str, inits: Sequence[Status], statuses: Sequence[Status]
) -> _Verdict:
    if phase == "Succeeded":
        return _Verdict(False, "PodCompleted")
    if phase == "Failed":
        return _Verdict(False, "PodFailed")
    sidecars = {c["name"] for c in spec.get("initContainers") or () if podactions.is_sidecar(c)}
    unready = [s["name"] for s in inits if s["name"] in sidecars and not s["ready"]]
    unready += [s["name"] for s in statuses if not s["ready"]]
    if unready:
        message = f"containers with unready status: {_listing(unready)}"
        return _Verdict(False, "ContainersNotReady", message)
    return _Verdict(True)


def _initialized(
    spec: Mapping[str, Any], phase: str, inits: Sequence[Status], statuses: Sequence[Status]
) -> _Verdict:
    if phase == "Succeeded":
        return _Verdict(True, "PodCompleted")
    if any("running" in s["state"] or s["lastState"] or "terminated" in s["state"] for s in statuses):
        return _Verdict(True)
    incomplete = []
    for c, status in zip(spec.get("initContainers") or (), inits, strict=True):
        if not (status.get("started") if podactions.is_sidecar(c) else status["ready"]):
            incomplete.append(c["name"])
    if incomplete:
        message = f"containers with incomplete status: {_listing(incomplete)}"
        return _Verdict(False, "ContainersNotInitialized", message)
    return _Verdict(True)


def _pod_ready(spec: Mapping[str, Any], containers: _Verdict, old: Mapping[str, Status]) -> _Verdict:
    if not containers.status:
        return containers
    messages = []
    for gate in spec.get("readinessGates") or ():
        kind = gate["conditionType"]
        condition = old.get(kind)
        if condition is None:
            messages.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif condition["status"] != "True":
            found = condition["status"]
            messages.append(f'the status of pod readiness gate "{kind}" is not "True", but {found}')
    return _Verdict(False, "ReadinessGatesNotReady", ", ".join(messages)) if messages else _Verdict(True)


# ---- quality of service


def qos_class(spec: Mapping[str, Any]) -> str:
    """Upstream: pkg/apis/core/v1/helper/qos/qos.go. Guaranteed: cpu and memory limited everywhere, requests equal."""
    requests, limits = dict[str, Any](), dict[str, Any]()
    is_guaranteed = True
    for c in (*spec["containers"], *(spec.get("initContainers") or ())):
        resources = c.get("resources") or {}
        own_limits = {k: v for k, v in (resources.get("limits") or {}).items() if k in ("cpu", "memory")}
        own_requests = {k: v for k, v in (resources.get("requests") or {}).items() if k in ("cpu", "memory")}
        requests |= own_requests
        limits |= own_limits
        if set(own_limits) != {"cpu", "memory"} or any(
            own_limits.get(k) != v for k, v in own_requests.items()
        ):
            is_guaranteed = False
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if is_guaranteed else "Burstable"


# ---- what to send


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Status:
    """The part of `new` that differs, with null for what is gone; empty when there is nothing to send."""
    patch: Status = {key: value for key, value in new.items() if old.get(key) != value}
    for key in ("reason", "message", "podIP", "podIPs", "containerStatuses", *OTHER_STATUSES):
        if key in old and key not in new:
            patch[key] = None
    if old.get("podIPs") and patch.get("podIPs"):
        patch["podIPs"] = [{"$patch": "replace"}, *patch["podIPs"]]  # else the list is merged by its key
    before, after = _by_type(old.get("conditions")), _by_type(new.get("conditions"))
    gone = [{"$patch": "delete", "type": t} for t in RESIZE_CONDITIONS if t in before and t not in after]
    if "conditions" in patch and after.items() <= before.items() and not gone:
        del patch["conditions"]  # others may have conditions of their own besides
    elif "conditions" in patch:
        patch["conditions"] = _merging(old.get("conditions") or (), patch["conditions"]) + gone
    for key in ("containerStatuses", *OTHER_STATUSES):
        if key in patch and _without_nulls(patch[key]) == _without_nulls(old.get(key)):
            del patch[key]
    return patch


def _merging(old: Iterable[Status], new: Iterable[Status]) -> list[Status]:
    """Conditions are merged by type: what is not said any more has to be taken away."""
    before = {c["type"]: c for c in old}
    return [{**{key: None for key in before.get(c["type"], {}) if key not in c}, **c} for c in new]


def _by_type(conditions: Iterable[Status] | None) -> dict[str, Status]:
    return {c["type"]: _without_nulls(c) for c in conditions or ()}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value
