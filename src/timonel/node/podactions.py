"""What to start and stop so that the runtime comes to match a pod's spec. Pure: values in, values out.

Rules, first match wins: an operation on the sandbox is under way: wait · the sandbox is missing, dead or without an
address: make a new one, unless there is nothing left to run in it · init containers in order, each to its end (a
sidecar: until it has started) · then all containers. Ephemeral containers run once, whenever there is a sandbox. A
container runs again if its restart policy says so and its back-off is over; it is killed when a probe gave up on it or
when its image changed.

Upstream: pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions), kuberuntime_container.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Any

from timonel.node import backoff
from timonel.node.backoff import Backoff
from timonel.node.cri.runtime import Container, ContainerState, Sandbox, SandboxState
from timonel.node.podresources import is_sidecar as is_sidecar
from timonel.node.podruntime import HASH, PodRuntime, spec_hash
from timonel.objects.meta import Object
from timonel.records import dataclass

LOST_CODE = 137  # of what ended with its sandbox
SANDBOX = ""  # the name of the sandbox's operation among the busy ones; no container can have it
ContainerSpec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """What the decision depends on besides spec and runtime."""

    now: float
    busy: AbstractSet[str] = frozenset()  # containers (or SANDBOX) with an operation under way
    started: AbstractSet[str] = frozenset()  # ids of containers whose startup probe passed, or that have none
    failed: Mapping[str, str] = field(default_factory=dict)  # container id -> "liveness" or "startup"
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)  # by container name
    attempts: Mapping[str, int] = field(default_factory=dict)  # by container name: the next, at the least


@dataclass(frozen=True, slots=True)
class Start:
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Kill:
    container_id: str
    name: str
    message: str
    probe: str = ""  # which probe gave up on it


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove a container that was made and never started: whoever made it was interrupted. It holds the name."""

    container_id: str
    name: str


@dataclass(frozen=True, slots=True)
class PodActions:
    """`new_sandbox` is the attempt number of the sandbox to make. `waits`: containers in back-off, with their delay."""

    new_sandbox: int | None = None
    start: tuple[Start, ...] = ()
    kill: tuple[Kill, ...] = ()
    discard: tuple[Discard, ...] = ()
    waits: Mapping[str, float] = field(default_factory=dict)
    wake_at: float | None = None


def compute(pod: Object, runtime: PodRuntime, view: View) -> PodActions:
    if SANDBOX in view.busy:
        return PodActions()
    if needs_sandbox(pod, runtime):
        attempt = runtime.sandbox.attempt + 1 if runtime.sandbox else 0
        return PodActions(new_sandbox=attempt) if _has_work(pod, runtime) else PodActions()
    return _gather(_container_steps(pod, runtime, view))


def needs_sandbox(pod: Object, runtime: PodRuntime) -> bool:
    sandbox = runtime.sandbox
    if sandbox is None or sandbox.state is not SandboxState.READY:
        return True
    return not sandbox.ips and not pod["spec"].get("hostNetwork")


def restart_policy(pod: Object, container: ContainerSpec, *, init: bool) -> str:
    return _policy(pod["spec"], container, init=init)


def _policy(spec: Mapping[str, Any], container: ContainerSpec, *, init: bool) -> str:
    own: str | None = container.get("restartPolicy")
    if own:
        return own
    policy: str = spec.get("restartPolicy", "Always")
    return "OnFailure" if init and policy == "Always" else policy


def should_restart(pod: Object, container: ContainerSpec, found: Container | None, *, init: bool) -> bool:
    """Whether a container in this state is to be run (again), back-off aside."""
    if found is None or found.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
        return True
    if found.state is ContainerState.RUNNING:
        return False
    return restarts_after(pod["spec"], container, found.exit_code, init=init)


