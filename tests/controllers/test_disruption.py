"""Budgets of pods whose controllers are of all kinds, or none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import START, World, pod, workload
from timonel.control.questions import Question, Scaled, ScaleOf
from timonel.controllers.disruption import DISRUPTION, RESOURCE, STALE
from timonel.machinery.errors import NotFound
from timonel.objects.meta import Key, Object, format_time

WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "uid": "uid-w"}}


def budget(**spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def status(world: World) -> Object:
    world.settle(*DISRUPTION)
    return dict(world.list(RESOURCE)[0]["status"])


def scale(uid: str, replicas: int) -> Any:
    def answer(question: Question) -> Any:
        assert question == ScaleOf("example.com/v1", "Widget", Key("shop", "w"))
        return Scaled("widgets.example.com", {"metadata": {"uid": uid}, "spec": {"replicas": replicas}})

    return answer


def test_a_kind_of_its_own_with_a_scale_counts() -> None:
    world = World((RESOURCE, budget(maxUnavailable=1)), *(("pods", pod(n, owner=WIDGET)) for n in "abc"))
    world.answer = scale("uid-w", 4)
    found = status(world)

    assert (found["expectedPods"], found["desiredHealthy"], found["disruptionsAllowed"]) == (4, 3, 0)


@pytest.mark.parametrize("answer", [scale("another", 4), lambda question: NotFound("no scale here")])
def test_without_a_scale_nothing_is_allowed(answer: Any) -> None:
    world = World((RESOURCE, budget(maxUnavailable=1)), ("pods", pod("a", owner=WIDGET)))
    world.answer = answer
    found = status(world)

    why = 'found no controllers for pod "a"'
    assert found["disruptionsAllowed"] == 0
    assert (found["conditions"][0]["reason"], found["conditions"][0]["message"]) == ("SyncFailed", why)
    assert world.events[0] == (
        "Warning", "CalculateExpectedPodCountFailed", f"Failed to calculate the number of expected pods: {why}",
    )  # fmt: skip


def test_pods_without_a_controller_are_told_of_and_left_out() -> None:
    rs = workload("ReplicaSet", replicas=2)
    world = World(
        ("replicasets.apps", rs),
        (RESOURCE, budget(maxUnavailable=1)),
        *(("pods", pod(n, owner=rs)) for n in "ab"),
        ("pods", pod("alone")),
    )
    found = status(world)

    assert (found["expectedPods"], found["desiredHealthy"], found["disruptionsAllowed"]) == (2, 1, 2)
    assert world.events[0][1] == "UnmanagedPods"


def test_a_budget_of_nothing_says_so() -> None:
    world = World((RESOURCE, budget(minAvailable=1)))
    assert status(world)["disruptionsAllowed"] == 0
    assert world.events[0] == ("Normal", "NoPods", "No matching pods found")


@settings(deadline=None)
@given(
    st.integers(0, 6), st.integers(0, 6), st.one_of(st.integers(0, 6), st.sampled_from(["0%", "50%", "100%"]))
)
def test_what_is_allowed_never_breaks_the_promise(there: int, ready: int, floor: int | str) -> None:
    rs = workload("ReplicaSet", replicas=there)
    some = [pod(f"p{n}", owner=rs, is_ready=n < ready) for n in range(there)]
    world = World(
        ("replicasets.apps", rs), (RESOURCE, budget(minAvailable=floor)), *(("pods", p) for p in some)
    )
    found = status(world)

    healthy = min(ready, there)
    assert found["currentHealthy"] == healthy
    assert healthy - found["disruptionsAllowed"] >= min(found["desiredHealthy"], healthy)
    assert found["disruptionsAllowed"] <= max(0, healthy - found["desiredHealthy"])


@pytest.mark.parametrize(
    ("changes", "recalled"),
    [
        ({}, True),
        ({"reason": "TerminationByKubelet"}, False),
        ({"status": "False"}, False),
        ({"phase": "Failed"}, False),
        ({"deleting": True}, False),
    ],
)
def test_a_disruption_that_never_came_is_recalled(changes: Any, recalled: bool) -> None:
    times: Object = {"deletionTimestamp": format_time(START)} if changes.get("deleting") else {}
    some = pod("a", phase=changes.get("phase", "Running"), **times)
    condition = {
        "type": "DisruptionTarget",
        "status": changes.get("status", "True"),
        "reason": changes.get("reason", "EvictionByEvictionAPI"),
        "message": "Eviction API: evicting",
        "lastTransitionTime": format_time(START),
    }
    some["status"]["conditions"].append(condition)
    world = World(("pods", some))
    world.time = START + 119
    assert world.settle(STALE) == 0

    world.time = START + 120
    world.settle(STALE)
    (ready, target) = world.list("pods")[0]["status"]["conditions"]
    assert ready["type"] == "Ready"
    assert (target != condition) == recalled
    if recalled:
        assert target == {
            "type": "DisruptionTarget", "status": "False", "lastTransitionTime": format_time(START + 120)
        }  # fmt: skip
