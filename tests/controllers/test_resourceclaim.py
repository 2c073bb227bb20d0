"""Claims of pods from their template to their end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import World, merged, pod
from timonel.controllers.resourceclaim import (
    CLAIMS,
    FINALIZER,
    LONGEST_BASE,
    OF_CLAIMS,
    POD_CLAIM,
    RESOURCECLAIM,
    TEMPLATES,
    base_name,
)
from timonel.objects.meta import Key, Object, controller_of, key_of

SPEC = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}


def template() -> Object:
    inner = {"metadata": {"labels": {"a": "b"}}, "spec": SPEC}
    return {"metadata": {"name": "gpu", "namespace": "shop"}, "spec": inner}


def asking(name: str, *, node: str = "", **claim: str) -> Object:
    made = pod(name, node=node, phase="Pending")
    made["spec"]["resourceClaims"] = [{"name": "dev", **(claim or {"resourceClaimTemplateName": "gpu"})}]
    return made


def allocate(world: World) -> None:
    """The scheduler's part: every pod that waits is bound, with its claims."""
    for waiting in world.list("pods"):
        for status in waiting["status"].get("resourceClaimStatuses") or ():
            claim = world.get(CLAIMS, Key("shop", status["resourceClaimName"]))
            if claim is None or waiting["spec"].get("nodeName"):
                continue
            user = {
                "resource": "pods",
                "name": waiting["metadata"]["name"],
                "uid": waiting["metadata"]["uid"],
            }
            allocated = {"status": {"allocation": {"devices": {}}, "reservedFor": [user]}}
            world.put(CLAIMS, merged(claim, {"metadata": {"finalizers": [FINALIZER]}, **allocated}))
            world.put("pods", merged(waiting, {"spec": {"nodeName": "n1"}}))


def test_a_template_becomes_a_claim_that_the_pod_names() -> None:
    world = World((TEMPLATES, template()), ("pods", asking("web")))
    world.settle(*RESOURCECLAIM)

    (claim,) = world.list(CLAIMS)
    assert (claim["spec"], claim["metadata"]["labels"]) == (SPEC, {"a": "b"})
    assert claim["metadata"]["annotations"] == {POD_CLAIM: "dev"}
    owner = controller_of(claim)
    assert owner is not None
    assert owner["name"] == "web"
    (made,) = world.list("pods")
    assert made["status"]["resourceClaimStatuses"] == [
        {"name": "dev", "resourceClaimName": claim["metadata"]["name"]}
    ]


def test_a_missing_template_is_reported_and_waited_for() -> None:
    world = World(("pods", asking("web")))
    world.settle(*RESOURCECLAIM)
    why = 'resource claim template "gpu": resourceclaimtemplate.resource.k8s.io "gpu" not found'
    assert world.events == [("Warning", "FailedResourceClaimCreation", f"PodResourceClaim dev: {why}")]

    added = world.add(TEMPLATES, template())
    assert list(RESOURCECLAIM[0].watches[2].wakes(added, world)) == [Key("shop", "web")]
    world.settle(*RESOURCECLAIM)
    assert len(world.list(CLAIMS)) == 1


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_the_claim_of_a_pod_that_is_done_is_freed_and_deleted(phase: str) -> None:
    world = World((TEMPLATES, template()), ("pods", asking("web")))
    world.settle(*RESOURCECLAIM)
    allocate(world)
    world.settle(*RESOURCECLAIM)
    assert world.list(CLAIMS)[0]["status"]["allocation"] == {"devices": {}}

    world.change("pods", "web", status={"phase": phase})
    world.settle(*RESOURCECLAIM)
    assert world.list(CLAIMS) == []


