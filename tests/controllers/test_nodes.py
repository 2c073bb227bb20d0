from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controllers.world import START, World, merged, node, pod
from timonel.control.actions import Delete, Plan
from timonel.controllers import node_lifecycle, pod_garbage_collector
from timonel.controllers.node_ipam import node_ipam
from timonel.controllers.node_lifecycle import NODE_LIFECYCLE
from timonel.controllers.pod_garbage_collector import (
    FORSAKEN,
    POD_GARBAGE_COLLECTOR,
    SINGLETON,
    SURPLUS,
)
from timonel.controllers.taint_eviction import TAINT_EVICTION
from timonel.objects import nodes, pods, zones
from timonel.objects.meta import Key, Object, format_micro_time, format_time

LEASES = "leases.coordination.k8s.io"


def lease(name: str, renewed: float) -> Object:
    return {
        "metadata": {"name": name, "namespace": "kube-node-lease", "uid": f"lease-{name}"},
        "spec": {"renewTime": format_micro_time(renewed)},
    }


def taints(world: World, name: str = "n1") -> set[tuple[str, str]]:
    found = world.get("nodes", Key("", name))
    assert found is not None
    return {(t["key"].rpartition("/")[2], t["effect"]) for t in nodes.taints_of(found)}


def the_node(world: World) -> Object:
    found = world.get("nodes", Key("", "n1"))
    assert found is not None
    return found


def test_a_silent_node_becomes_unknown_and_its_pods_unready() -> None:
    healthy = ("nodes", node("n2")), (LEASES, lease("n2", START + 60))
    world = World(("nodes", node("n1")), (LEASES, lease("n1", START)), ("pods", pod("a")), *healthy)
    world.time = START + 49
    world.settle(NODE_LIFECYCLE)
    assert nodes.is_ready(the_node(world))

    world.time = START + 70
    world.settle(NODE_LIFECYCLE)

    ready = nodes.condition_of(the_node(world), "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert ready["message"] == "Kubelet stopped posting node status."
    pressure = nodes.condition_of(the_node(world), "DiskPressure")
    assert pressure is not None
    assert pressure["reason"] == "NodeStatusNeverUpdated"
    assert taints(world) == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
    assert not pods.is_ready(world.list("pods")[0])
    assert ("Normal", "NodeNotReady", "Node n1 status is now: NodeNotReady") in world.events


def test_a_node_that_speaks_again_loses_the_taints() -> None:
    world = World(("nodes", node("n1")), (LEASES, lease("n1", START)))
    world.time = START + 70
    world.settle(NODE_LIFECYCLE)
    conditions = [{**node("n1")["status"]["conditions"][0], "lastHeartbeatTime": format_time(world.time)}]
    world.put("nodes", merged(the_node(world), {"status": {"conditions": conditions}}))
    world.settle(NODE_LIFECYCLE)

    assert taints(world) == set()


def test_a_renewed_lease_is_a_sign_of_life() -> None:
    world = World(("nodes", node("n1")), (LEASES, lease("n1", START + 3600)))
    world.time = START + 3610

    desired = the_node(world)
    observed = node_lifecycle.recall(NODE_LIFECYCLE.observe(desired, world), True)
    assert NODE_LIFECYCLE.reconcile(desired, observed) == Plan((), 40.0)


@pytest.mark.parametrize(
    ("type_", "status", "expected"),
    [
        ("Ready", "False", {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        ("Ready", "Unknown", {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
        ("MemoryPressure", "True", {("memory-pressure", "NoSchedule")}),
        ("DiskPressure", "False", set()),
        ("NetworkUnavailable", "True", {("network-unavailable", "NoSchedule")}),
    ],
)
def test_conditions_become_taints(type_: str, status: str, expected: set[tuple[str, str]]) -> None:
    mine = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    some = node("n1", taints=[mine])
    ready = some["status"]["conditions"][0]
    some["status"]["conditions"] = [
        *([] if type_ == "Ready" else [ready]),
        {**ready, "type": type_, "status": status},
    ]
    world = World(("nodes", some), (LEASES, lease("n1", START)), ("nodes", node("n2")))
    world.settle(NODE_LIFECYCLE)

    assert taints(world) == expected | {("dedicated", "NoSchedule")}


def test_a_cordoned_node_is_tainted() -> None:
    some = node("n1")
    some["spec"]["unschedulable"] = True
    world = World(("nodes", some), (LEASES, lease("n1", START)))
    world.settle(NODE_LIFECYCLE)

    assert taints(world) == {("unschedulable", "NoSchedule")}


def taint(key: str = "k", since: float = START) -> Object:
    return {"key": key, "effect": "NoExecute", "timeAdded": format_time(since)}


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], "now"),
        ([{"key": "k", "operator": "Exists"}], None),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}], 290.0),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 5}], "now"),
        ([{"operator": "Exists"}, {"key": "k", "operator": "Exists", "tolerationSeconds": 30}], 20.0),
        ([{"key": "other", "operator": "Exists"}], "now"),
    ],
)
def test_tolerations_decide_when_a_pod_must_go(
    tolerations: list[Object], expected: float | str | None
) -> None:
    some = pod("a")
    some["spec"]["tolerations"] = tolerations
    world = World(("nodes", node("n1", taints=[taint()])), ("pods", some))
    world.time = START + 10
    desired = world.list("pods")[0]

    plan = TAINT_EVICTION.reconcile(desired, TAINT_EVICTION.observe(desired, world))

    if expected == "now":
        assert isinstance(plan.actions[-1], Delete)
    else:
        assert plan == Plan((), expected)  # type: ignore[arg-type]


