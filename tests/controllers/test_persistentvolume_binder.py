from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controllers.world import START, World
from timonel.controllers.persistentvolume_binder import CLAIMS, VOLUMES
from timonel.controllers.pv_protection import PV_PROTECTION
from timonel.controllers.pvc_protection import PVC_PROTECTION
from timonel.objects.meta import Key, Object, annotations_of

PVC, PV, SC = "persistentvolumeclaims", "persistentvolumes", "storageclasses.storage.k8s.io"
BOTH = (CLAIMS, VOLUMES)


def claim(name: str = "data", *, size: str = "1Gi", cls: str | None = "", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            **({"storageClassName": cls} if cls is not None else {}),
            **spec,
        },
        "status": {"phase": "Pending"},
    }


def volume(name: str, *, size: str = "1Gi", cls: str = "", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size},
            "storageClassName": cls,
            "persistentVolumeReclaimPolicy": "Retain",
            **spec,
        },
        "status": {"phase": "Pending"},
    }


def storage_class(name: str = "standard", mode: str = "Immediate", **meta: Any) -> Object:
    return {
        "kind": "StorageClass",
        "metadata": {"name": name, "uid": f"uid-{name}", **meta},
        "provisioner": "timonel.io/local-path",
        "volumeBindingMode": mode,
    }


def world(*objects: Object) -> World:
    places = {"PersistentVolumeClaim": PVC, "PersistentVolume": PV, "StorageClass": SC}
    made = World(*((places[o["kind"]], o) for o in objects))
    made.settle(*BOTH)
    return made


def phase(w: World, resource: str, name: str) -> str:
    found = w.get(resource, Key("shop" if resource == PVC else "", name))
    assert found is not None
    return str(found["status"]["phase"])


def bound_to(w: World, name: str = "data") -> str:
    found = w.get(PVC, Key("shop", name))
    assert found is not None
    return str(found["spec"].get("volumeName", ""))


def test_the_smallest_volume_that_suits_is_taken() -> None:
    w = world(claim(size="2Gi"), volume("big", size="9Gi"), volume("fit", size="3Gi"), volume("small"))

    assert bound_to(w) == "fit"
    assert phase(w, PVC, "data") == phase(w, PV, "fit") == "Bound"
    assert phase(w, PV, "big") == "Available"
    found = w.get(PVC, Key("shop", "data"))
    assert found is not None
    assert found["status"]["capacity"] == {"storage": "3Gi"}
    assert annotations_of(found) == {
        "pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes",
    }


@pytest.mark.parametrize(
    "other",
    [
        {"size": "1Mi"},
        {"cls": "fast"},
        {"volumeMode": "Block"},
        {"accessModes": ["ReadOnlyMany"]},
        {"claimRef": {"namespace": "shop", "name": "someone"}},
    ],
    ids=lambda o: next(iter(o)),
)
def test_a_volume_that_does_not_suit_is_left(other: dict[str, Any]) -> None:
    w = world(claim(), volume("v", **other))

    assert bound_to(w) == ""
    text = "no persistent volumes available for this claim and no storage class is set"
    assert ("Normal", "FailedBinding", text) in w.events


def test_a_volume_reserved_for_the_claim_wins() -> None:
    reserved = volume("mine", size="9Gi", claimRef={"namespace": "shop", "name": "data"})

    assert bound_to(world(claim(), volume("fit"), reserved)) == "mine"


def test_the_provisioner_is_asked_and_its_volume_taken() -> None:
    w = world(claim(cls="standard"), storage_class())
    found = w.get(PVC, Key("shop", "data"))
    assert found is not None
    assert annotations_of(found)["volume.kubernetes.io/storage-provisioner"] == "timonel.io/local-path"
    assert "ExternalProvisioning" in {reason for _, reason, _ in w.events}

    ref = {"namespace": "shop", "name": "data", "uid": "uid-data"}
    w.add(PV, volume("pvc-1", cls="standard", claimRef=ref))
    w.settle(*BOTH)
    assert phase(w, PVC, "data") == phase(w, PV, "pvc-1") == "Bound"


def test_a_delayed_claim_waits_for_the_scheduler() -> None:
    w = world(claim(cls="standard"), storage_class(mode="WaitForFirstConsumer"), volume("v", cls="standard"))
    text = "waiting for first consumer to be created before binding"
    assert ("Normal", "WaitForFirstConsumer", text) in w.events
    assert bound_to(w) == ""

    w.change(PVC, "data", metadata={"annotations": {"volume.kubernetes.io/selected-node": "n1"}})
    w.settle(*BOTH)
    assert bound_to(w) == "v"


def test_a_missing_class_is_reported() -> None:
    w = world(claim(cls="standard"))

    assert ("Warning", "ProvisioningFailed", 'storageclass.storage.k8s.io "standard" not found') in w.events


