from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import START, World, kubelet, merged, node, pod, scheduler, template, workload
from timonel.controllers.daemonset import DAEMONSET, rolling
from timonel.controllers.daemonset.eligibility import Verdict, judge, pod_for, target_of, tolerations
from timonel.objects import nodes, pods
from timonel.objects.meta import Key, Object

DS, REVISIONS = "daemonsets.apps", "controllerrevisions.apps"
NO_SCHEDULE = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
NO_EXECUTE = {**NO_SCHEDULE, "effect": "NoExecute"}
ACTORS = [scheduler, kubelet]


def daemonset(*, surge: int = 0, unavailable: int = 1, **spec: Any) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return workload("DaemonSet", **{"updateStrategy": strategy, "revisionHistoryLimit": 10, **spec})


def status_of(world: World) -> Object:
    found = world.get(DS, Key("shop", "web"))
    assert found is not None
    status: Object = found["status"]
    return status


def nodes_with_pods(world: World) -> list[str]:
    return sorted(pods.node_of(p) for p in world.list("pods") if pods.is_active(p))


def test_eligible_nodes_get_a_pod_each() -> None:
    some = [node("n1", labels={"disk": "ssd"}), node("n2"), node("n3", labels={"disk": "ssd"})]
    world = World(
        (DS, daemonset(template=template(nodeSelector={"disk": "ssd"}))), *(("nodes", n) for n in some)
    )
    world.settle(DAEMONSET, actors=ACTORS)

    assert nodes_with_pods(world) == ["n1", "n3"]
    assert status_of(world) == {
        "currentNumberScheduled": 2,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 2,
        "numberReady": 2,
        "observedGeneration": 1,
        "updatedNumberScheduled": 2,
        "numberAvailable": 2,
    }


def test_taints_decide_who_may_come_and_who_may_stay() -> None:
    plain, tolerant = daemonset(), daemonset(template=template(tolerations=[{"operator": "Exists"}]))

    assert judge(plain, node("n")) == Verdict(True, True)
    assert judge(plain, node("n", taints=[NO_SCHEDULE])) == Verdict(False, True)
    assert judge(plain, node("n", taints=[NO_EXECUTE])) == Verdict(False, False)
    assert judge(tolerant, node("n", taints=[NO_EXECUTE])) == Verdict(True, True)
    cordoned = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    assert judge(plain, node("n", taints=[cordoned])) == Verdict(True, True)


def test_the_pod_is_meant_for_its_node_alone() -> None:
    terms = [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    }

    made = pod_for(daemonset(template=template(affinity=affinity)), "n7", "hash")

    assert target_of(made) == "n7"
    required = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    here = {"key": "metadata.name", "operator": "In", "values": ["n7"]}
    assert required == {"nodeSelectorTerms": [{"matchFields": [here]}]}
    assert made["metadata"]["labels"]["controller-revision-hash"] == "hash"


def test_on_delete_leaves_old_pods_until_someone_deletes_them() -> None:
    world = World((DS, daemonset(updateStrategy={"type": "OnDelete"})), ("nodes", node("n1")))
    world.settle(DAEMONSET, actors=ACTORS)
    (first,) = world.list("pods")
    world.change(DS, "web", spec={"template": template("v2")})
    world.settle(DAEMONSET, actors=ACTORS)
    assert world.list("pods") == [first]

    world.remove("pods", Key("shop", first["metadata"]["name"]))
    world.settle(DAEMONSET, actors=ACTORS)

    assert [p["spec"]["containers"][0]["image"] for p in world.list("pods")] == ["v2"]
    assert len(world.list("controllerrevisions.apps")) == 2