def test_an_evicted_pod_says_why() -> None:
    world = World(("nodes", node("n1", taints=[taint()])), ("pods", pod("a")))
    world.settle(TAINT_EVICTION)

    (gone,) = world.list("pods")
    assert gone["metadata"]["deletionTimestamp"]
    condition = pods.condition_of(gone, "DisruptionTarget")
    assert condition is not None
    assert condition["reason"] == "DeletionByTaintManager"
    assert world.events == [("Normal", "TaintManagerEviction", "Marking for deletion Pod shop/a")]


def test_what_has_ended_is_evicted_too() -> None:
    world = World(("nodes", node("n1", taints=[taint()])), ("pods", pod("a", phase="Succeeded")))
    world.settle(TAINT_EVICTION)

    assert not world.list("pods")


def test_an_eviction_that_is_called_off_is_told() -> None:
    some = pod("a")
    some["spec"]["tolerations"] = [{"operator": "Exists", "tolerationSeconds": 300}]
    world = World(("nodes", node("n1", taints=[taint()])), ("pods", some))
    world.settle(TAINT_EVICTION)
    world.settle(TAINT_EVICTION)
    assert world.events == []

    bare = merged(the_node(world), {"spec": {"taints": None}})
    world.put("nodes", bare)
    wakes = next(w for w in TAINT_EVICTION.watches if w.resource == "nodes")
    assert wakes.matters is not None
    assert wakes.matters(node("n1", taints=[taint()]), bare)
    assert not wakes.matters(bare, merged(bare, {"metadata": {"labels": {"a": "b"}}}))
    world.settle(TAINT_EVICTION)
    world.settle(TAINT_EVICTION)

    assert world.events == [("Normal", "TaintManagerEviction", "Cancelling deletion of Pod shop/a")]


@pytest.mark.parametrize(
    ("labels", "older"),
    [
        ({}, {}),
        ({"kubernetes.io/os": "linux"}, {"beta.kubernetes.io/os": "linux"}),
        (
            {"kubernetes.io/arch": "arm64", "beta.kubernetes.io/arch": "amd64"},
            {"beta.kubernetes.io/arch": "arm64"},
        ),
        ({"beta.kubernetes.io/os": "linux"}, {"beta.kubernetes.io/os": "linux"}),
    ],
)
def test_the_older_names_of_labels_say_what_the_newer_ones_say(labels: Object, older: Object) -> None:
    world = World(("nodes", node("n1", labels=labels)))
    world.settle(NODE_LIFECYCLE)

    assert the_node(world)["metadata"]["labels"] == {**labels, **older}