def restarts_after(spec: Mapping[str, Any], container: ContainerSpec, code: int, *, init: bool) -> bool:
    """Whether a container that ended so is to be run again: by its own rules, its own policy or the pod's."""
    if any(_rule_matches(rule, code) for rule in container.get("restartPolicyRules") or ()):
        return True
    policy = _policy(spec, container, init=init)
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _rule_matches(rule: Mapping[str, Any], code: int) -> bool:
    wanted = rule.get("exitCodes") or {}
    listed = code in (wanted.get("values") or ())
    return rule.get("action") == "Restart" and listed == (wanted.get("operator") == "In")


def is_initialized(pod: Object, runtime: PodRuntime) -> bool:
    """Some container proper was made in the present sandbox: init containers do not run again."""
    sandbox = runtime.sandbox
    names = {c["name"] for c in pod["spec"]["containers"]}
    return sandbox is not None and any(
        c.sandbox_id == sandbox.id and c.name in names for c in runtime.containers
    )


def old_lives(runtime: PodRuntime) -> tuple[list[Container], list[Sandbox]]:
    """Dead containers that two newer lives have followed, and dead sandboxes that then have none left."""
    seen = dict[str, int]()
    containers = []
    for c in runtime.containers:  # newest first
        seen[c.name] = seen.get(c.name, 0) + 1
        if seen[c.name] > 2 and c.state is ContainerState.EXITED:
            containers.append(c)
    kept = {c.sandbox_id for c in runtime.containers if c not in containers}
    sandboxes = [s for s in runtime.sandboxes[1:] if s.id not in kept and s.state is not SandboxState.READY]
    return containers, sandboxes


def has_failed_init(pod: Object, runtime: PodRuntime) -> bool:
    """An init container failed for good: the pod cannot go on."""
    for c in pod["spec"].get("initContainers") or ():
        found = None if is_sidecar(c) else runtime.latest(c["name"])
        if found is None or found.state is not ContainerState.EXITED or found.exit_code == 0:
            continue
        if not should_restart(pod, c, found, init=True):
            return True
    return False


def _has_work(pod: Object, runtime: PodRuntime) -> bool:
    """Whether a fresh sandbox would have something to run."""
    runtime = _without_leftovers(runtime)
    if not runtime.containers:
        return True
    spec = pod["spec"]
    if runtime.sandbox is not None and not any(
        restarts_after(spec, c, LOST_CODE, init=False) for c in spec["containers"]
    ):
        return False
    return any(
        should_restart(pod, c, _as_lost(runtime.latest(c["name"])), init=False)
        for c in pod["spec"]["containers"]
    )


def _without_leftovers(runtime: PodRuntime) -> PodRuntime:
    return runtime.without(*(c.id for c in runtime.containers if c.state is ContainerState.CREATED))


def _as_lost(found: Container | None) -> Container | None:
    """A container that ran in a dead sandbox does not run any more, whatever the last look said."""
    return None if found is not None and found.state is ContainerState.RUNNING else found


_Step = Start | Kill | Discard | tuple[str, float, float]  # the last: in back-off (name, delay, until)


def _gather(steps: Iterator[_Step]) -> PodActions:
    start, kill, discard = list[Start](), list[Kill](), list[Discard]()
    waits, wake_at = dict[str, float](), list[float]()
    for step in steps:
        if isinstance(step, Start):
            start.append(step)
        elif isinstance(step, Kill):
            kill.append(step)
        elif isinstance(step, Discard):
            discard.append(step)
        else:
            name, delay, until = step
            waits[name] = delay
            wake_at.append(until)
    return PodActions(None, tuple(start), tuple(kill), tuple(discard), waits, min(wake_at, default=None))


def _container_steps(pod: Object, runtime: PodRuntime, view: View) -> Iterator[_Step]:
    for c in pod["spec"].get("ephemeralContainers") or ():
        latest = runtime.latest(c["name"])
        if latest is None or latest.state is ContainerState.CREATED:
            yield from _one(pod, c, runtime, view, init=True)
    steps, has_initialized = _init_steps(pod, runtime, view)
    yield from steps
    if not has_initialized or has_failed_init(pod, runtime):
        return
    for c in pod["spec"]["containers"]:
        yield from _one(pod, c, runtime, view, init=False)
        if c["name"] in view.busy and (c.get("lifecycle") or {}).get("postStart"):
            return  # as kubelet, which starts them one by one: the next one waits for the hook


