"""Claims of ephemeral volumes, growing claims, protected classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controllers.world import World, pod
from timonel.control.actions import Plan
from timonel.controllers.ephemeral_volume import EPHEMERAL_VOLUME
from timonel.controllers.persistentvolume_expander import PERSISTENTVOLUME_EXPANDER
from timonel.controllers.volumeattributesclass_protection import VOLUMEATTRIBUTESCLASS_PROTECTION
from timonel.objects.meta import Key, Object, controller_of

CLAIMS, VOLUMES, CLASSES = (
    "persistentvolumeclaims",
    "persistentvolumes",
    "volumeattributesclasses.storage.k8s.io",
)


def with_scratch(name: str, *volumes: str) -> Object:
    made = pod(name)
    template = {
        "metadata": {"labels": {"made": "here"}, "annotations": {"a": "b"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made["spec"]["volumes"] = [
        {"name": "config", "configMap": {"name": "c"}},
        *({"name": v, "ephemeral": {"volumeClaimTemplate": template}} for v in volumes),
    ]
    return made


def test_a_template_becomes_a_claim_of_the_pod() -> None:
    world = World(("pods", with_scratch("web", "scratch")))
    world.settle(EPHEMERAL_VOLUME)

    (claim,) = world.list(CLAIMS, "shop")
    assert (claim["metadata"]["name"], claim["metadata"]["labels"]) == ("web-scratch", {"made": "here"})
    assert claim["spec"]["resources"] == {"requests": {"storage": "1Gi"}}
    owner = controller_of(claim)
    assert owner is not None
    assert (owner["kind"], owner["name"], owner["blockOwnerDeletion"]) == ("Pod", "web", True)


def test_the_claim_of_another_is_left_alone_and_reported() -> None:
    foreign = {"metadata": {"name": "web-scratch", "namespace": "shop"}, "spec": {}}
    world = World(("pods", with_scratch("web", "scratch")), (CLAIMS, foreign))
    world.settle(EPHEMERAL_VOLUME)

    why = "PVC shop/web-scratch was not created for pod shop/web (pod is not owner)"
    assert world.events == [("Warning", "FailedBinding", f"ephemeral volume scratch: {why}")]
    claim = world.list(CLAIMS)[0]
    assert list(EPHEMERAL_VOLUME.watches[1].wakes(claim, world)) == [Key("shop", "web")]


@given(st.sets(st.sampled_from("abc")), st.booleans())
def test_every_template_gets_its_claim_once(volumes: set[str], leaving: bool) -> None:
    world = World(("pods", with_scratch("web", *volumes)))
    if leaving:
        world.remove("pods", Key("shop", "web"))
    world.settle(EPHEMERAL_VOLUME)

    made = {c["metadata"]["name"] for c in world.list(CLAIMS)}
    assert made == (set() if leaving else {f"web-{v}" for v in volumes})


@pytest.mark.parametrize(
    ("asked", "has", "phase", "told"),
    [("2Gi", "1Gi", "Bound", True), ("1Gi", "1Gi", "Bound", False), ("2Gi", "1Gi", "Lost", False)],
)
def test_a_claim_that_grows_is_announced(asked: str, has: str, phase: str, told: bool) -> None:
    claim = {
        "metadata": {"name": "data", "namespace": "shop", "uid": "uid-data"},
        "spec": {"volumeName": "pv", "resources": {"requests": {"storage": asked}}},
        "status": {"phase": phase, "capacity": {"storage": has}},
    }
    volume = {"metadata": {"name": "pv"}, "spec": {"claimRef": {"uid": "uid-data"}}}
    world = World((CLAIMS, claim), (VOLUMES, volume))
    seen = PERSISTENTVOLUME_EXPANDER.observe(claim, world)

    assert bool(PERSISTENTVOLUME_EXPANDER.reconcile(claim, seen).actions) == told
    assert PERSISTENTVOLUME_EXPANDER.reconcile(claim, None) == Plan()
    assert bool(list(PERSISTENTVOLUME_EXPANDER.watches[0].wakes(claim, world))) == told


@pytest.mark.parametrize("part", ["spec", "status"])
def test_a_class_in_use_outlives_its_deletion(part: str) -> None:
    claim: Object = {"metadata": {"name": "data", "namespace": "shop"}, "spec": {}, "status": {}}
    field = "volumeAttributesClassName" if part == "spec" else "currentVolumeAttributesClassName"
    claim[part][field] = "gold"
    world = World((CLASSES, {"metadata": {"name": "gold"}}), (CLAIMS, claim))
    world.settle(VOLUMEATTRIBUTESCLASS_PROTECTION)
    world.remove(CLASSES, Key("", "gold"))
    world.settle(VOLUMEATTRIBUTESCLASS_PROTECTION)
    assert world.list(CLASSES)

    world.put(CLAIMS, {**claim, "spec": {}, "status": {}})
    world.settle(VOLUMEATTRIBUTESCLASS_PROTECTION)
    assert not world.list(CLASSES)
