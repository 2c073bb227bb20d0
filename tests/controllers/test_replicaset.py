from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controllers.world import START, World, kubelet, merged, pod, scheduler, workload
from timonel.control.actions import Adopt, Create, Delete, Outcome, Plan, Release
from timonel.controllers.replicaset import REPLICASET, REPLICATIONCONTROLLER, observe, reconcile, status
from timonel.objects import pods
from timonel.objects.meta import Key, Object, controller_ref, format_time

RS = "replicasets.apps"


def replicaset(replicas: int, **spec: Any) -> Object:
    return workload("ReplicaSet", replicas=replicas, **spec)


def world(rs: Object, *pods: Object) -> World:
    return World((RS, rs), *(("pods", p) for p in pods))


def plan_of(w: World) -> Plan:
    desired = w.get(RS, Key("shop", "web"))
    assert desired is not None
    return reconcile(desired, observe(desired, w))


def status_of(w: World, outcome: Outcome | None = None) -> Object:
    desired = w.get(RS, Key("shop", "web"))
    assert desired is not None
    return status(desired, observe(desired, w), outcome or Outcome())


def test_too_few_pods_are_topped_up() -> None:
    rs = replicaset(3)
    plan = plan_of(world(rs, pod("a", owner=rs)))

    assert [type(x) for x in plan.actions] == [Create, Create]
    assert isinstance(plan.actions[0], Create)
    assert plan.actions[0].obj["metadata"]["generateName"] == "web-"
    assert plan.actions[0].obj["metadata"]["ownerReferences"][0]["uid"] == "uid-web"


@pytest.mark.parametrize(
    "cheap",
    [
        {"node": ""},
        {"phase": "Pending"},
        {"is_ready": False},
        {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}},
        {"creationTimestamp": format_time(START - 1)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_the_cheapest_pod_goes_first(cheap: dict[str, Any]) -> None:
    rs = replicaset(2)
    old = format_time(START - 1_000_000)
    if "creationTimestamp" not in cheap:
        cheap = {**cheap, "creationTimestamp": old}
    w = world(rs, *(pod(n, owner=rs, creationTimestamp=old) for n in "ac"), pod("b", owner=rs, **cheap))
    w.time += 10

    assert [x.key.name for x in plan_of(w).actions if isinstance(x, Delete)] == ["b"]


def test_the_doubled_up_node_gives_first() -> None:
    deployment = workload("Deployment", name="shop")
    rs = replicaset(2)
    rs["metadata"]["ownerReferences"] = [controller_ref(deployment)]
    w = world(rs, pod("a", owner=rs, node="n1"), pod("b", owner=rs, node="n2"), pod("c", owner=rs, node="n2"))

    assert [x.key.name for x in plan_of(w).actions if isinstance(x, Delete)] in (["b"], ["c"])


def test_a_set_of_its_own_does_not_mind_who_shares_a_node() -> None:
    rs = replicaset(2)
    old = format_time(START - 1_000_000)
    spread = [pod(n, owner=rs, node=f"n{n}", creationTimestamp=old) for n in "ab"]
    w = world(rs, *spread, pod("c", owner=rs, node="nb", creationTimestamp=format_time(START - 2_000_000)))
    w.time += 100_000

    (doomed,) = plan_of(w).actions
    assert isinstance(doomed, Delete)
    assert doomed.key.name == "a"


def ready_at(name: str, seconds: float, *, restarts: int = 0, uid: str = "", created: float = 0) -> Object:
    one = pod(name, uid=uid or f"uid-{name}", creationTimestamp=format_time(START - 1e6 + created))
    one["status"]["conditions"][0]["lastTransitionTime"] = format_time(START + seconds)
    one["status"]["containerStatuses"] = [{"name": "web", "restartCount": restarts}]
    return one


@pytest.mark.parametrize(
    ("first", "second", "wins"),
    [
        (ready_at("a", -100_000), ready_at("b", -10), "b"),
        (ready_at("a", -100, uid="2"), ready_at("b", -101, restarts=9, uid="1"), "b"),
        (ready_at("a", -101, uid="1"), ready_at("b", -100, restarts=9, uid="2"), "a"),
        (ready_at("a", -100, restarts=1), ready_at("b", -100), "a"),
        (ready_at("a", -100), ready_at("b", -100, created=999_999), "b"),
        (ready_at("a", -100, uid="2"), ready_at("b", -100, uid="1", created=1), "b"),
    ],
    ids=["much newer", "about as new", "about as new, too", "restarts", "made later", "made about then"],
)
def test_among_equals_age_counts_on_a_logarithmic_scale(first: Object, second: Object, wins: str) -> None:
    for order in ([first, second], [second, first]):
        assert pods.cheapest_first(order, (), START)[0]["metadata"]["name"] == wins


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("+5", 0),
        ("05", 0),
        ("1_0", 0),
        (" 5", 0),
        ("²", 0),
        ("2147483647", 2147483647),
        ("2147483648", 0),
        ("9" * 5000, 0),
    ],
)
def test_what_a_pod_costs(text: str, cost: int) -> None:
    assert pods.deletion_cost(pod("a", annotations={pods.DELETION_COST: text})) == cost