def test_nodes_that_come_and_go_are_told_of_once() -> None:
    world = World(("nodes", node("n1")))
    world.settle(NODE_LIFECYCLE)
    world.settle(NODE_LIFECYCLE)
    world.remove("nodes", Key("", "n1"))
    world.sync(NODE_LIFECYCLE, Key("", "n1"))
    wakes = next(w for w in NODE_LIFECYCLE.watches if w.resource == LEASES)

    assert world.events == [
        ("Normal", "RegisteredNode", "Node n1 event: Registered Node n1 in Controller"),
        ("Normal", "RemovingNode", "Node n1 event: Removing Node n1 from Controller"),
    ]
    assert list(wakes.wakes(lease("n1", START), world)) == []


def test_a_large_cluster_is_not_told_of_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_lifecycle, "WORTH_TELLING", 1)
    world = World(("nodes", node("n1")), ("nodes", node("n2")))
    world.settle(NODE_LIFECYCLE)

    assert world.events == []


def test_pods_of_a_node_that_is_gone_are_removed_after_a_while() -> None:
    world = World(("pods", pod("a", node="gone")), ("pods", pod("b")), ("nodes", node("n1")))
    world.time = START + 30
    world.settle(*POD_GARBAGE_COLLECTOR)
    assert len(world.list("pods")) == 2

    world.time = START + 41
    world.settle(*POD_GARBAGE_COLLECTOR)
    assert [p["metadata"]["name"] for p in world.list("pods")] == ["b"]


def test_a_node_that_was_just_deleted_may_come_back() -> None:
    world = World(("pods", pod("a", node="gone")))
    world.time = START + 1000
    world.vanished["nodes", Key("", "gone")] = START + 990
    world.settle(*POD_GARBAGE_COLLECTOR)
    assert len(world.list("pods")) == 1

    world.time = START + 1031
    world.settle(*POD_GARBAGE_COLLECTOR)
    assert not world.list("pods")


def test_a_pod_deleted_before_it_was_bound_is_removed() -> None:
    some = pod("a", node="", phase="Pending", deletionTimestamp=format_time(START), finalizers=["x"])
    world = World(("pods", some))
    desired = world.list("pods")[0]
    plan = FORSAKEN.reconcile(desired, FORSAKEN.observe(desired, world))
    for action in plan.actions:
        world.apply(desired, action)

    assert world.list("pods")[0]["status"]["phase"] == "Failed"


OUT = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("ready", "taint", "deleted", "goes"),
    [
        (False, OUT, True, True),
        (False, {**OUT, "effect": "NoSchedule"}, True, True),
        (False, OUT, False, False),
        (True, OUT, True, False),
        (False, {"key": "other", "effect": "NoExecute"}, True, False),
    ],
)
def test_pods_that_end_on_a_node_out_of_service_are_removed(
    ready: bool, taint: Object, deleted: bool, goes: bool
) -> None:
    some = node("n1", taints=[taint])
    some["status"]["conditions"][0]["status"] = "True" if ready else "False"
    times: Object = {"deletionTimestamp": format_time(START), "deletionGracePeriodSeconds": 30}
    world = World(("nodes", some), ("pods", pod("a", **(times if deleted else {}))))
    wakes = {w.resource: w.wakes for w in FORSAKEN.watches}
    assert bool(list(wakes["nodes"](some, world))) == (not ready and taint["key"] == OUT["key"])

    world.settle(*POD_GARBAGE_COLLECTOR)
    assert (not world.list("pods")) == goes


