"""How many volumes of a CSI driver a node takes."""

from __future__ import annotations

from tests.scheduler.test_cycle import Objects, decide, node, pod, world
from timonel.objects.meta import Object

DRIVER = "csi.example.com"
FULL = (
    "0/1 nodes are available: 1 node(s) exceed max volume count. no new claims to deallocate, preemption: "
    "0/1 nodes are available: 1 No preemption victims found for incoming pod."
)


def volume(name: str) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"csi": {"driver": DRIVER, "volumeHandle": f"handle-{name}"}, "capacity": {"storage": "1Gi"}},
    }


def claim(name: str, volume_name: str) -> Object:
    meta = {"name": name, "namespace": "shop", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    return {"metadata": meta, "spec": {"volumeName": volume_name}}


def attachment(volume_name: str, node_name: str = "n1") -> Object:
    source = {"persistentVolumeName": volume_name}
    return {
        "metadata": {"name": f"{volume_name}-{node_name}"},
        "spec": {"attacher": DRIVER, "nodeName": node_name, "source": source},
    }


def decided(limit: int, *attachments: Object, there: tuple[str, ...] = ()) -> str:
    drivers = [{"name": DRIVER, "allocatable": {"count": limit}}]
    reads = Objects(
        csinodes=[{"metadata": {"name": "n1"}, "spec": {"drivers": drivers}}],
        persistentvolumes=[volume(n) for n in "abc"],
        persistentvolumeclaims=[claim(n, n) for n in "abc"],
        volumeattachments=list(attachments),
    )

    def using(name: str, of: str) -> Object:
        return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": of}}])

    table = world([node("n1")], [("n1", using(f"with-{n}", n)) for n in there])
    return decide(table, using("p", "c"), reads)


def test_volumes_that_are_attached_count_though_no_pod_has_them() -> None:
    assert decided(2, attachment("a")) == "n1"
    assert decided(2, attachment("a"), attachment("b")) == FULL
    assert decided(2, attachment("a"), attachment("b", "n2")) == "n1"  # on another node


def test_a_volume_counts_once() -> None:
    assert decided(2, attachment("a"), there=("a",)) == "n1"
    assert decided(1, attachment("c")) == "n1"  # the pod's own is attached already


def test_an_ephemeral_volume_whose_claim_is_anothers_does_not_count() -> None:
    def decided_with(owner: str) -> str:
        own = claim("e-v", "a")
        own["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": "e", "uid": owner, "controller": True}]
        drivers = [{"name": DRIVER, "allocatable": {"count": 1}}]
        reads = Objects(
            csinodes=[{"metadata": {"name": "n1"}, "spec": {"drivers": drivers}}],
            persistentvolumes=[volume(n) for n in "ac"],
            persistentvolumeclaims=[own, claim("c", "c")],
        )
        there = pod("e", volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}])
        wanted = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
        return decide(world([node("n1")], [("n1", there)]), wanted, reads)

    assert decided_with("e") == FULL
    assert decided_with("another") == "n1"
