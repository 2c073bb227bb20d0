"""Lives that are written as Stages, in a whole cluster."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import World, template, workload
from tests.cluster.simulated import events_of, phases, pod_on, ready_nodes, simulated, tiny_node
from timonel.node.simulation.stages import read
from timonel.objects.meta import Key

STAGES = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.status.podIP', operator: DoesNotExist}
  delay: {durationMilliseconds: 5000}
  next:
    event: {reason: Born, message: 'here is {{ .metadata.name }}'}
    statusTemplate: |
      conditions:
      - {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}}
      podIP: {{ PodIPWith .spec.nodeName false "" "" "" | Quote }}
      phase: Running
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: Exists}
  next:
    finalizers: {empty: true}
    delete: true
"""


async def test_a_whole_life_in_stages_runs_from_init_containers_to_finalizers() -> None:
    stages = read((Path(__file__).parent / "lives.yaml").read_text())
    async with simulated(2, stages=stages) as (world, _, _):
        spec = template(initContainers=[{"name": "first", "image": "init:1"}])
        meta = {
            "name": "one",
            "finalizers": ["kwok.x-k8s.io/fake"],
            "annotations": {DELAY: "10s", JITTER: "10s"},
        }
        await world.create("pods", {"metadata": meta, "spec": spec["spec"]})
        job = {"template": template(restartPolicy="Never")}
        await world.create("jobs.batch", {"metadata": {"name": "short"}, "spec": job})
        await world.pass_by(8)
        assert "startTime" not in await world.status("pods", "one")

        lives: list[tuple[str, str, str]] = []
        for _ in range(40):
            await world.pass_by(0.25)
            if (life := await life_of(world, "one")) not in lives:
                lives.append(life)

        assert lives == [
            ("Pending", "", ""),
            ("Pending", "waiting", "waiting"),
            ("Pending", "running", "waiting"),
            ("Pending", "terminated", "waiting"),
            ("Running", "terminated", "running"),
        ]
        assert (await world.status("jobs.batch", "short"))["succeeded"] == 1
        assert len(await ready_nodes(world)) == 2
        events = {e["reason"]: e["message"] for e in await world.all("events")}
        assert events["Created"].startswith("Created 1 of ")

        await world.delete("pods", "one")
        await world.pass_by(2)
        left = await world.find("pods", "one")
        assert left is not None
        assert "finalizers" not in left["metadata"]
        await world.pass_by(30)
        assert await world.find("pods", "one") is None


DELAY, JITTER = "pod-create.stage.kwok.x-k8s.io/delay", "pod-create.stage.kwok.x-k8s.io/jitter-delay"


async def life_of(world: World, name: str) -> tuple[str, str, str]:
    """Its phase, and the states of its first init container and its first container."""
    status = await world.status("pods", name)

    def state(statuses: str) -> str:
        return "".join(status[statuses][0]["state"]) if statuses in status else ""

    return status["phase"], state("initContainerStatuses"), state("containerStatuses")


async def test_pods_live_by_stages() -> None:
    async with simulated(2, stages=read(STAGES)) as (world, _, _):
        await world.create("deployments.apps", workload(replicas=2))
        await world.pass_by(4)
        assert not await world.ready_pods()
        await world.pass_by(2)

        assert len(await world.ready_pods()) == 2
        events = await world.all("events")
        assert any(e["reason"] == "Born" and e["message"].startswith("here is web-") for e in events)
        await world.delete("deployments.apps", "web")
        await world.pass_by(5)
        assert not await world.all("pods")


async def test_addresses_of_pods_in_stages_are_given_back() -> None:
    text = STAGES + COMPLETE
    async with simulated(1, stages=read(text)) as (world, _, _):
        await tiny_node(world)
        for number in range(12):
            await pod_on(world, f"p{number}")
            await world.pass_by(9)
            assert (await world.status("pods", f"p{number}"))["phase"] == "Succeeded"
        await pod_on(world, "host", hostNetwork=True)
        assert not await events_of(world, "FailedCreatePodSandBox")


