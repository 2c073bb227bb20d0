"""One pod's life on a simulated node: the agent's own rules (podactions, podstatus), with time in place of a runtime.

`step` brings a life up to a moment: what fell due happens, what follows from it is begun, and the answer says which
status to write and when to look again. No I/O; a `Life` has one owner, who calls `step`.

    starting -> running -> ended -> (in back-off) -> starting …         deleted -> stopping -> gone

Everything that must survive the engine is in the pod's status, from which `restored` makes a life anew.
Upstream: pkg/kubelet/kubelet.go (SyncPod), kuberuntime_manager.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any

from timonel.node import backoff, podactions, podstatus
from timonel.node.backoff import Backoff
from timonel.node.cri.runtime import Container, ContainerState, Sandbox, SandboxState
from timonel.node.podruntime import PodRuntime, pod_runtime
from timonel.node.references import containers_of
from timonel.node.simulation.addresses import NoAddress
from timonel.node.simulation.behaviour import ANNOTATION, Behaviour, Unclear, behaviour_of
from timonel.objects.meta import Object, annotations_of, format_time, is_deleting, parse_time
from timonel.records import dataclass

RUNTIME = "simulated"
KEPT_LIVES = 2  # of a container: the present one and the one before
NOTHING: Mapping[str, str] = MappingProxyType({})  # one for all: of simulated things there are very many
MOST_ROUNDS = 100  # of one step: what a pod does in no time at all must come to an end
FOR_EVER = float("inf")
FINAL = ("Succeeded", "Failed")
SANDBOX_RETRY = 10.0  # as kubelet: seconds until the sandbox of a pod is tried again
NETWORK = 'plugin type="bridge" failed (add): failed to allocate for range 0:'  # as CNI's plugins say it
# of a container: what may make it start later, or become ready later, than at once
NOT_PLAIN = frozenset(("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "restartPolicy"))


@dataclass(frozen=True, slots=True)
class Told:
    """An event to record."""

    type: str
    reason: str
    message: str
    container: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`status` is the whole new one, empty where none is to be written; `wake_at` when to step again at the latest;
    `is_gone`: the pod may be deleted."""

    status: podstatus.Status
    wake_at: float | None = None
    is_gone: bool = False
    events: tuple[Told, ...] = ()


@dataclass(slots=True)
class Life:
    uid: str
    host_ip: str
    start_time: str
    runtime: PodRuntime = field(default_factory=PodRuntime)
    starting: dict[str, tuple[float, int]] = field(default_factory=dict)  # when it runs, and which attempt
    held: dict[str, float] = field(default_factory=dict)  # cannot start until then
    backoffs: dict[str, Backoff] = field(default_factory=dict)
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    failure: tuple[str, str] | None = None
    is_stopped: bool = False
    stops_at: float | None = None
    sandbox_at: float = 0.0  # its sandbox could not be made, and is not tried again before


def restored(pod: Object, host_ip: str, now: float) -> Life:
    """The life of a pod as its status tells it; a new one where it tells nothing."""
    status = pod.get("status") or {}
    uid: str = pod["metadata"]["uid"]
    life = Life(uid, host_ip, status.get("startTime") or format_time(now))
    is_over = status.get("phase") in FINAL
    ips = tuple(entry["ip"] for entry in status.get("podIPs") or ())
    known = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    specs = {c["name"]: c for c in containers_of(pod)}
    found = [
        _remembered(uid, specs[each["name"]], each, now)
        for each in known
        if each["name"] in specs and each.get("containerID")
    ]
    if ips or found:
        sandbox = _sandbox(pod, 0, () if is_over else ips, now)
        life.runtime = pod_runtime((sandbox,), found)
    life.is_stopped = is_over
    return life