def test_a_claim_of_its_own_is_freed_when_the_last_of_its_pods_is_gone() -> None:
    claim = {"metadata": {"name": "shared", "namespace": "shop"}, "spec": SPEC}
    world = World((CLAIMS, claim), *(("pods", asking(n, resourceClaimName="shared")) for n in "ab"))
    users = [{"resource": "pods", "name": n, "uid": f"uid-{n}"} for n in "ab"]
    shared = world.list(CLAIMS)[0]
    world.put(CLAIMS, merged(shared, {"metadata": {"finalizers": [FINALIZER]},
                                      "status": {"allocation": {}, "reservedFor": users}}))  # fmt: skip
    world.remove("pods", Key("shop", "a"), grace=0)
    world.time += 60
    world.settle(*RESOURCECLAIM)
    assert world.list(CLAIMS)[0]["status"]["reservedFor"] == users[1:]

    world.remove("pods", Key("shop", "b"), grace=0)
    world.time += 60
    world.settle(*RESOURCECLAIM)
    (left,) = world.list(CLAIMS)
    assert (left["status"], left["metadata"].get("finalizers")) == ({}, None)


def test_a_pod_that_the_cache_does_not_know_yet_keeps_its_place() -> None:
    claim = {
        "metadata": {"name": "c", "namespace": "shop"},
        "spec": SPEC,
        "status": {"allocation": {}, "reservedFor": [{"resource": "pods", "name": "new", "uid": "u"}]},
    }
    world = World((CLAIMS, claim))
    world.steady = world.time
    plan = OF_CLAIMS.reconcile(claim, OF_CLAIMS.observe(claim, world))
    assert (plan.actions, plan.requeue_after) == ((), 5.0)


@pytest.mark.parametrize(
    ("uid", "left", "wait"),
    [
        ("uid-a", [], None),  # it was seen to go
        ("uid-namesake", ["uid-namesake"], 5.0),  # that one may not have come yet
    ],
)
def test_a_claim_is_free_as_soon_as_its_pod_is_gone(uid: str, left: list[str], wait: float | None) -> None:
    claim = {
        "metadata": {"name": "c", "namespace": "shop"},
        "spec": SPEC,
        "status": {"allocation": {}, "reservedFor": [{"resource": "pods", "name": "a", "uid": uid}]},
    }
    world = World((CLAIMS, claim), ("pods", asking("a", node="n1", resourceClaimName="c")))
    gone = world.list("pods")[0]
    world.remove("pods", Key("shop", "a"), grace=0)
    assert [k for w in OF_CLAIMS.watches[1:] for k in w.wakes(gone, world)] == [Key("shop", "c")]

    observed = OF_CLAIMS.observe(claim, world)
    assert ([u["uid"] for u in observed.valid], observed.wait) == (left, wait)


def test_a_pod_bound_by_hand_is_reserved_for() -> None:
    claim = {"metadata": {"name": "c", "namespace": "shop"}, "spec": SPEC, "status": {"allocation": {}}}
    world = World((CLAIMS, claim), ("pods", asking("web", node="n1", resourceClaimName="c")))
    world.settle(*RESOURCECLAIM)

    assert [u["name"] for u in world.list(CLAIMS)[0]["status"]["reservedFor"]] == ["web"]


def test_long_names_are_shortened_in_proportion() -> None:
    assert base_name("web", "dev") == "web-dev-"
    made = base_name("p" * 80, "c" * 40)
    assert len(made) <= LONGEST_BASE
    assert made.count("p") > made.count("c") > 10


steps = st.lists(st.sampled_from(["allocate", "finish", "delete", "forget"]), max_size=5)


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(1, 3))
def test_each_living_pod_has_one_claim_and_nobody_else_any(series: list[str], count: int) -> None:
    world = World((TEMPLATES, template()), *(("pods", asking(f"p{n}")) for n in range(count)))
    world.settle(*RESOURCECLAIM)
    for step in series:
        found = list(world.list("pods"))
        if step == "allocate":
            allocate(world)
        elif step == "finish" and found:
            world.change("pods", found[0]["metadata"]["name"], status={"phase": "Succeeded"})
        elif step == "forget" and world.list(CLAIMS):
            world.remove(CLAIMS, key_of(world.list(CLAIMS)[0]))
        elif step == "delete" and found:
            world.change("pods", found[-1]["metadata"]["name"], status={"phase": "Failed"})
        world.time += 60
        world.settle(*RESOURCECLAIM)

    alive = {p["metadata"]["name"] for p in world.list("pods") if p["status"]["phase"] == "Pending"}
    owners = [c["metadata"]["ownerReferences"][0]["name"] for c in world.list(CLAIMS)]
    assert set(owners) >= alive
    assert set(owners) - alive == set()
