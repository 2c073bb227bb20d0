from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import World, finish, kubelet, scheduler, template, workload
from timonel.controllers.statefulset import STATEFULSET
from timonel.objects import pods
from timonel.objects.meta import Key, Object, labels_of

STS, PVC = "statefulsets.apps", "persistentvolumeclaims"
ACTORS = [scheduler, kubelet]
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def statefulset(replicas: int = 3, *, partition: int = 0, **spec: Any) -> Object:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    defaults: Object = {
        "serviceName": "web",
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": strategy,
        "revisionHistoryLimit": 10,
    }
    return workload("StatefulSet", replicas=replicas, **{**defaults, **spec})


def settled(obj: Object) -> World:
    world = World((STS, obj))
    world.settle(STATEFULSET, actors=ACTORS)
    return world


def images(world: World) -> dict[str, str]:
    living = (p for p in world.list("pods") if pods.is_active(p))
    return {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in living}


def status_of(world: World) -> Object:
    found = world.get(STS, Key("shop", "web"))
    assert found is not None
    status: Object = found["status"]
    return status


def test_pods_have_names_claims_and_labels_of_their_own() -> None:
    world = settled(statefulset(2, volumeClaimTemplates=[CLAIM], ordinals={"start": 5}))

    assert sorted(images(world)) == ["web-5", "web-6"]
    assert sorted(c["metadata"]["name"] for c in world.list(PVC)) == ["data-web-5", "data-web-6"]
    pod = world.get("pods", Key("shop", "web-6"))
    assert pod is not None
    assert labels_of(pod)["statefulset.kubernetes.io/pod-name"] == "web-6"
    assert labels_of(pod)["apps.kubernetes.io/pod-index"] == "6"
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-6", "web")
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-6"}}]
    assert ("Normal", "SuccessfulCreate", "create Pod web-6 in StatefulSet web successful") in world.events
    assert ("Normal", "SuccessfulCreate", "create Claim data-web-6 Pod web-6 in StatefulSet web success") in (
        world.events
    )


def test_the_status_names_its_revisions() -> None:
    world = settled(statefulset(2))

    (revision,) = world.list("controllerrevisions.apps")
    name = revision["metadata"]["name"]
    assert status_of(world) == {
        "observedGeneration": 1,
        "replicas": 2,
        "readyReplicas": 2,
        "currentReplicas": 2,
        "updatedReplicas": 2,
        "currentRevision": name,
        "updateRevision": name,
        "collisionCount": 0,
        "availableReplicas": 2,
    }


def test_ordered_pods_wait_for_the_one_before() -> None:
    world = World((STS, statefulset(3)))
    world.settle(STATEFULSET)

    assert sorted(images(world)) == ["web-0"]


def test_parallel_pods_come_at_once() -> None:
    world = World((STS, statefulset(3, podManagementPolicy="Parallel")))
    world.settle(STATEFULSET)

    assert sorted(images(world)) == ["web-0", "web-1", "web-2"]


def test_a_partition_keeps_the_lower_pods_old_even_when_they_are_replaced() -> None:
    world = settled(statefulset(3, partition=2))
    world.change(STS, "web", spec={"template": template("v2")})
    world.settle(STATEFULSET, actors=ACTORS)
    world.remove("pods", Key("shop", "web-0"))
    world.settle(STATEFULSET, actors=ACTORS)

    assert images(world) == {"web-0": "v1", "web-1": "v1", "web-2": "v2"}
    assert status_of(world)["currentRevision"] != status_of(world)["updateRevision"]

    world.change(STS, "web", spec={"updateStrategy": {"rollingUpdate": {"partition": 0}}})
    world.settle(STATEFULSET, actors=ACTORS)
    assert set(images(world).values()) == {"v2"}
    assert status_of(world)["currentRevision"] == status_of(world)["updateRevision"]


def test_an_ended_pod_is_replaced_under_its_name() -> None:
    world = settled(statefulset(1))
    finish("Failed")(world)
    world.settle(STATEFULSET, actors=ACTORS)

    assert sorted(images(world)) == ["web-0"]
    assert ("Normal", "SuccessfulDelete", "delete Pod web-0 in StatefulSet web successful") in world.events


def test_claims_follow_the_retention_policy() -> None:
    policy = {"whenDeleted": "Retain", "whenScaled": "Delete"}
    world = settled(statefulset(2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy))
    assert all("ownerReferences" not in c["metadata"] for c in world.list(PVC))

    world.change(STS, "web", spec={"replicas": 1})
    world.settle(STATEFULSET, actors=ACTORS)

    owners = {c["metadata"]["name"]: c["metadata"].get("ownerReferences") for c in world.list(PVC)}
    assert owners["data-web-0"] is None
    assert owners["data-web-1"] is not None
    assert owners["data-web-1"][0]["kind"] == "Pod"


@settings(deadline=None, max_examples=30)
@given(
    policy=st.sampled_from(["OrderedReady", "Parallel"]),
    start=st.integers(0, 3),
    changes=st.lists(st.sampled_from(["v1", "v2", 0, 1, 4, "Failed", "Succeeded"]), max_size=4),
    unavailable=st.sampled_from([None, 1, 2, "50%"]),
)
def test_every_change_ends_at_the_goal_in_order(
    policy: str, start: int, changes: list[str | int], unavailable: int | str | None
) -> None:
    obj = statefulset(2, podManagementPolicy=policy, ordinals={"start": start}, volumeClaimTemplates=[CLAIM])
    if unavailable is not None:
        obj["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = unavailable
    world = World((STS, obj))

    def watcher(w: World) -> bool:
        names = [p["metadata"]["name"] for p in w.list("pods")]
        assert len(names) == len(set(names))
        return False

    world.settle(STATEFULSET, actors=ACTORS)
    for change in changes:
        if change in ("Failed", "Succeeded"):
            finish(str(change), lambda p: bool(p["metadata"]["name"].endswith("1")))(world)
        elif isinstance(change, str):
            world.change(STS, "web", spec={"template": template(change)})
        else:
            world.change(STS, "web", spec={"replicas": change})
        world.settle(STATEFULSET, actors=[*ACTORS, watcher])

    final = world.get(STS, Key("shop", "web"))
    assert final is not None
    image = final["spec"]["template"]["spec"]["containers"][0]["image"]
    assert images(world) == {f"web-{start + i}": image for i in range(final["spec"]["replicas"])}
    assert final["status"]["availableReplicas"] == final["spec"]["replicas"]