async def test_a_stage_waits_for_an_address() -> None:
    async with simulated(1, stages=read(STAGES)) as (world, _, _):
        await tiny_node(world)
        for number in range(6):
            await pod_on(world, f"p{number}")
            await world.pass_by(1)
        await world.pass_by(30)
        assert (await phases(world))["p5"] == "Pending"
        events = await events_of(world, "FailedCreatePodSandBox")
        assert {e["involvedObject"]["name"] for e in events} == {"p5"}
        await world.delete("pods", "p0")
        await world.pass_by(20)
        assert (await phases(world))["p5"] == "Running"


COMPLETE = """
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-complete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.status.phase', operator: In, values: [Running]}
  delay: {durationMilliseconds: 1000}
  next:
    statusTemplate: |
      phase: Succeeded
"""


BROKEN = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-broken}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.status.podIP', operator: DoesNotExist}
"""
EVENT = "{reason: Born, message: 'here it is'}"


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("next: {event: EVENT, statusTemplate: '{{ fail \"no luck\" }}'}", "no luck"),
        ("next: {event: EVENT, statusTemplate: 'a: ['}", "no YAML"),
        ("next: {event: EVENT, statusTemplate: 'phase: [1]'}", "stage pod-broken: "),
        ("next: {event: EVENT, statusTemplate: 'podIPs: [{ip: banana}]'}", "banana"),
        (
            "steps: [{event: EVENT}, {patch: {root: status, subresource: status, template: 'x', type: merge}}]",
            "",
        ),
        (
            "steps: [{event: EVENT}, {patch: {root: metadata, template: 'labels: {when: \"x{{ now | unixEpoch }}\"}'}},"
            " {patch: {root: metadata, template: '{{ fail \"no luck\" }}'}}]",
            "no luck",
        ),
    ],
)
async def test_a_stage_that_fails_says_so_instead_of_its_event(does: str, why: str) -> None:
    text = BROKEN + "  " + does.replace("EVENT", EVENT) + "\n"
    async with simulated(1, stages=read(text)) as (world, _, unreliable):
        tries = 0

        def count(name: str, args: tuple[Any, ...]) -> None:
            nonlocal tries
            tries += name == "patch" and args[1] == Key("shop", "web")

        unreliable.refuse = count
        await pod_on(world, "web", node="test-1")
        await world.pass_by(600)

        assert not await events_of(world, "Born")
        (event, *_) = await events_of(world, "StageFailed")
        assert event["message"].startswith("stage pod-broken: ")
        assert why in event["message"]
        assert tries < 15
        assert (await phases(world)) == {"web": "Pending"}


async def test_the_event_of_a_stage_is_recorded_once_it_was_carried_out() -> None:
    text = f"{BROKEN}  next: {{event: {EVENT}, statusTemplate: 'podIP: 10.1.1.1'}}\n"
    async with simulated(1, stages=read(text)) as (world, _, unreliable):
        unreliable.often = 0.9
        await pod_on(world, "web", node="test-1")
        await world.pass_by(20)
        unreliable.often = 0.0
        await world.pass_by(20)

        (event,) = await events_of(world, "Born")
        assert event.get("count", 1) == 1


# ---- kwok's general Stages


GENERAL = read((Path(__file__).parent / "general.yaml").read_text())


async def moments(world: World, name: str, seconds: float) -> dict[str, float]:
    """When its life first looked like this, after now: what `life_of` says, with its first container's restarts."""
    start, found = world.clock.now(), dict[str, float]()
    while world.clock.now() < start + seconds and await world.find("pods", name):
        status = await world.status("pods", name)
        restarts = (status.get("containerStatuses") or [{}])[0].get("restartCount", 0)
        found.setdefault(" ".join((*await life_of(world, name), str(restarts))), world.clock.now() - start)
        await world.pass_by(0.25)
    return found


