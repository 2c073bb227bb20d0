from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import START, World, kubelet, scheduler, template, workload
from timonel.control.actions import Create
from timonel.controllers.deployment import DEPLOYMENT, replicasets
from timonel.controllers.deployment.sizes import Bounds, bounds, proportional
from timonel.controllers.replicaset import REPLICASET
from timonel.objects import conditions, pods
from timonel.objects.meta import Key, Object, annotations_of, controller_ref

DEPLOYMENTS, RS = "deployments.apps", "replicasets.apps"
KEY = Key("shop", "web")
ACTORS = [scheduler, kubelet]


def deployment(replicas: int = 3, *, surge: int | str = 1, unavailable: int | str = 0, **spec: Any) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    defaults = {"strategy": strategy, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}
    return workload("Deployment", replicas=replicas, **{**defaults, **spec})


def settled(obj: Object) -> World:
    world = World((DEPLOYMENTS, obj))
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)
    return world


def current(world: World) -> Object:
    found = world.get(DEPLOYMENTS, KEY)
    assert found is not None
    return found


def messages(world: World, reason: str) -> list[str]:
    return [m for _, r, m in world.events if r == reason]


def progress(world: World) -> str | None:
    found = conditions.find(current(world)["status"].get("conditions"), "Progressing")
    return str(found["reason"]) if found is not None else None


def test_a_first_rollout_makes_one_set_and_says_so() -> None:
    world = settled(deployment(2))

    (rs,) = world.list(RS)
    name = rs["metadata"]["name"]
    assert messages(world, "ScalingReplicaSet") == [f"Scaled up replica set {name} from 0 to 2"]
    assert rs["metadata"]["labels"]["pod-template-hash"] == name.removeprefix("web-")
    assert set(name.removeprefix("web-")) <= set("bcdfghjklmnpqrstvwxz2456789")
    noted = {k.removeprefix("deployment.kubernetes.io/"): v for k, v in annotations_of(rs).items()}
    assert noted == {"revision": "1", "desired-replicas": "2", "max-replicas": "3"}
    assert annotations_of(current(world))["deployment.kubernetes.io/revision"] == "1"
    status = current(world)["status"]
    assert {k: v for k, v in status.items() if k != "conditions"} == {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "terminatingReplicas": 0,
    }
    assert progress(world) == "NewReplicaSetAvailable"
    assert conditions.find(status["conditions"], "Available") == {
        "type": "Available",
        "status": "True",
        "reason": "MinimumReplicasAvailable",
        "message": "Deployment has minimum availability.",
        "lastTransitionTime": conditions.find(status["conditions"], "Available")["lastTransitionTime"],  # type: ignore[index]
        "lastUpdateTime": conditions.find(status["conditions"], "Available")["lastUpdateTime"],  # type: ignore[index]
    }


def test_undo_brings_the_old_set_back_as_the_newest_revision() -> None:
    world = settled(deployment(1))
    world.change(DEPLOYMENTS, "web", spec={"template": template("v2")})
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)
    world.change(DEPLOYMENTS, "web", spec={"template": template("v1")})
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    sets = {rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs for rs in world.list(RS)}
    assert {image: rs["spec"]["replicas"] for image, rs in sets.items()} == {"v1": 1, "v2": 0}
    noted = annotations_of(sets["v1"])
    assert noted["deployment.kubernetes.io/revision"] == "3"
    assert noted["deployment.kubernetes.io/revision-history"] == "1"
    assert annotations_of(current(world))["deployment.kubernetes.io/revision"] == "3"