def _remembered(uid: str, spec: Mapping[str, Any], status: Mapping[str, Any], now: float) -> Container:
    state = status.get("state") or {}
    attempt = int(status.get("restartCount", 0))
    container = _container(uid, spec, attempt, now)
    running, ended = state.get("running"), state.get("terminated")
    if ended is None and running is None:  # in back-off: its last end is what counts
        ended = (status.get("lastState") or {}).get("terminated") or {}
    if running is not None:
        started = parse_time(running.get("startedAt")) or now
        return replace(container, created_at=started, started_at=started)
    assert ended is not None
    started = parse_time(ended.get("startedAt")) or now
    return replace(
        container,
        state=ContainerState.EXITED,
        created_at=started,
        started_at=started,
        finished_at=parse_time(ended.get("finishedAt")) or now,
        exit_code=int(ended.get("exitCode", 0)),
        reason=str(ended.get("reason", "")),
    )


def step(life: Life, pod: Object, now: float, address: Callable[[], str]) -> Step:
    """`address` gives a fresh IP, or raises NoAddress; it is asked at most once for each sandbox."""
    events: list[Told] = []
    if is_deleting(pod):
        return _ending(life, pod, now, events)
    if not life.is_stopped and life.failure is None:
        wake_at = _run(life, pod, now, address, events)
        status = _status(life, pod, now)
        if status["phase"] not in FINAL and life.failure is None:
            return Step(status, wake_at, events=tuple(events))
    _stop_all(life, now, grace=1)
    return Step(_status(life, pod, now), events=tuple(events))


# ---- running


def _run(life: Life, pod: Object, now: float, address: Callable[[], str], events: list[Told]) -> float | None:
    """All that has to happen by now; when the next thing is due."""
    if _is_plain_birth(life, pod):
        return _give_birth(life, pod, now, address, events)
    for _ in range(MOST_ROUNDS):
        _start_what_is_due(life, pod, now)
        _end_what_is_due(life, pod, now, events)
        view = podactions.View(
            now=now,
            busy=life.starting.keys() | {name for name, until in life.held.items() if until > now},
            started=_started(life, pod, now),
            backoffs=life.backoffs,
        )
        actions = podactions.compute(pod, life.runtime, view)
        for name, delay in actions.waits.items():
            _say_backoff(life, pod, name, delay, events)
        if actions.new_sandbox is not None:
            sandbox = _new_sandbox(life, pod, actions.new_sandbox, now, address, events)
            if sandbox is None:
                break
            life.runtime = life.runtime.with_sandbox(sandbox)
            continue
        for start in actions.start:
            _begin(life, pod, start, now, events)
        if not actions.start:
            break
    if _is_past_deadline(life, pod, now):
        message = "Pod was active on the node longer than the specified deadline"
        life.failure = ("DeadlineExceeded", message)
        events.append(Told("Normal", "DeadlineExceeded", message))
        return None
    times = [
        t for t in (*_due_times(life, pod, now), actions.wake_at) if t is not None and now < t < FOR_EVER
    ]
    return min(times, default=None)


def _is_plain_birth(life: Life, pod: Object) -> bool:
    """Whether all that happens to this pod is that its containers run from now on. So it is with most pods, and
    then the rules need not be asked round by round."""
    spec = pod["spec"]
    return (
        not life.runtime.sandboxes
        and not life.runtime.containers
        and not life.starting
        and not life.held
        and spec.get("restartPolicy", "Always") == "Always"
        and not spec.get("initContainers")
        and spec.get("activeDeadlineSeconds") is None
        and not any(key.startswith(ANNOTATION) for key in annotations_of(pod))
        and not any(c.keys() & NOT_PLAIN for c in spec["containers"])
    )


def _give_birth(
    life: Life, pod: Object, now: float, address: Callable[[], str], events: list[Told]
) -> float | None:
    """When to try again, if it could not be."""
    sandbox = _new_sandbox(life, pod, 0, now, address, events)
    if sandbox is None:
        return life.sandbox_at
    containers = [
        _container(life.uid, spec, 0, now, sandbox_id=sandbox.id, started_at=now)
        for spec in reversed(pod["spec"]["containers"])  # newest first
    ]
    life.runtime = PodRuntime((sandbox,), tuple(containers))
    life.waiting.clear()
    return None


