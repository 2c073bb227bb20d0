"""Which events may help a pod that a plugin has refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scheduler.test_cycle import node, pod
from timonel.objects.meta import Object
from timonel.scheduler.framework import QueueingHintPlugin
from timonel.scheduler.plugins.dynamic_resources import DynamicResources
from timonel.scheduler.plugins.node_affinity import NodeAffinity
from timonel.scheduler.plugins.node_name import NodeName
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from timonel.scheduler.plugins.volume_binding import VolumeBinding
from timonel.scheduler.plugins.volume_restrictions import VolumeRestrictions
from timonel.scheduler.plugins.volume_zone import VolumeZone
from timonel.scheduler.podinfo import pod_info


def requires(*values: str) -> Object:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": list(values)}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return pod(affinity={"nodeAffinity": required})


def zoned(zone: str) -> Object:
    found = node("n1")
    found["metadata"]["labels"] = {**found["metadata"].get("labels", {}), "zone": zone}
    return found


def claiming(*names: str, name: str = "p") -> Object:
    return pod(
        name,
        volumes=[{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in names],
    )


def named(name: str, namespace: str = "shop", **fields: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, **fields}


def csinode(count: int | None) -> Object:
    allocatable = {} if count is None else {"allocatable": {"count": count}}
    return {"metadata": {"name": "n1"}, "spec": {"drivers": [{"name": "csi.example.com", **allocatable}]}}


GIVEN = named("c", status={"allocation": {"devices": {"results": []}, "nodeSelector": {}}})
USING = pod(resourceClaims=[{"name": "g", "resourceClaimName": "c"}])
ADDED = NodeAffinity(
    {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
            ]
        }
    }
)


@pytest.mark.parametrize(
    ("plugin", "obj", "event", "old", "new", "expected"),
    [
        (NodeAffinity(), requires("a"), "node-added", None, zoned("a"), True),
        (NodeAffinity(), requires("a"), "node-added", None, zoned("b"), False),
        (NodeAffinity(), requires("a"), "node-changed", zoned("b"), zoned("a"), True),
        (NodeAffinity(), requires("a", "b"), "node-changed", zoned("b"), zoned("a"), False),
        (NodeAffinity(), pod(nodeSelector={"zone": "a"}), "node-added", None, zoned("a"), True),
        (NodeAffinity(), pod(nodeSelector={"zone": "a"}), "node-added", None, zoned("b"), False),
        (ADDED, pod(), "node-added", None, node("n1"), False),
        (ADDED, pod(), "node-added", None, node("n2"), True),
        (NodeName(), pod(nodeName="n1"), "node-added", None, node("n1"), True),
        (NodeName(), pod(nodeName="n1"), "node-added", None, node("n2"), False),
        (NodeResourcesFit(), pod(cpu="2"), "node-added", None, node("n1", cpu="2"), True),
        (NodeResourcesFit(), pod(cpu="3"), "node-added", None, node("n1", cpu="2"), True),  # as upstream does
        (NodeResourcesFit(), pod(cpu="2"), "node-changed", node("n1", cpu="1"), node("n1", cpu="3"), True),
        (NodeResourcesFit(), pod(cpu="2"), "node-changed", node("n1", cpu="4"), node("n1", cpu="3"), False),
        (NodeResourcesFit(), pod(), "node-changed", node("n1", cpu="4"), node("n1", cpu="8"), False),
        (NodeVolumeLimits(), claiming("c"), "csinode", None, csinode(1), True),
        (NodeVolumeLimits(), claiming("c"), "csinode", csinode(1), csinode(2), True),
        (NodeVolumeLimits(), claiming("c"), "csinode", csinode(1), csinode(None), True),
        (NodeVolumeLimits(), claiming("c"), "csinode", csinode(2), csinode(1), False),
        (NodeVolumeLimits(), claiming("c"), "attachment", named("va"), None, True),
        (NodeVolumeLimits(), claiming("c"), "attachment", None, named("va"), False),
        (NodeVolumeLimits(), claiming("c"), "pod-deleted", claiming("d"), None, True),
        (NodeVolumeLimits(), claiming("c"), "pod-deleted", pod("x"), None, False),
        (VolumeBinding(), claiming("c"), "claim", None, named("c"), True),
        (VolumeBinding(), claiming("c"), "claim", None, named("d"), False),
        (VolumeBinding(), claiming("c"), "claim", None, named("c", "other"), False),
        (VolumeBinding(), claiming("c"), "volume", None, named("v"), True),
        (VolumeZone(), claiming("c"), "claim", None, named("d"), False),
        (VolumeRestrictions(), claiming("c"), "claim", None, named("c"), True),
        (VolumeRestrictions(), claiming("c"), "pod-deleted", claiming("c", name="q"), None, True),
        (VolumeRestrictions(), claiming("c"), "pod-deleted", claiming("d", name="q"), None, False),
        (DynamicResources(), USING, "resource-claim", None, named("c"), True),
        (DynamicResources(), USING, "resource-claim", None, named("d"), False),
        (DynamicResources(), USING, "resource-claim", named("d", status=GIVEN["status"]), named("d"), True),
        (DynamicResources(), USING, "resource-claim", named("d", status=GIVEN["status"]), None, True),
        (DynamicResources(), USING, "resource-slice", None, named("s"), True),
    ],
)
def test_whether_an_event_may_help(
    plugin: QueueingHintPlugin,
    obj: Object,
    event: str,
    old: Object | None,
    new: Object | None,
    expected: bool,
) -> None:
    assert plugin.may_help(pod_info(obj), event, old, new) is expected