@pytest.mark.parametrize(
    ("asked", "image", "told"),
    [
        ("0", "v2", 'Rolled back deployment "web" to revision 2'),
        ("1", "v1", 'Rolled back deployment "web" to revision 1'),
        ("3", "v3", 'The rollback revision contains the same template as current deployment "web"'),
        ("9", "v3", "Unable to find the revision to rollback to."),
        ("-1", "v3", "Unable to find the revision to rollback to."),
        ("last", "v3", None),
    ],
)
def test_an_annotation_asks_for_a_revision(asked: str, image: str, told: str | None) -> None:
    world = settled(deployment(1, template=template("v1")))
    for later in ("v2", "v3"):
        meta = {"annotations": {"note": later}}
        world.change(DEPLOYMENTS, "web", metadata=meta, spec={"template": template(later)})
        world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)
    world.change(DEPLOYMENTS, "web", metadata={"annotations": {"deprecated.deployment.rollback.to": asked}})
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    assert current(world)["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert [m for _, r, m in world.events if r.startswith("DeploymentRollback")] == ([told] if told else [])
    noted = annotations_of(current(world))
    assert noted.get("note") == (None if image == "v1" else image)
    assert ("deprecated.deployment.rollback.to" in noted) == (told is None)


def test_there_is_nothing_before_a_first_revision() -> None:
    world = settled(deployment(1))
    world.change(DEPLOYMENTS, "web", metadata={"annotations": {"deprecated.deployment.rollback.to": "0"}})
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    assert messages(world, "DeploymentRollbackRevisionNotFound") == ["Unable to find last revision."]


def test_the_name_of_a_set_fits() -> None:
    name = "d" * 253
    made = replicasets.build(
        {**deployment(1), "metadata": {"name": name, "namespace": "shop", "uid": "u"}}, ()
    )

    assert len(made["metadata"]["name"]) <= 253
    assert made["metadata"]["name"].startswith("d" * 242 + "-")


def test_history_beyond_the_limit_goes() -> None:
    world = settled(deployment(1, revisionHistoryLimit=1))
    for image in ("v2", "v3", "v4"):
        world.change(DEPLOYMENTS, "web", spec={"template": template(image)})
        world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    assert {rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in world.list(RS)} == {"v3", "v4"}


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    world = settled(deployment(2))
    world.change(DEPLOYMENTS, "web", spec={"paused": True, "template": template("v2"), "replicas": 4})
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    (rs,) = world.list(RS)
    assert rs["spec"]["replicas"] == 4
    assert progress(world) == "DeploymentPaused"

    world.change(DEPLOYMENTS, "web", spec={"paused": None})
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)
    assert len(world.list(RS)) == 2
    assert progress(world) == "NewReplicaSetAvailable"


def test_recreate_never_runs_two_templates_at_once() -> None:
    mixed: list[set[str]] = []

    def watcher(world: World) -> bool:
        mixed.append(
            {p["spec"]["containers"][0]["image"] for p in world.list("pods") if not pods.is_terminal(p)}
        )
        return False

    world = settled(deployment(3, strategy={"type": "Recreate"}))
    world.change(DEPLOYMENTS, "web", spec={"template": template("v2")})
    world.settle(DEPLOYMENT, REPLICASET, actors=[*ACTORS, watcher])

    assert all(len(images) <= 1 for images in mixed)
    assert mixed[-1] == {"v2"}


def test_a_rollout_that_does_not_progress_is_reported() -> None:
    world = World((DEPLOYMENTS, deployment(1, progressDeadlineSeconds=60)))
    world.settle(DEPLOYMENT, REPLICASET)
    desired = current(world)
    plan = DEPLOYMENT.reconcile(desired, DEPLOYMENT.observe(desired, world))
    assert plan.requeue_after is not None
    assert 0 < plan.requeue_after <= 61

    world.time = START + 200
    world.settle(DEPLOYMENT, REPLICASET)

    found = conditions.find(current(world)["status"]["conditions"], "Progressing")
    assert found is not None
    name = world.list(RS)[0]["metadata"]["name"]
    assert (found["status"], found["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert found["message"] == f'ReplicaSet "{name}" has timed out progressing.'


def test_a_taken_name_changes_the_hash() -> None:
    world = World((DEPLOYMENTS, deployment(1)))
    desired = current(world)
    (create, *_) = DEPLOYMENT.reconcile(desired, DEPLOYMENT.observe(desired, world)).actions
    assert isinstance(create, Create)
    squatter = workload("ReplicaSet", name=create.obj["metadata"]["name"], replicas=0)
    squatter["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    squatter["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    world.add(RS, squatter)

    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    assert current(world)["status"]["collisionCount"] == 1
    assert current(world)["status"]["availableReplicas"] == 1


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 10, Bounds(3, 2)),
        ("25%", "25%", 1, Bounds(1, 0)),
        (0, 0, 5, Bounds(0, 1)),
        (0, "10%", 5, Bounds(0, 1)),
        (1, 9, 3, Bounds(1, 3)),
    ],
)
def test_surge_rounds_up_and_unavailability_down(
    surge: Any, unavailable: Any, replicas: int, expected: Bounds
) -> None:
    assert bounds(deployment(replicas, surge=surge, unavailable=unavailable)) == expected