def test_of_those_that_ended_the_evicted_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_garbage_collector, "TERMINATED_THRESHOLD", 2)
    world = World(("namespaces", {"metadata": {"name": "kube-system"}}), ("nodes", node("n1")))
    for name, phase, age, reason in (
        ("running", "Running", 900, ""),
        ("old", "Succeeded", 50, ""),
        ("older", "Failed", 60, ""),
        ("oldest", "Succeeded", 70, ""),
        ("evicted", "Failed", 1, "Evicted"),
    ):
        made = pod(name, phase=phase, creationTimestamp=format_time(START - age))
        world.add("pods", merged(made, {"status": {"reason": reason}} if reason else {}))
    wakes = next(w for w in SURPLUS.watches if w.delay)
    assert [bool(list(wakes.wakes(p, world))) for p in world.list("pods")] == [False, True, True, True, True]

    world.sync(SURPLUS, SINGLETON)
    assert [p["metadata"]["name"] for p in world.list("pods")] == ["running", "old", "older"]


@given(count=st.integers(0, 20), given_already=st.sets(st.integers(0, 19)))
def test_no_two_nodes_share_a_range(count: int, given_already: set[int]) -> None:
    what = node_ipam(["10.42.0.0/20"], node_prefix_v4=24)
    world = World(("namespaces", {"metadata": {"name": "kube-system", "uid": "uid-ks"}}))
    for number in range(count):
        some = node(f"n{number}")
        if number in given_already and number < 16:
            some["spec"] = {"podCIDR": f"10.42.{number}.0/24", "podCIDRs": [f"10.42.{number}.0/24"]}
        world.add("nodes", some)
    world.settle(what)

    ranges: list[Any] = [n["spec"]["podCIDR"] for n in world.list("nodes") if "podCIDR" in n["spec"]]
    assert len(ranges) == len(set(ranges)) == min(count, 16)
    assert all(ipaddress.ip_network(r).prefixlen == 24 for r in ranges)
    assert bool(world.events) == (count > 16)


def test_ranges_that_nodes_will_bring_along_are_given_to_nobody_else() -> None:
    what = node_ipam(["10.42.0.0/20"], reserved=["10.42.0.0/24", "10.42.2.0/24"])
    world = World(("namespaces", {"metadata": {"name": "kube-system", "uid": "uid-ks"}}))
    for name in ("a", "b"):
        world.add("nodes", node(name))
    world.settle(what)

    assert {n["spec"]["podCIDR"] for n in world.list("nodes")} == {"10.42.1.0/24", "10.42.3.0/24"}