def _new_sandbox(
    life: Life, pod: Object, attempt: int, now: float, address: Callable[[], str], events: list[Told]
) -> Sandbox | None:
    """None where the network has no address for it, now or a moment ago."""
    if life.sandbox_at > now:
        return None
    try:
        ips = () if pod["spec"].get("hostNetwork") else (address(),)
    except NoAddress as e:
        life.sandbox_at = now + SANDBOX_RETRY
        events.append(no_sandbox(life.uid, e))
        return None
    return _sandbox(pod, attempt, ips, now)


def no_sandbox(uid: str, error: NoAddress) -> Told:
    why = f'failed to setup network for sandbox "{uid}": {NETWORK} {error}'
    message = f"Failed to create pod sandbox: rpc error: code = Unknown desc = {why}"
    return Told("Warning", "FailedCreatePodSandBox", message)


def behaviour(pod: Object, spec: Mapping[str, Any]) -> Behaviour:
    """What cannot be understood shows as a container that cannot be made."""
    try:
        return behaviour_of(spec["name"], annotations_of(pod), runs_to_end=_runs_to_end(pod, spec))
    except Unclear as e:
        return Behaviour(waiting="CreateContainerConfigError", message=str(e))


def _runs_to_end(pod: Object, spec: Mapping[str, Any]) -> bool:
    if podactions.is_sidecar(spec):
        return False
    inits = pod["spec"].get("initContainers") or ()
    return bool(any(c["name"] == spec["name"] for c in inits)) or (
        pod["spec"].get("restartPolicy", "Always") != "Always"
    )


def _begin(life: Life, pod: Object, start: podactions.Start, now: float, events: list[Told]) -> None:
    spec = _spec(pod, start.name)
    how = behaviour(pod, spec)
    if how.waiting and life.held.get(start.name, FOR_EVER) > now:
        first = start.name not in life.held
        life.held[start.name] = FOR_EVER if how.wait_for is None else now + how.wait_for
        life.waiting[start.name] = (how.waiting, how.message or why_waiting(how.waiting, spec))
        if first:
            events.append(Told("Warning", "Failed", f"Error: {how.waiting}", start.name))
        return
    latest = life.runtime.latest(start.name)
    if latest is not None and latest.state is ContainerState.EXITED:
        life.backoffs[start.name] = backoff.advance(life.backoffs.get(start.name), latest.finished_at, now)
    life.held.pop(start.name, None)
    life.waiting.pop(start.name, None)
    delay = how.start_delay + (how.pull_delay if start.attempt == 0 else 0)
    life.starting[start.name] = (now + delay, start.attempt)


def why_waiting(reason: str, spec: Mapping[str, Any]) -> str:
    image = spec.get("image", "")
    if reason == "ImagePullBackOff":
        return f'Back-off pulling image "{image}"'
    if reason == "ErrImagePull":
        return f'failed to pull and unpack image "{image}": not found'
    return ""


def _start_what_is_due(life: Life, pod: Object, now: float) -> None:
    for name, (due, attempt) in list(life.starting.items()):
        if due > now:
            continue
        del life.starting[name]
        sandbox = life.runtime.sandbox
        container = _container(life.uid, _spec(pod, name), attempt, now)
        assert sandbox is not None
        _put(life, replace(container, sandbox_id=sandbox.id, started_at=now))


def _put(life: Life, container: Container) -> None:
    """With it, of its name only so many lives are kept."""
    runtime = life.runtime.with_container(container)
    same = [c.id for c in runtime.containers if c.name == container.name]
    life.runtime = runtime.without(*same[KEPT_LIVES:]) if len(same) > KEPT_LIVES else runtime


