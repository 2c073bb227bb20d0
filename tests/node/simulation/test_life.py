from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.node.simulation import life as lives
from timonel.node.simulation.addresses import NoAddress
from timonel.node.simulation.life import Life, Step
from timonel.objects.meta import Object, format_time

START = 1_700_000_000.0
JOB: dict[str, Any] = {"restartPolicy": "Never"}


def pod(*containers: dict[str, Any], annotations: dict[str, Any] | None = None, **spec: Any) -> Object:
    texts = {k: json.dumps(v) for k, v in (annotations or {}).items()}
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "annotations": texts},
        "spec": {
            "nodeName": "n",
            "containers": list(containers) or [{"name": "c", "image": "web:1"}],
            **spec,
        },
        "status": {"phase": "Pending"},
    }


class World:
    """A pod and its life; the status that a step gives is stored, as the engine does it."""

    def __init__(self, pod_: Object) -> None:
        self.pod, self.now = pod_, START
        self.life = lives.restored(pod_, "10.0.0.1", START)
        self._addresses = map("10.1.0.{}".format, itertools.count(2))
        self.last = self.step()

    def step(self) -> Step:
        self.last = lives.step(self.life, self.pod, self.now, lambda: next(self._addresses))
        self.pod = {**self.pod, "status": self.last.status}
        return self.last

    def pass_by(self, seconds: float) -> Step:
        """Everything that falls due on the way happens at its time."""
        end = self.now + seconds
        while self.last.wake_at is not None and self.last.wake_at <= end:
            self.now = max(self.last.wake_at, self.now)
            self.step()
        self.now = end
        return self.step()

    @property
    def phase(self) -> str:
        return str(self.last.status["phase"])

    def state(self, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.last.status["containerStatuses"][index]
        return found


def simulate(**how: Any) -> dict[str, Any]:
    return {"timonel.dev/simulate": how}


def test_a_pod_runs_and_is_ready_at_once() -> None:
    world = World(pod())

    assert world.phase == "Running"
    assert world.state()["ready"]
    assert world.last.status["podIP"] == "10.1.0.2"
    assert world.last.wake_at is None


@pytest.mark.parametrize(
    ("how", "spec", "seconds", "phase", "ready"),
    [
        ({"startDelay": "5s"}, {}, 4, "Pending", False),
        ({"startDelay": "5s"}, {}, 6, "Running", True),
        ({"pullDelay": "5s", "startDelay": "5s"}, {}, 9, "Pending", False),
        ({"readyAfter": "5s"}, {}, 4, "Running", False),
        ({"readyAfter": "5s"}, {}, 5, "Running", True),
        ({"ready": False}, {}, 500, "Running", False),
        ({"waiting": "ErrImagePull", "waitFor": "9s"}, {}, 8, "Pending", False),
        ({"waiting": "ErrImagePull", "waitFor": "9s"}, {}, 10, "Running", True),
        ({"waiting": "ErrImagePull"}, {}, 1000, "Pending", False),
        ({}, JOB, 0.5, "Running", True),
        ({}, JOB, 2, "Succeeded", False),
        ({"exitCode": 4}, JOB, 2, "Failed", False),
        ({"runFor": "1s", "exitCode": 0}, {"restartPolicy": "OnFailure"}, 5, "Succeeded", False),
        ({"runFor": "1s"}, {"activeDeadlineSeconds": 3}, 5, "Failed", False),
    ],
)
def test_a_life_is_as_its_annotation_says(
    how: dict[str, Any], spec: dict[str, Any], seconds: float, phase: str, ready: bool
) -> None:
    world = World(pod(annotations=simulate(**how), **spec))

    world.pass_by(seconds)

    assert (world.phase, world.state()["ready"]) == (phase, ready)


def test_a_probe_delays_readiness() -> None:
    world = World(pod({"name": "c", "image": "x", "readinessProbe": {"initialDelaySeconds": 7}}))

    assert not world.pass_by(6).status["containerStatuses"][0]["ready"]
    assert world.pass_by(1).status["containerStatuses"][0]["ready"]


def test_a_crash_is_followed_by_growing_back_off() -> None:
    world = World(pod(annotations=simulate(runFor="1s", exitCode=3)))

    world.pass_by(1)
    assert world.state()["restartCount"] == 1, "the first time it starts again at once"
    world.pass_by(1)
    assert world.state()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert world.state()["lastState"]["terminated"]["exitCode"] == 3
    world.pass_by(600)
    assert 4 < world.state()["restartCount"] < 9


def test_a_container_that_recovers_ends_well() -> None:
    world = World(pod(annotations=simulate(exitCodes=[1, 1, 0]), restartPolicy="OnFailure"))

    world.pass_by(120)

    assert (world.phase, world.state()["restartCount"]) == ("Succeeded", 2)


def test_init_containers_have_their_turn_and_sidecars_end_last() -> None:
    inits = [{"name": "i", "image": "x"}, {"name": "side", "image": "x", "restartPolicy": "Always"}]
    world = World(pod(initContainers=inits, **JOB))

    assert "running" in world.last.status["initContainerStatuses"][0]["state"]
    assert world.phase == "Pending"
    world.pass_by(1)
    assert world.phase == "Running"
    assert "running" in world.last.status["initContainerStatuses"][1]["state"]
    world.pass_by(1)
    assert world.phase == "Succeeded"
    assert "terminated" in world.last.status["initContainerStatuses"][1]["state"]


def test_a_failing_liveness_probe_ends_a_container() -> None:
    probe = {"periodSeconds": 2, "failureThreshold": 3}
    world = World(
        pod({"name": "c", "image": "x", "livenessProbe": probe}, annotations=simulate(failLivenessAfter="4s"))
    )

    before = world.pass_by(9).status["containerStatuses"][0]
    events = world.pass_by(1).events

    assert before["restartCount"] == 0
    assert [e.reason for e in events] == ["Unhealthy", "Killing"] or world.state()["restartCount"] == 1
    assert world.state()["lastState"]["terminated"]["exitCode"] == 137


def test_a_deleted_pod_takes_the_time_it_needs_and_no_more_than_it_is_given() -> None:
    def deleted(grace: int, **how: Any) -> World:
        world = World(pod(annotations=simulate(**how)))
        meta: dict[str, Any] = {
            "deletionTimestamp": format_time(START + grace),
            "deletionGracePeriodSeconds": grace,
            "finalizers": ["example.com/held"],
        }
        world.pod = {**world.pod, "metadata": {**world.pod["metadata"], **meta}}
        return world

    assert deleted(30).step().is_gone
    slow = deleted(30, stopDelay="10s")
    assert not slow.step().is_gone
    assert not slow.pass_by(9).is_gone
    assert slow.pass_by(1).is_gone
    stubborn = deleted(30, stopDelay="1h")
    stubborn.step()
    assert stubborn.pass_by(30).is_gone
    assert stubborn.state()["state"]["terminated"]["exitCode"] == 137
    assert deleted(0, stopDelay="1h").step().is_gone


def test_of_a_pod_that_is_gone_nobody_writes_the_last_status() -> None:
    world = World(pod())
    meta = {"deletionTimestamp": format_time(START + 30), "deletionGracePeriodSeconds": 30}
    world.pod = {**world.pod, "metadata": {**world.pod["metadata"], **meta}}

    last = world.step()

    assert (last.is_gone, last.status) == (True, {})


def test_a_new_image_restarts_its_container() -> None:
    world = World(pod())
    world.pod["spec"]["containers"][0]["image"] = "web:2"

    world.step()

    assert (world.state()["restartCount"], world.state()["image"]) == (1, "docker.io/library/web:2")


def test_what_cannot_be_understood_shows_in_the_container() -> None:
    world = World(pod(annotations=simulate(runFor="soon")))

    waiting = world.state()["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert "not a duration: soon" in waiting["message"]


behaviours = st.fixed_dictionaries(
    {},
    optional={
        "startDelay": st.integers(0, 5),
        "pullDelay": st.integers(0, 5),
        "runFor": st.integers(0, 20),
        "exitCode": st.integers(0, 3),
        "readyAfter": st.integers(0, 30),
        "failLivenessAfter": st.integers(0, 10),
        "waitFor": st.integers(0, 10),
        "waiting": st.sampled_from(["", "ErrImagePull", "ImagePullBackOff"]),
    },
)


@given(
    how=behaviours,
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    moments=st.lists(st.floats(0, 60), max_size=6),
    init=st.booleans(),
)
def test_a_life_that_is_taken_up_from_its_status_goes_on_as_it_was(
    how: dict[str, Any], policy: str, moments: list[float], init: bool
) -> None:
    inits = {"initContainers": [{"name": "i", "image": "x"}]} if init else {}
    world = World(pod(annotations=simulate(**how), restartPolicy=policy, **inits))
    for seconds in moments:
        world.pass_by(seconds)
        before = world.last.status
        world.life = lives.restored(world.pod, "10.0.0.1", world.now)
        after = lives.step(world.life, world.pod, world.now, lambda: "10.1.0.99").status
        world.step()
        for old, new in zip(before["containerStatuses"], after["containerStatuses"], strict=True):
            assert new["restartCount"] >= old["restartCount"]
        assert (before["phase"] in ("Succeeded", "Failed")) <= (after["phase"] == before["phase"])


@given(how=behaviours, policy=st.sampled_from(["Always", "OnFailure", "Never"]))
def test_a_step_that_is_taken_again_says_the_same(how: dict[str, Any], policy: str) -> None:
    world = World(pod(annotations=simulate(**how), restartPolicy=policy))

    first, second = world.last, world.step()

    assert first.status == second.status
    assert first.wake_at == second.wake_at
    assert not second.events


def test_a_life_keeps_no_more_than_two_lives_of_a_container() -> None:
    world = World(pod(annotations=simulate(runFor="1s", exitCode=1)))

    world.pass_by(7200)

    life: Life = world.life
    assert len(life.runtime.containers) == 2


CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b", "c", "d"]), "image": st.sampled_from(["web:1", "r.example/x"])},
        optional={
            "resources": st.just({"requests": {"cpu": "10m"}}),
            "volumeMounts": st.just([{"name": "v", "mountPath": "/v", "readOnly": True}]),
            "readinessProbe": st.just({"initialDelaySeconds": 3}),
        },
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda c: str(c["name"]),
)


@given(
    CONTAINERS, st.booleans(), st.sampled_from(["Always", "Never"]), st.lists(st.just({"conditionType": "x"}))
)
def test_the_short_way_into_life_leads_where_the_rules_do(
    containers: list[dict[str, Any]], on_host: bool, policy: str, gates: list[dict[str, str]]
) -> None:
    spec: dict[str, Any] = {"hostNetwork": on_host, "restartPolicy": policy, "readinessGates": gates}
    short = World(pod(*containers, **spec))
    # it says nothing about any container of the pod, but it has to be asked
    by_rules = World(pod(*containers, annotations={"timonel.dev/simulate.nobody": {}}, **spec))

    assert (short.last, short.life) == (by_rules.last, by_rules.life)


class Full:
    """A range without a free address, until one is `put`."""

    def __init__(self) -> None:
        self.free: list[str] = []
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if not self.free:
            raise NoAddress("no IP addresses available in range set: 10.1.0.1-10.1.0.254")
        return self.free.pop()


@pytest.mark.parametrize("spec", [{}, JOB, {"initContainers": [{"name": "i", "image": "i:1"}]}])
def test_a_pod_without_an_address_waits_for_one(spec: dict[str, Any]) -> None:
    web, full = pod(**spec), Full()
    life = lives.restored(web, "10.0.0.1", START)

    first = lives.step(life, web, START, full)
    soon = lives.step(life, web, START + 3, full)
    later = lives.step(life, web, START + 10, full)

    waiting = "PodInitializing" if "initContainers" in spec else "ContainerCreating"
    for step in (first, soon, later):
        assert step.status["phase"] == "Pending"
        assert "podIP" not in step.status
        assert step.status["containerStatuses"][0]["state"] == {"waiting": {"reason": waiting}}
    assert (first.wake_at, soon.wake_at, later.wake_at) == (START + 10, START + 10, START + 20)
    assert full.asked == 2
    assert not soon.events
    (told,) = first.events
    assert (told.type, told.reason) == ("Warning", "FailedCreatePodSandBox")
    assert told.message.startswith("Failed to create pod sandbox: rpc error: ")
    assert told.message.endswith(": no IP addresses available in range set: 10.1.0.1-10.1.0.254")

    full.free.append("10.1.0.7")
    assert lives.step(life, web, START + 20, full).status["podIP"] == "10.1.0.7"


def test_on_the_node_s_own_network_no_address_is_taken() -> None:
    full, web = Full(), pod(hostNetwork=True)
    life = lives.restored(web, "10.0.0.1", START)

    assert lives.step(life, web, START, full).status["podIP"] == "10.0.0.1"
    assert not full.asked


def test_a_deadline_counts_while_there_is_no_address() -> None:
    web = pod(activeDeadlineSeconds=5, **JOB)
    life = lives.restored(web, "10.0.0.1", START)

    assert lives.step(life, web, START, Full()).wake_at == START + 5
    assert lives.step(life, web, START + 5, Full()).status["reason"] == "DeadlineExceeded"