def test_a_node_that_has_its_range_wakes_nobody_until_it_is_gone() -> None:
    what = node_ipam(["10.42.0.0/20"])
    (_, of_nodes) = what.watches
    there = node("a")
    there["spec"] = {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24"]}
    world = World(("nodes", there), ("nodes", node("b")))

    assert not of_nodes.wakes(there, world)
    assert of_nodes.wakes(node("b"), world)
    gone = {**there, "metadata": {**there["metadata"], "name": "c"}}
    assert of_nodes.wakes(gone, world)


def many(silent: int, whole: int, zone: str = "a") -> list[tuple[str, Object]]:
    made: list[tuple[str, Object]] = []
    for number in range(whole):
        one = node(f"{zone}{number:03d}")
        one["metadata"]["labels"] = {"topology.kubernetes.io/zone": zone}
        if number < silent:
            one["status"]["conditions"] = [{**one["status"]["conditions"][0], "status": "Unknown"}]
        made.append(("nodes", one))
    return made


def emptied(world: World) -> int:
    return sum(
        ("unreachable", "NoExecute") in taints(world, n["metadata"]["name"]) for n in world.list("nodes")
    )


@pytest.mark.parametrize(
    ("nodes", "after", "count"),
    [
        (many(4, 10), 0.0, 1),  # one after the other
        (many(4, 10), 25.0, 3),
        (many(9, 10), 300.0, 0),  # most of a small zone
        (many(2, 2), 300.0, 0),  # everybody
        ([*many(3, 3), *many(0, 1, "b")], 25.0, 3),  # a whole zone, but others answer
        ([*many(1, 5), *many(1, 5, "b")], 0.0, 2),  # zones do not wait for each other
    ],
)
def test_pods_leave_one_node_of_a_zone_after_the_other(
    nodes: list[tuple[str, Object]], after: float, count: int
) -> None:
    world = World(*nodes)
    world.steady = START + 1000.0  # nobody falls silent
    end = START + after
    while True:
        for name in sorted(n["metadata"]["name"] for n in world.list("nodes")):
            world.sync(NODE_LIFECYCLE, Key("", name))
        if world.time >= end:
            break
        world.time = min(world.time + max(5.0, after / 10), end)

    assert emptied(world) == count


def test_who_hears_nobody_takes_back_what_it_has_begun() -> None:
    world = World(*many(1, 2))
    world.steady = START + 1000.0
    world.sync(NODE_LIFECYCLE, Key("", "a000"))
    assert emptied(world) == 1

    conditions = [{**node("x")["status"]["conditions"][0], "status": "Unknown"}]
    world.change("nodes", "a001", namespace="", status={"conditions": conditions})
    for name in ("a000", "a001"):
        world.sync(NODE_LIFECYCLE, Key("", name))
    assert emptied(world) == 0


@pytest.mark.parametrize(
    ("silent", "whole", "woken"),
    [
        (0, 1, 0),
        (1, 5, 0),  # no news for the others
        (3, 5, 0),
        (4, 5, 4),  # the first one answers again
        (5, 5, 5),  # nobody answers
    ],
)
def test_who_is_silent_looks_again_when_nobody_answers_or_the_first_one_does(
    silent: int, whole: int, woken: int
) -> None:
    world = World(*many(silent, whole))
    (watch,) = [w for w in NODE_LIFECYCLE.watches if w.matters and w.resource == "nodes"]
    answers, is_silent = node("a000"), many(1, 1)[0][1]
    assert watch.matters is not None

    assert len(list(watch.wakes(answers, world))) == woken
    assert watch.matters(answers, is_silent)
    assert watch.matters(is_silent, answers)
    assert not watch.matters(is_silent, merged(is_silent, {"spec": {"unschedulable": True}}))


def woken_by_change(world: World, name: str, status: str) -> None:
    """The passes that the declaration asks for when a node's readiness changes, and no other."""
    conditions = [{**node("x")["status"]["conditions"][0], "status": status}]
    changed = world.change("nodes", name, namespace="", status={"conditions": conditions})
    for watch in NODE_LIFECYCLE.watches:
        if watch.resource == "nodes":
            for key in watch.wakes(changed, world):
                world.sync(NODE_LIFECYCLE, key)


def test_evictions_under_way_end_when_the_last_node_falls_silent_and_go_on_when_one_answers() -> None:
    world = World(*many(2, 3))
    world.steady = START + 1000.0
    world.sync(NODE_LIFECYCLE, Key("", "a000"))
    assert emptied(world) == 1

    woken_by_change(world, "a002", "Unknown")
    assert emptied(world) == 0
    woken_by_change(world, "a002", "True")
    assert emptied(world) == 1


def test_a_large_zone_is_emptied_slowly() -> None:
    everyone = [n for _, n in many(60, 100)]

    assert zones.outlook(everyone[0], everyone, START) == zones.Outlook(pace=zones.SLOW_PACE)
    assert zones.outlook(everyone[3], everyone, START).wait == 3 * zones.SLOW_PACE


def test_the_heartbeat_of_a_node_without_a_range_is_no_news() -> None:
    (_, of_nodes) = node_ipam(["10.42.0.0/20"]).watches
    before, after = node("a"), node("a")
    after["status"] = {"conditions": [{"type": "Ready", "lastHeartbeatTime": "2026-11-25T00:00:00Z"}]}
    with_range = node("a") | {"spec": {"podCIDRs": ["10.42.0.0/24"]}}

    assert of_nodes.matters is not None
    assert not of_nodes.matters(before, after)
    assert of_nodes.matters(before, with_range)