def test_scaling_in_mid_rollout_is_shared_in_proportion() -> None:
    def part(name: str, size: int) -> Object:
        noted = {"deployment.kubernetes.io/max-replicas": "13"}
        return workload("ReplicaSet", name=name, replicas=size, meta={"annotations": noted})

    wanted = deployment(20, surge=3, unavailable=2)

    assert proportional(wanted, [part("old", 8), part("new", 5)]) == {"old": 14, "new": 9}


amounts = st.sampled_from([0, 1, 2, "25%", "100%"])


@settings(deadline=None, max_examples=60)
@given(replicas=st.integers(1, 7), surge=amounts, unavailable=amounts)
def test_a_rollout_keeps_within_surge_and_unavailability(
    replicas: int, surge: int | str, unavailable: int | str
) -> None:
    world = settled(deployment(replicas, surge=surge, unavailable=unavailable))
    limits = bounds(current(world))

    def watcher(w: World) -> bool:
        active = [p for p in w.list("pods") if pods.is_active(p)]
        assert len(active) <= replicas + limits.surge
        assert sum(map(pods.is_ready, active)) >= replicas - limits.unavailable
        return False

    world.change(DEPLOYMENTS, "web", spec={"template": template("v2")})
    world.settle(DEPLOYMENT, REPLICASET, actors=[*ACTORS, watcher])

    assert {p["spec"]["containers"][0]["image"] for p in world.list("pods")} == {"v2"}


@settings(deadline=None, max_examples=40)
@given(
    replicas=st.integers(0, 6),
    surge=amounts,
    unavailable=amounts,
    changes=st.lists(st.sampled_from(["v1", "v2", "v3", 0, 2, 5, 8]), max_size=5),
    passes=st.integers(0, 3),
)
def test_changes_that_overtake_each_other_end_at_the_last(
    replicas: int, surge: int | str, unavailable: int | str, changes: list[str | int], passes: int
) -> None:
    world = settled(deployment(replicas, surge=surge, unavailable=unavailable))
    for change in changes:
        spec = {"template": template(change)} if isinstance(change, str) else {"replicas": change}
        world.change(DEPLOYMENTS, "web", spec=spec)
        for _ in range(passes):  # the next change comes before this one is through
            for what in (DEPLOYMENT, REPLICASET):
                for obj in list(world.list(what.watches[0].resource)):
                    world.sync(what, Key("shop", obj["metadata"]["name"]))
            kubelet(world)
    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    desired = current(world)
    wanted = desired["spec"]["replicas"]
    image = desired["spec"]["template"]["spec"]["containers"][0]["image"]
    living = [p for p in world.list("pods") if pods.is_active(p)]
    assert [p["spec"]["containers"][0]["image"] for p in living] == [image] * wanted
    assert desired["status"].get("availableReplicas", 0) == wanted
    assert progress(world) == "NewReplicaSetAvailable"


def test_sets_that_match_are_adopted() -> None:
    obj = deployment(1)
    orphan = workload("ReplicaSet", name="web-old", replicas=1)
    orphan["metadata"]["labels"] = {"app": "web"}
    world = World((DEPLOYMENTS, obj), (RS, orphan))

    world.settle(DEPLOYMENT, REPLICASET, actors=ACTORS)

    (rs,) = world.list(RS)
    assert rs["metadata"]["ownerReferences"] == [controller_ref(obj)]
