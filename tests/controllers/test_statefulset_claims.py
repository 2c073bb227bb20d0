"""What a StatefulSet owns beside its pods: claims and revisions, and those of a namesake that came before."""

from __future__ import annotations

from typing import Any

import pytest

from tests.controllers.test_statefulset import ACTORS, CLAIM, PVC, STS, images, settled, statefulset
from tests.controllers.world import World, finish, merged, pod
from timonel.control.actions import Delete
from timonel.controllers.statefulset import STATEFULSET, identity, retention
from timonel.objects import pods
from timonel.objects.meta import Key, Object, labels_of

OTHER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "uid-x"}


def ref(kind: str, uid: str, *, controller: bool = True) -> Object:
    version, name = ("v1", "web-1") if kind == "Pod" else ("apps/v1", "web")
    found = {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": True}
    return {**found, "controller": True} if controller else found


SET, POD = ref("StatefulSet", "uid-web"), ref("Pod", "uid-web-1")


@pytest.mark.parametrize(
    ("deleted", "scaled", "condemned", "before", "after"),
    [
        ("Retain", "Retain", False, [], None),
        ("Retain", "Retain", False, [SET], []),
        ("Retain", "Retain", True, [POD, OTHER], [OTHER]),
        ("Delete", "Retain", False, [], [SET]),
        ("Delete", "Retain", True, [], [SET]),
        ("Delete", "Retain", False, [SET, POD], [SET]),
        ("Retain", "Delete", False, [SET], []),
        ("Retain", "Delete", True, [], [POD]),
        ("Delete", "Delete", False, [POD], [SET]),
        ("Delete", "Delete", True, [SET], [POD]),
        ("Delete", "Delete", True, [POD], None),
        ("Delete", "Delete", False, [ref("StatefulSet", "uid-web", controller=False)], [SET]),
        ("Delete", "Delete", False, [ref("StatefulSet", "uid-before")], None),
        ("Delete", "Delete", True, [ref("Pod", "uid-before")], None),
        ("Delete", "Retain", False, [{**OTHER, "controller": True}], None),
        ("Delete", "Retain", False, [{**OTHER, "controller": True}, SET], [{**OTHER, "controller": True}]),
        ("Retain", "Retain", False, [{**OTHER, "controller": True}], None),
    ],
)
def test_who_owns_a_claim(
    deleted: str, scaled: str, condemned: bool, before: list[Object], after: list[Object] | None
) -> None:
    owner = statefulset(persistentVolumeClaimRetentionPolicy={"whenDeleted": deleted, "whenScaled": scaled})
    claim = {"metadata": {"name": "data-web-1", "ownerReferences": before}}
    one = pod("web-1", owner=owner)

    assert retention.owners(owner, claim, one, condemned=condemned) == after


def events_of(world: World, reason: str) -> list[str]:
    return [message for _, found, message in world.events if found == reason]


def test_a_pod_waits_for_a_claim_that_is_being_deleted() -> None:
    world = settled(statefulset(1, volumeClaimTemplates=[CLAIM]))
    claim = world.get(PVC, Key("shop", "data-web-0"))
    assert claim is not None
    held = {"metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z", "finalizers": ["x"]}}
    world.put(PVC, merged(claim, held))
    world.remove("pods", Key("shop", "web-0"))
    world.settle(STATEFULSET, actors=ACTORS)

    assert images(world) == {}
    told = "create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted"
    assert told in events_of(world, "FailedCreate")
    leaving = world.get(PVC, Key("shop", "data-web-0"))
    assert leaving is not None
    assert list(STATEFULSET.watches[3].wakes(leaving, world)) == [Key("shop", "web")]

    world.put(PVC, merged(leaving, {"metadata": {"finalizers": None}}))
    world.settle(STATEFULSET, actors=ACTORS)
    assert images(world) == {"web-0": "v1"}


def test_a_pod_waits_for_the_claim_of_its_predecessor_to_go() -> None:
    policy = {"whenDeleted": "Retain", "whenScaled": "Delete"}
    world = settled(statefulset(2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy))
    world.change(STS, "web", spec={"replicas": 1})
    world.settle(STATEFULSET, actors=ACTORS)
    world.change(STS, "web", spec={"replicas": 2})
    world.settle(STATEFULSET, actors=ACTORS)
    assert sorted(images(world)) == ["web-0"]

    world.remove(PVC, Key("shop", "data-web-1"))  # the garbage collector's part
    world.settle(STATEFULSET, actors=ACTORS)
    assert sorted(images(world)) == ["web-0", "web-1"]