async def general_pod(world: World, annotations: dict[str, str], **spec: Any) -> None:
    meta = {"name": "web", "annotations": annotations}
    body = {**template(**spec)["spec"], "nodeName": "test-1"}
    body["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    await world.create("pods", {"metadata": meta, "spec": body})


async def test_kwok_s_general_stages_take_a_pod_from_its_creation_to_its_end() -> None:
    """Each comes after a second at the least, and five at the most (and what it takes to see it)."""
    async with simulated(1, stages=GENERAL) as (world, _, _):
        inits = [
            {"name": "first", "image": "i:1"},
            {"name": "side", "image": "s:1", "restartPolicy": "Always"},
        ]
        await general_pod(world, {}, initContainers=inits)
        seen = await moments(world, "web", 30)

        assert list(seen) == [
            "Pending   0",
            "Pending waiting waiting 0",
            "Pending running waiting 0",
            "Pending terminated waiting 0",
            "Running terminated running 0",
        ]
        times = list(seen.values())
        assert all(1 <= later - earlier <= 5.5 for earlier, later in itertools.pairwise(times))
        status = await world.status("pods", "web")
        assert [each["state"].keys() for each in status["initContainerStatuses"]] == [
            {"terminated"},
            {"running"},
        ]
        assert {c["type"] for c in status["conditions"] if c["status"] == "True"} == {
            "Initialized", "Ready", "ContainersReady", "PodScheduled",
        }  # fmt: skip
        assert not await events_of(world, "StageFailed")

        await world.delete("pods", "web")  # with a grace period of 30 seconds: somewhen in it
        await world.pass_by(31)
        assert await world.find("pods", "web") is None
        assert [e["message"] for e in await events_of(world, "Killing")] == ["it ends: web"]


async def test_annotations_say_when_kwok_s_general_stages_come() -> None:
    stage = "{}.stage.kwok.x-k8s.io/{}".format
    annotations = {
        stage("pod-create", "delay"): "20s",
        stage("pod-create", "jitter-delay"): "20s",
        stage("pod-ready", "delay"): "40s",
        stage("pod-ready", "jitter-delay"): "40s",
    }
    async with simulated(1, stages=GENERAL) as (world, _, _):
        await general_pod(world, annotations)
        seen = await moments(world, "web", 70)

    assert list(seen) == ["Pending   0", "Pending  waiting 0", "Running  running 0"]
    assert 20 <= seen["Pending  waiting 0"] <= 20.5
    assert 60 <= seen["Running  running 0"] <= 60.75


async def test_a_container_fails_and_is_started_again_as_annotations_and_weights_say() -> None:
    stage = "pod-container-failed.stage.kwok.x-k8s.io/{}".format
    annotations = {
        stage("name"): "web",
        stage("exit-code"): "3",
        stage("reason"): "Broken",
        stage("weight"): "1",
    }
    async with simulated(1, stages=GENERAL) as (world, _, _):
        await general_pod(world, annotations)
        seen = await moments(world, "web", 90)

        assert {"Running  running 0", "Running  terminated 0", "Running  running 1"} <= seen.keys()
        assert await events_of(world, "BackOff")
        assert not await events_of(world, "StageFailed")


async def test_a_job_s_pods_complete_with_their_sidecars_and_stay_so() -> None:
    async with simulated(1, stages=GENERAL) as (world, _, _):
        side = {"name": "side", "image": "s:1", "restartPolicy": "Always"}
        pod = template(restartPolicy="Never", initContainers=[side])
        pod["metadata"]["finalizers"] = ["kwok.x-k8s.io/fake"]
        await world.create("jobs.batch", {"metadata": {"name": "short"}, "spec": {"template": pod}})
        await world.pass_by(30)

        assert (await world.status("jobs.batch", "short"))["succeeded"] == 1
        (found,) = await world.all("pods")
        statuses = [*found["status"]["initContainerStatuses"], *found["status"]["containerStatuses"]]
        assert [s["state"]["terminated"]["reason"] for s in statuses] == ["Completed", "Completed"]
        await world.pass_by(60)
        assert list((await phases(world)).values()) == ["Succeeded"]
        await world.delete("pods", found["metadata"]["name"])
        await world.pass_by(40)
        assert not await world.all("pods")
        assert "its finalizer goes" in {e["message"] for e in await events_of(world, "Killing")}