def _end_what_is_due(life: Life, pod: Object, now: float, events: list[Told]) -> None:
    for container in _running(life):
        spec = _spec_or_none(pod, container.name)
        if spec is None:
            continue
        how = behaviour(pod, spec)
        due, probe = _end_of(container, spec, how)
        if spec["image"] != container.image:
            told = f"Container {container.name} definition changed, will be restarted"
            events.append(Told("Normal", "Killing", told, container.name))
            _end(life, container, now, 137, "Error")
        elif due <= now and probe:
            failed = f"Container {container.name} failed {probe} probe, will be restarted"
            events.append(
                Told("Warning", "Unhealthy", f"{probe.title()} probe failed: simulated", container.name)
            )
            events.append(Told("Normal", "Killing", failed, container.name))
            _end(life, container, due, 137, "Error")
        elif due <= now:
            code = how.code_of(container.attempt)
            reason = "OOMKilled" if how.is_oom else "Completed" if code == 0 else "Error"
            _end(life, container, due, code, reason)


def _end(life: Life, container: Container, when: float, code: int, reason: str) -> None:
    _put(
        life,
        replace(container, state=ContainerState.EXITED, finished_at=when, exit_code=code, reason=reason),
    )


def _end_of(container: Container, spec: Mapping[str, Any], how: Behaviour) -> tuple[float, str]:
    """When it ends, and which probe then gives up on it, if one does."""
    ends = FOR_EVER if how.run_for is None else container.started_at + how.run_for
    probe = spec.get("livenessProbe")
    if probe and how.fail_liveness_after is not None:
        tries = int(probe.get("failureThreshold") or 3) * float(probe.get("periodSeconds") or 10)
        killed = container.started_at + how.fail_liveness_after + tries
        if killed < ends:
            return killed, "liveness"
    return ends, ""


def _say_backoff(life: Life, pod: Object, name: str, delay: float, events: list[Told]) -> None:
    meta = pod["metadata"]
    full = f"{meta['name']}_{meta['namespace']}({life.uid})"
    message = f"back-off {backoff.spoken(delay)} restarting failed container={name} pod={full}"
    if life.waiting.get(name) != ("CrashLoopBackOff", message):
        life.waiting[name] = ("CrashLoopBackOff", message)
        told = f"Back-off restarting failed container {name} in pod {full}"
        events.append(Told("Warning", "BackOff", told, name))


def _is_past_deadline(life: Life, pod: Object, now: float) -> bool:
    due = _deadline(life, pod)
    return due is not None and due <= now


def _deadline(life: Life, pod: Object) -> float | None:
    limit = pod["spec"].get("activeDeadlineSeconds")
    return None if limit is None else (parse_time(life.start_time) or 0.0) + float(limit)


def _due_times(life: Life, pod: Object, now: float) -> Iterator[float | None]:
    yield from (due for due, _ in life.starting.values())
    yield from life.held.values()
    yield _deadline(life, pod)
    yield life.sandbox_at
    for container in _running(life):
        spec = _spec_or_none(pod, container.name)
        if spec is not None:
            how = behaviour(pod, spec)
            yield _end_of(container, spec, how)[0]
            yield _started_at(container, spec)
            yield _ready_at(container, spec, how)


# ---- probes


def _started_at(container: Container, spec: Mapping[str, Any]) -> float:
    return container.started_at + float((spec.get("startupProbe") or {}).get("initialDelaySeconds") or 0)


def _ready_at(container: Container, spec: Mapping[str, Any], how: Behaviour) -> float:
    if not how.is_ever_ready:
        return FOR_EVER
    if how.ready_after is not None:
        return container.started_at + how.ready_after
    probe = spec.get("readinessProbe") or {}
    return max(
        _started_at(container, spec), container.started_at + float(probe.get("initialDelaySeconds") or 0)
    )


def _started(life: Life, pod: Object, now: float) -> frozenset[str]:
    return frozenset(
        c.id
        for c in _running(life)
        if (spec := _spec_or_none(pod, c.name)) is not None and _started_at(c, spec) <= now
    )