def test_a_claim_without_a_class_gets_the_default_one_later() -> None:
    default = storage_class(annotations={"storageclass.kubernetes.io/is-default-class": "true"})
    w = world(claim(cls=None), default)

    found = w.get(PVC, Key("shop", "data"))
    assert found is not None
    assert found["spec"]["storageClassName"] == "standard"


def test_a_volume_outlives_its_claim_and_a_claim_its_volume() -> None:
    w = world(claim("a"), volume("va"), claim("b", size="5Gi"), volume("vb", size="5Gi"))
    w.remove(PVC, Key("shop", "a"))
    w.remove(PV, Key("", "vb"))
    w.settle(*BOTH)

    assert phase(w, PV, "va") == "Released"
    assert phase(w, PVC, "b") == "Lost"
    lost = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    assert w.events.count(("Warning", "ClaimLost", lost)) == 1

    w.add(PVC, {**claim("a"), "metadata": {"name": "a", "namespace": "shop", "uid": "another"}})
    w.settle(*BOTH)
    assert phase(w, PVC, "a") == "Pending"


def test_what_is_in_use_is_not_deleted() -> None:
    w = World((PVC, claim()), (PV, volume("v")))
    w.settle(*BOTH, PVC_PROTECTION, PV_PROTECTION)
    user = {
        "metadata": {"name": "p", "namespace": "shop", "uid": "uid-p"},
        "spec": {
            "nodeName": "n1",
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
        },
        "status": {"phase": "Running"},
    }
    w.add("pods", user)
    w.remove(PV, Key("", "v"))
    w.remove(PVC, Key("shop", "data"))
    w.settle(*BOTH, PVC_PROTECTION, PV_PROTECTION)
    assert (phase(w, PVC, "data"), phase(w, PV, "v")) == ("Bound", "Bound")

    w.remove("pods", Key("shop", "p"), grace=0)
    w.settle(*BOTH, PVC_PROTECTION)
    w.sync(VOLUMES, Key("", "v"))
    w.settle(*BOTH, PV_PROTECTION)
    assert w.list(PVC) == w.list(PV) == []


@given(
    claims=st.lists(st.integers(1, 6), max_size=5),
    volumes=st.lists(st.integers(1, 6), max_size=5),
)
def test_no_volume_is_given_twice_and_none_is_withheld(claims: list[int], volumes: list[int]) -> None:
    some = [claim(f"c{i}", size=f"{n}Gi") for i, n in enumerate(claims)]
    w = world(*some, *(volume(f"v{i}", size=f"{n}Gi") for i, n in enumerate(volumes)))

    taken = [c["spec"]["volumeName"] for c in w.list(PVC) if "volumeName" in c["spec"]]
    assert len(taken) == len(set(taken))
    free = [v for v in w.list(PV) if v["status"]["phase"] == "Available"]
    waiting = [c for c in w.list(PVC) if c["status"]["phase"] == "Pending"]
    sizes = [int(v["spec"]["capacity"]["storage"].removesuffix("Gi")) for v in free]
    needs = [int(c["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) for c in waiting]
    assert not sizes or not needs or max(sizes) < min(needs)
    assert w.time < START + 20


BUILT_IN = "kubernetes.io/nfs"
NO_DELETER = 'error getting deleter volume plugin for volume "va": no deletable volume plugin matched'


@pytest.mark.parametrize(
    ("policy", "marks", "end", "event"),
    [
        ("Retain", {}, "Released", ()),
        ("Delete", {"pv.kubernetes.io/provisioned-by": "csi.example.com"}, "Released", ()),
        ("Delete", {"pv.kubernetes.io/migrated-to": "csi.example.com"}, "Released", ()),
        ("Delete", {}, "Failed", ("VolumeFailedDelete", NO_DELETER)),
        ("Delete", {"pv.kubernetes.io/provisioned-by": BUILT_IN}, "Failed", ("VolumeFailedDelete", NO_DELETER)),
        (
            "Recycle",
            {},
            "Failed",
            ("VolumeFailedRecycle", "Recycling of volumes is not supported: use dynamic provisioning"),
        ),
    ],
)  # fmt: skip
def test_the_policy_says_what_becomes_of_a_volume_whose_claim_is_gone(
    policy: str, marks: dict[str, str], end: str, event: tuple[str, ...]
) -> None:
    made = volume("va", persistentVolumeReclaimPolicy=policy)
    made["metadata"]["annotations"] = marks
    w = world(claim("a"), made)
    w.remove(PVC, Key("shop", "a"))
    w.settle(*BOTH)
    w.settle(*BOTH)

    found = w.get(PV, Key("", "va"))
    assert found is not None
    assert found["status"]["phase"] == end
    assert found["status"].get("message", "") == (event[1] if event else "")
    assert [(r, m) for _, r, m in w.events if r.startswith("VolumeFailed")] == ([event] if event else [])