def test_a_set_made_anew_takes_on_pods_and_revisions_and_restarts_nothing() -> None:
    world = settled(statefulset(2))
    for resource in ("pods", "controllerrevisions.apps"):
        for obj in list(world.list(resource)):
            world.put(resource, merged(obj, {"metadata": {"ownerReferences": None}}))
    world.remove(STS, Key("shop", "web"))
    world.add(STS, {**statefulset(2), "metadata": {"name": "web", "namespace": "shop", "uid": "uid-again"}})
    before, world.applied = {p["metadata"]["uid"] for p in world.list("pods")}, []
    world.settle(STATEFULSET, actors=ACTORS)

    assert {p["metadata"]["uid"] for p in world.list("pods")} == before
    assert not [a for a in world.applied if isinstance(a, Delete)]
    (revision,) = world.list("controllerrevisions.apps")
    assert revision["metadata"]["ownerReferences"][0]["uid"] == "uid-again"


def test_a_pod_of_another_name_is_not_a_member() -> None:
    world = settled(statefulset(1))
    owner = world.get(STS, Key("shop", "web"))
    world.add("pods", pod("shop-7", owner=owner))
    world.settle(STATEFULSET, actors=ACTORS)

    stranger = world.get("pods", Key("shop", "shop-7"))
    assert stranger is not None
    assert "ownerReferences" not in stranger["metadata"]
    assert "deletionTimestamp" not in stranger["metadata"]


def test_an_ended_pod_does_not_hold_up_a_parallel_set() -> None:
    world = settled(statefulset(3, podManagementPolicy="Parallel"))
    finish("Succeeded", lambda p: bool(p["metadata"]["name"] == "web-0"))(world)
    one = world.get("pods", Key("shop", "web-0"))
    assert one is not None
    world.put("pods", merged(one, {"metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z"}}))
    world.change(STS, "web", spec={"replicas": 2})
    world.sync(STATEFULSET, Key("shop", "web"))

    last = world.get("pods", Key("shop", "web-2"))
    assert last is not None
    assert "deletionTimestamp" in last["metadata"]


def test_a_lost_name_label_is_put_back() -> None:
    world = settled(statefulset(1))
    one = world.get("pods", Key("shop", "web-0"))
    assert one is not None
    world.put("pods", merged(one, {"metadata": {"labels": {identity.POD_NAME_LABEL: "mine"}}}))
    world.settle(STATEFULSET, actors=ACTORS)

    found = world.get("pods", Key("shop", "web-0"))
    assert found is not None
    assert labels_of(found)[identity.POD_NAME_LABEL] == "web-0"
    assert events_of(world, "SuccessfulUpdate") == ["update Pod web-0 in StatefulSet web successful"]


@pytest.mark.parametrize(
    ("name", "ordinal"),
    [
        ("web-0", 0),
        ("web-10", 10),
        ("web-007", None),
        ("web-", None),
        ("web-x", None),
        ("other-web-1", None),
        ("web-99999999999999999999", None),
    ],
)
def test_whose_ordinal_a_name_tells(name: str, ordinal: int | None) -> None:
    assert identity.ordinal_of(statefulset(), pod(name)) == ordinal


@pytest.mark.parametrize(
    ("unavailable", "replicas", "first"),
    [(1, 4, 1), (2, 4, 2), ("50%", 5, 2), ("10%", 4, 1), ("100%", 3, 3)],
)
def test_how_many_pods_are_replaced_at_a_time(unavailable: Any, replicas: int, first: int) -> None:
    obj = statefulset(replicas)
    obj["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = unavailable
    world = settled(obj)
    image = {"template": {"spec": {"containers": [{"name": "web", "image": "v2"}]}}}
    world.change(STS, "web", spec=image)
    world.sync(STATEFULSET, Key("shop", "web"))

    going = [p["metadata"]["name"] for p in world.list("pods") if not pods.is_active(p)]
    assert sorted(going) == [f"web-{i}" for i in range(replicas - first, replicas)]