def test_a_job_gives_up_the_newest_pod_whatever_it_costs() -> None:
    cost = {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}
    some = [merged(ready_at("a", -101), {"metadata": cost}), ready_at("b", -100)]

    assert [p["metadata"]["name"] for p in pods.least_advanced_first(some)] == ["b", "a"]


def test_matching_orphans_are_adopted_and_strangers_released() -> None:
    rs = replicaset(1)
    w = world(rs, pod("orphan"), pod("stray", owner=rs, labels={"app": "other"}))

    assert plan_of(w).actions == (
        Adopt("pods", Key("shop", "orphan"), "uid-orphan"),
        Release("pods", Key("shop", "stray"), "uid-stray"),
    )


def test_a_deleted_set_creates_nothing_and_adopts_nothing() -> None:
    rs = workload(
        "ReplicaSet", replicas=3, meta={"deletionTimestamp": format_time(START), "finalizers": ["x"]}
    )

    assert plan_of(world(rs, pod("orphan"))).actions == ()


def test_terminating_pods_are_counted_apart() -> None:
    rs = replicaset(2)
    w = world(rs, pod("a", owner=rs), pod("b", owner=rs, deletionTimestamp=format_time(START)))

    got = status_of(w)

    assert (got["replicas"], got["terminatingReplicas"], got["readyReplicas"]) == (1, 1, 1)


def test_a_ready_pod_is_available_only_after_min_ready_seconds() -> None:
    rs = replicaset(1, minReadySeconds=30)
    w = world(rs, pod("a", owner=rs))
    w.time = START + 10

    assert plan_of(w).requeue_after == 20
    assert "availableReplicas" not in status_of(w)

    w.time = START + 30

    assert plan_of(w).requeue_after is None
    assert status_of(w)["availableReplicas"] == 1


def test_a_failure_shows_and_goes() -> None:
    rs = replicaset(1)
    w = world(rs)

    bad = status_of(w, Outcome(plan_of(w), RuntimeError("quota exceeded")))
    assert bad["conditions"][0]["reason"] == "FailedCreate"
    assert bad["conditions"][0]["message"] == "quota exceeded"

    w.change(RS, "web", status=bad)
    assert "conditions" not in status_of(w)


def test_pods_wake_their_controller_or_who_would_adopt_them() -> None:
    rs = replicaset(1)
    w = world(rs)
    wakes = REPLICASET.watches[1].wakes

    assert list(wakes(pod("a", owner=rs), w)) == [Key("shop", "web")]
    assert list(wakes(pod("a"), w)) == [Key("shop", "web")]
    assert list(wakes(pod("a", labels={"app": "other"}), w)) == []
    assert list(wakes(pod("a", owner={**rs, "kind": "StatefulSet"}), w)) == []


some_pods = st.lists(
    st.fixed_dictionaries(
        {
            "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
            "node": st.sampled_from(["", "n1", "n2"]),
            "is_ready": st.booleans(),
            "mine": st.booleans(),
            "labels": st.sampled_from([{"app": "web"}, {"app": "other"}]),
        }
    ),
    max_size=10,
)


@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
@given(kinds=some_pods, replicas=st.integers(0, 8))
def test_every_world_comes_to_rest_at_the_goal(kind: str, kinds: list[dict[str, Any]], replicas: int) -> None:
    what, resource = (
        (REPLICASET, RS) if kind == "ReplicaSet" else (REPLICATIONCONTROLLER, "replicationcontrollers")
    )
    owner = workload(kind, replicas=replicas)
    if kind == "ReplicationController":
        owner["spec"]["selector"] = {"app": "web"}
    w = World((resource, owner))
    for number, some in enumerate(kinds):
        mine = some.pop("mine") if "mine" in some else False
        w.add("pods", pod(f"p{number}", owner=owner if mine else None, **some))
        some["mine"] = mine

    w.settle(what, actors=[scheduler, kubelet], rounds=12)

    owned = w.controlled_by(owner, "pods")
    active = [p for p in owned if p["status"]["phase"] in ("Pending", "Running")]
    final = w.get(resource, Key("shop", "web"))
    assert final is not None
    assert len(active) == replicas == final["status"]["replicas"]
    assert final["status"].get("availableReplicas", 0) == replicas
    assert all(p["metadata"]["labels"] == {"app": "web"} for p in active)
    assert not {Create, Delete} <= {type(x) for x in w.applied}