def _ready(life: Life, pod: Object, now: float) -> frozenset[str]:
    return frozenset(
        c.id
        for c in _running(life)
        if (spec := _spec_or_none(pod, c.name)) is not None
        and _ready_at(c, spec, behaviour(pod, spec)) <= now
    )


# ---- the end


def _ending(life: Life, pod: Object, now: float, events: list[Told]) -> Step:
    grace = pod["metadata"].get("deletionGracePeriodSeconds")
    grace = float(pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace)
    delay = max(
        (
            behaviour(pod, spec).stop_delay
            for c in _running(life)
            if (spec := _spec_or_none(pod, c.name)) is not None
        ),
        default=0.0,
    )
    # as the agent: a second, shorter grace period counts, a longer one does not
    life.stops_at = min(FOR_EVER if life.stops_at is None else life.stops_at, now + min(delay, grace))
    if life.stops_at > now:
        return Step(_status(life, pod, now), life.stops_at, events=tuple(events))
    _stop_all(life, now, grace=grace if delay < grace else 0)
    # Nobody asks how the containers of a pod ended that is gone in the next moment, but for who holds it back.
    status = _status(life, pod, now) if pod["metadata"].get("finalizers") else {}
    return Step(status, is_gone=True, events=tuple(events))


def _stop_all(life: Life, now: float, *, grace: float) -> None:
    """Simulated processes heed TERM, and end well."""
    for container in _running(life):
        code = 0 if grace > 0 else 137
        _end(life, container, now, code, "Completed" if code == 0 else "Error")
    life.starting.clear()
    sandbox = life.runtime.sandbox
    if sandbox is not None:
        life.runtime = life.runtime.with_sandbox(replace(sandbox, state=SandboxState.NOT_READY, ips=()))
    life.is_stopped = True


# ---- parts


def _running(life: Life) -> list[Container]:
    return [c for c in life.runtime.containers if c.state is ContainerState.RUNNING]


def _status(life: Life, pod: Object, now: float) -> podstatus.Status:
    facts = podstatus.Facts(
        now=now,
        host_ip=life.host_ip,
        start_time=life.start_time,
        ready=_ready(life, pod, now),
        started=_started(life, pod, now),
        waiting=life.waiting,
        failure=life.failure,
        is_stopped=life.is_stopped,
        runtime_name=RUNTIME,
    )
    return podstatus.build(pod, life.runtime, facts)


def _spec_or_none(pod: Object, name: str) -> Mapping[str, Any] | None:
    return next((c for c in containers_of(pod) if c["name"] == name), None)


def _spec(pod: Object, name: str) -> Mapping[str, Any]:
    found = _spec_or_none(pod, name)
    assert found is not None
    return found


def _sandbox(pod: Object, attempt: int, ips: tuple[str, ...], now: float) -> Sandbox:
    meta = pod["metadata"]
    return Sandbox(
        id=meta["uid"],
        name=meta["name"],
        uid=meta["uid"],
        namespace=meta["namespace"],
        attempt=attempt,
        state=SandboxState.READY,
        created_at=now,
        ips=ips,
        labels=NOTHING,
        annotations=NOTHING,
    )


def _container(
    uid: str,
    spec: Mapping[str, Any],
    attempt: int,
    now: float,
    *,
    sandbox_id: str = "",
    started_at: float = 0.0,
) -> Container:
    name, image = spec["name"], spec.get("image", "")
    return Container(
        id=hashlib.sha256(f"{uid}/{name}/{attempt}".encode()).hexdigest(),
        sandbox_id=sandbox_id or uid,
        name=name,
        attempt=attempt,
        state=ContainerState.RUNNING,
        image=image,
        image_ref=image_ref(image),
        created_at=now,
        started_at=started_at,
        labels=NOTHING,
        annotations=NOTHING,
    )


def image_ref(image: str) -> str:
    repository = image.rsplit(":", 1)[0] if ":" in image.rsplit("/", 1)[-1] else image
    return f"{repository}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"
