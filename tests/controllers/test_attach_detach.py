"""Volumes that attach, with an attacher that does what VolumeAttachments ask for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import START, World, merged, pod
from timonel.controllers.attach_detach import (
    ATTACH_DETACH,
    ATTACHMENTS,
    CLAIMS,
    DRIVERS,
    LONGEST_UNMOUNT,
    VOLUMES,
    attachment_name,
)
from timonel.objects.meta import Key, Object, format_time

HANDLE = "kubernetes.io/csi/disk.example^h-data"


def node(name: str, ready: str = "True", **spec: Any) -> Object:
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": format_time(START)}
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": [condition]}}


def volume(name: str = "data", mode: str = "ReadWriteOnce") -> tuple[tuple[str, Object], tuple[str, Object]]:
    claim = {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"},
        "spec": {"volumeName": name},
    }
    ref = {"namespace": "shop", "name": name, "uid": f"uid-{name}"}
    csi = {"driver": "disk.example", "volumeHandle": f"h-{name}"}
    made = {"metadata": {"name": name}, "spec": {"claimRef": ref, "csi": csi, "accessModes": [mode]}}
    return (CLAIMS, claim), (VOLUMES, made)


def user(name: str, node: str = "n1", claim: str = "data") -> Object:
    made = pod(name, node=node)
    made["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    return made


def attacher(world: World) -> bool:
    busy = False
    for found in world.list(ATTACHMENTS):
        if not (found.get("status") or {}).get("attached"):
            world.put(ATTACHMENTS, {**found, "status": {"attached": True}})
            busy = True
    return busy


def attached(world: World, name: str = "n1") -> list[str]:
    found = world.get("nodes", Key("", name))
    assert found is not None
    return [v["name"] for v in found["status"].get("volumesAttached") or ()]


def holders(world: World) -> list[str]:
    return [a["spec"]["nodeName"] for a in world.list(ATTACHMENTS)]


def test_a_volume_follows_its_pod() -> None:
    world = World(("nodes", node("n1")), *volume(), ("pods", user("a")))
    world.settle(ATTACH_DETACH, actors=[attacher])

    (made,) = world.list(ATTACHMENTS)
    assert made["spec"] == {
        "attacher": "disk.example", "nodeName": "n1", "source": {"persistentVolumeName": "data"},
    }  # fmt: skip
    assert made["metadata"]["name"] == attachment_name(world.list(VOLUMES)[0], "n1")
    assert attached(world) == [HANDLE]
    assert world.events == [
        ("Normal", "SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "data" ')
    ]

    world.remove("pods", Key("shop", "a"), grace=0)
    world.settle(ATTACH_DETACH, actors=[attacher])
    assert (holders(world), attached(world)) == ([], [])


def test_a_volume_that_the_node_has_mounted_stays() -> None:
    world = World(("nodes", node("n1")), *volume(), ("pods", user("a")))
    world.settle(ATTACH_DETACH, actors=[attacher])
    world.change("nodes", "n1", namespace="", status={"volumesInUse": [HANDLE]})
    world.remove("pods", Key("shop", "a"), grace=0)
    world.settle(ATTACH_DETACH, actors=[attacher])
    assert holders(world) == ["n1"]

    world.change("nodes", "n1", namespace="", status={"volumesInUse": None})
    world.settle(ATTACH_DETACH, actors=[attacher])
    assert holders(world) == []


@pytest.mark.parametrize(
    ("change", "later"),
    [
        ({"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}}, 0.0),
        ({"status": node("n1", "Unknown")["status"]}, LONGEST_UNMOUNT + 1),
    ],
)
def test_a_node_that_cannot_be_asked_loses_it_in_the_end(change: Object, later: float) -> None:
    world = World(("nodes", node("n1")), *volume(), ("pods", user("a")))
    world.settle(ATTACH_DETACH, actors=[attacher])
    world.remove("pods", Key("shop", "a"), grace=0)
    world.change("nodes", "n1", namespace="", status={"volumesInUse": [HANDLE]})
    world.change("nodes", "n1", namespace="", **change)
    world.time += later
    world.settle(ATTACH_DETACH, actors=[attacher])

    assert holders(world) == []


@pytest.mark.parametrize(("mode", "where"), [("ReadWriteOnce", ["n1"]), ("ReadWriteMany", ["n1", "n2"])])
def test_a_volume_for_one_node_is_not_given_to_two(mode: str, where: list[str]) -> None:
    world = World(("nodes", node("n1")), ("nodes", node("n2")), *volume(mode=mode), ("pods", user("a")))
    world.settle(ATTACH_DETACH, actors=[attacher])
    world.add("pods", user("b", "n2"))
    world.settle(ATTACH_DETACH, actors=[attacher])

    assert holders(world) == where
    assert any(reason == "FailedAttachVolume" for _, reason, _ in world.events) == (mode == "ReadWriteOnce")
    waiting = ATTACH_DETACH.watches[4].wakes(world.list(ATTACHMENTS)[0], world)
    assert set(waiting) == {Key("", "n1"), Key("", "n2")}


def test_a_driver_may_do_without_attaching() -> None:
    driver = {"metadata": {"name": "disk.example"}, "spec": {"attachRequired": False}}
    world = World(("nodes", node("n1")), *volume(), ("pods", user("a")), (DRIVERS, driver))
    world.settle(ATTACH_DETACH, actors=[attacher])

    assert holders(world) == []


def test_a_node_that_is_gone_holds_nothing() -> None:
    world = World(("nodes", node("n1")), *volume(), ("pods", user("a")))
    world.settle(ATTACH_DETACH, actors=[attacher])
    world.remove("nodes", Key("", "n1"))
    world.sync(ATTACH_DETACH, Key("", "n1"))

    assert holders(world) == []


moves = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["n1", "n2", ""])), max_size=6)


@settings(max_examples=40, deadline=None)
@given(moves)
def test_any_series_of_moves_ends_with_each_volume_where_its_pods_are(series: list[tuple[str, str]]) -> None:
    world = World(("nodes", node("n1")), ("nodes", node("n2")), *volume("a"), *volume("b"))
    places: dict[str, str] = {}
    for name, where in series:
        world.remove("pods", Key("shop", name), grace=0)
        places[name] = where
        if where:
            world.add("pods", merged(user(name, where, claim=name), {"metadata": {"uid": None}}))
        world.settle(ATTACH_DETACH, actors=[attacher])

    found = {
        (a["spec"]["source"]["persistentVolumeName"], a["spec"]["nodeName"]) for a in world.list(ATTACHMENTS)
    }
    assert found == {(name, where) for name, where in places.items() if where}