def test_a_rollback_makes_the_old_revision_the_newest() -> None:
    world = World((DS, daemonset()), ("nodes", node("n1")))
    for image in ("v1", "v2", "v1"):
        world.change(DS, "web", spec={"template": template(image)})
        world.settle(DAEMONSET, actors=ACTORS)

    numbers = {
        r["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: r["revision"]
        for r in world.list("controllerrevisions.apps")
    }
    assert numbers == {"v1": 3, "v2": 2}


def test_tolerations_are_added_where_they_are_not() -> None:
    own: list[Object] = [
        {"key": nodes.UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        {"key": "dedicated", "operator": "Exists"},
    ]
    keys = [
        (t["key"], "tolerationSeconds" in t) for t in tolerations({"tolerations": own, "hostNetwork": True})
    ]

    assert keys == [
        (nodes.UNREACHABLE, False),
        ("dedicated", False),
        (nodes.NOT_READY, False),
        (nodes.DISK_PRESSURE, False),
        (nodes.MEMORY_PRESSURE, False),
        (nodes.PID_PRESSURE, False),
        (nodes.UNSCHEDULABLE, False),
        (nodes.NETWORK_UNAVAILABLE, False),
    ]


def test_a_set_made_anew_takes_on_pods_and_revisions_and_restarts_nothing() -> None:
    world = World((DS, daemonset()), ("nodes", node("n1")), ("nodes", node("n2")))
    world.settle(DAEMONSET, actors=ACTORS)
    for resource in ("pods", REVISIONS):
        for obj in list(world.list(resource)):
            world.put(resource, merged(obj, {"metadata": {"ownerReferences": None}}))
    world.remove(DS, Key("shop", "web"))
    world.add(DS, {**daemonset(), "metadata": {"name": "web", "namespace": "shop", "uid": "uid-again"}})
    before = {p["metadata"]["uid"] for p in world.list("pods")}
    world.settle(DAEMONSET, actors=ACTORS)

    assert {p["metadata"]["uid"] for p in world.list("pods")} == before
    (revision,) = world.list(REVISIONS)
    assert revision["metadata"]["ownerReferences"][0]["uid"] == "uid-again"


def test_revisions_that_say_the_same_become_one_and_their_pods_say_so() -> None:
    world = World((DS, daemonset()), ("nodes", node("n1")))
    world.settle(DAEMONSET, actors=ACTORS)
    (first,) = world.list(REVISIONS)
    label = {"controller-revision-hash": "twin"}
    twin = merged(
        first, {"metadata": {"name": "web-twin", "uid": "uid-twin", "labels": label}, "revision": 9}
    )
    world.add(REVISIONS, twin)
    (before,) = world.list("pods")
    world.settle(DAEMONSET, actors=ACTORS)

    (kept,) = world.list(REVISIONS)
    assert kept["metadata"]["name"] == "web-twin"
    (after,) = world.list("pods")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["labels"]["controller-revision-hash"] == "twin"


def test_with_surge_a_pod_comes_while_the_last_one_goes() -> None:
    world = World((DS, daemonset(surge=1, unavailable=0)), ("nodes", node("n1")))
    world.settle(DAEMONSET, actors=ACTORS)
    (first,) = world.list("pods")
    world.remove("pods", Key("shop", first["metadata"]["name"]))
    world.settle(DAEMONSET)

    assert len(world.list("pods")) == 2


def test_with_surge_unsuited_pods_stay_until_enough_are_available_elsewhere() -> None:
    def at(name: str, hashed: str, *, is_ready: bool = True) -> list[Object]:
        labels = {"controller-revision-hash": hashed}
        return [pod(name, node=name, labels=labels, is_ready=is_ready)]

    ds = daemonset(surge=1, unavailable=0)
    where = {"here": at("here", "new"), "left": at("left", "old"), "sick": at("sick", "old", is_ready=False)}

    assert names(rolling.step(ds, where, {"here"}, "new", START + 1).doomed) == ["sick", "left"]
    waiting = {**where, "here": at("here", "new", is_ready=False)}
    assert names(rolling.step(ds, waiting, {"here"}, "new", START + 1).doomed) == ["sick"]


def names(some: Sequence[Object]) -> list[str]:
    return [p["metadata"]["name"] for p in some]


@settings(deadline=None, max_examples=30)
@given(
    tainted=st.lists(st.sampled_from([None, NO_SCHEDULE, NO_EXECUTE]), min_size=1, max_size=5),
    surge=st.integers(0, 2),
    unavailable=st.integers(0, 2),
    strays=st.lists(st.sampled_from(["n0", "n1", "gone"]), max_size=3),
    broken=st.sampled_from(["Running", "Failed", "Succeeded"]),
)
def test_every_world_comes_to_rest_and_rolls_within_the_bounds(
    tainted: list[Object | None], surge: int, unavailable: int, strays: list[str], broken: str
) -> None:
    owner = daemonset(surge=surge, unavailable=unavailable)
    world = World((DS, owner))
    for number, taint in enumerate(tainted):
        world.add("nodes", node(f"n{number}", taints=[taint] if taint else []))
    for number, where in enumerate(strays):
        if where != "gone":
            world.add("pods", pod(f"stray{number}", owner=owner, node=where, phase=broken))
    world.settle(DAEMONSET, actors=ACTORS)
    world.time += 10  # failed pods are replaced a little later
    world.settle(DAEMONSET, actors=ACTORS)
    expected = [f"n{i}" for i, taint in enumerate(tainted) if taint is None]
    served = [n for n in nodes_with_pods(world) if n in expected]
    assert served == expected

    allowed = unavailable or (0 if surge else 1)

    def watcher(w: World) -> bool:
        ready = {pods.node_of(p) for p in w.list("pods") if pods.is_active(p) and pods.is_ready(p)}
        assert len([n for n in expected if n not in ready]) <= allowed
        return False

    world.change(DS, "web", spec={"template": template("v2")})
    world.settle(DAEMONSET, actors=[*ACTORS, watcher])

    fresh = [p for p in world.list("pods") if pods.node_of(p) in expected]
    assert [p["spec"]["containers"][0]["image"] for p in fresh] == ["v2"] * len(expected)