def _current(name: str, runtime: PodRuntime) -> Container | None:
    found = runtime.latest(name)
    assert runtime.sandbox is not None
    return found if found is not None and found.sandbox_id == runtime.sandbox.id else None


def _init_steps(pod: Object, runtime: PodRuntime, view: View) -> tuple[list[_Step], bool]:
    """What to do with init containers, and whether they are through.

    As kubelet (computeInitContainerActions), from the last one back: the first that is found to have run says which is
    next; of those before it, which may be forgotten by now, only the sidecars are kept running, whether or not they
    run at the moment."""
    inits = pod["spec"].get("initContainers") or []
    is_past = has_initialized = is_initialized(pod, runtime) or not inits
    steps = dict[int, list[_Step]]()

    def take(index: int) -> None:
        steps[index] = list(_one(pod, inits[index], runtime, view, init=True))

    for index in reversed(range(len(inits))):
        c = inits[index]
        found = _current(c["name"], runtime)
        if found is None or found.state is ContainerState.CREATED:
            if found is not None or (is_past and is_sidecar(c)):
                take(index)
            continue
        if is_past and not is_sidecar(c):
            continue
        take(index)
        if not is_past and _has_passed(c, found, view):
            if index == len(inits) - 1:
                has_initialized = True
            else:
                take(index + 1)
        is_past = True
    if not is_past and not steps:
        take(0)
    return [step for index in sorted(steps) for step in steps[index]], has_initialized


def _has_passed(c: ContainerSpec, found: Container, view: View) -> bool:
    """Whether the next init container may start."""
    if c["name"] in view.busy:
        return False
    if is_sidecar(c):
        return found.state is ContainerState.RUNNING and found.id in view.started
    return found.state is ContainerState.EXITED and found.exit_code == 0


def _one(pod: Object, c: ContainerSpec, runtime: PodRuntime, view: View, *, init: bool) -> Iterator[_Step]:
    name = c["name"]
    if name in view.busy:
        return
    left = [c for c in runtime.containers if c.name == name and c.state is ContainerState.CREATED]
    if left:
        yield from (Discard(c.id, name) for c in left)
        return
    latest = runtime.latest(name)
    attempt = max(latest.attempt + 1 if latest else 0, view.attempts.get(name, 0))
    found = _current(name, runtime)
    if found is not None and found.state is ContainerState.RUNNING:
        yield from _kill_if_wrong(pod, c, found, view)
        return
    if found is not None and found.state is ContainerState.UNKNOWN:
        yield Kill(found.id, name, f"Container {name} is in unknown state, try killing it before restart")
    if found is None and (init or latest is None or latest.state is not ContainerState.EXITED):
        yield Start(name, attempt)  # in a new sandbox init containers run anew
        return
    assert latest is not None
    if not should_restart(pod, c, latest, init=init):
        return
    if latest.state is ContainerState.EXITED and is_same_spec(latest, c):  # what was changed starts at once
        until = backoff.waits_until(view.backoffs.get(name), latest.finished_at, view.now)
        if until is not None:
            yield (name, view.backoffs[name].delay, until)
            return
    yield Start(name, attempt)


def is_same_spec(found: Container, c: ContainerSpec) -> bool:
    """Whether a container was made from this name and image."""
    known = found.annotations.get(HASH)
    return known is None or known == spec_hash(c)


def _kill_if_wrong(pod: Object, c: ContainerSpec, found: Container, view: View) -> Iterator[Kill]:
    name = c["name"]
    probe = view.failed.get(found.id, "")
    if not is_same_spec(found, c):
        message = f"Container {name} definition changed"
    elif probe:
        message = f"Container {name} failed {probe} probe"
    else:
        return
    if restart_policy(pod, c, init=False) != "Never" or not probe:
        message += ", will be restarted"
    yield Kill(found.id, name, message, probe)
