from __future__ import annotations

import copy

from timonel.apis import autoscalingv1
from timonel.apis.autoscaling import HORIZONTAL_POD_AUTOSCALER_V2, default_autoscaler
from timonel.objects.meta import Object

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}


def resource(name: str, **target: object) -> Object:
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def autoscaler() -> Object:
    obj: Object = {
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": "a"},
        "spec": {
            "scaleTargetRef": TARGET,
            "maxReplicas": 5,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
            "metrics": [
                resource("memory", type="AverageValue", averageValue="1Gi"),
                resource("cpu", type="Utilization", averageUtilization=40),
                {
                    "type": "External",
                    "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "30"}},
                },
            ],
        },
        "status": {"desiredReplicas": 2, "currentReplicas": 1, "currentMetrics": None},
    }  # fmt: skip
    default_autoscaler(obj)
    return obj


def test_behavior_is_filled_up_per_direction() -> None:
    behavior = autoscaler()["spec"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 10
    assert behavior["scaleDown"]["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 15}]
    assert [policy["type"] for policy in behavior["scaleUp"]["policies"]] == ["Pods", "Percent"]


def test_the_cpu_target_is_the_number_of_v1_and_the_rest_travels_in_annotations() -> None:
    obj = autoscaler()
    autoscalingv1.from_v2(obj)
    assert obj["spec"]["targetCPUUtilizationPercentage"] == 40
    assert obj["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"] == (
        '[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}},'
        '{"type":"External","external":{"metricName":"q","targetValue":"30"}}]'
    )


def test_v1_and_back_loses_nothing() -> None:
    before = autoscaler()
    obj = copy.deepcopy(before)
    autoscalingv1.from_v2(obj)
    autoscalingv1.to_v2(obj)
    assert sorted(obj["spec"].pop("metrics"), key=str) == sorted(before["spec"].pop("metrics"), key=str)
    assert obj == before


def test_an_annotation_that_is_no_json_counts_as_absent() -> None:
    obj: Object = {
        "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{"}},
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 2},
    }
    autoscalingv1.default_autoscaler(obj)
    autoscalingv1.to_v2(obj)
    assert [m["resource"]["name"] for m in obj["spec"]["metrics"]] == ["cpu"]
    assert "annotations" not in obj["metadata"]


def test_columns() -> None:
    obj = autoscaler()
    obj["status"]["currentMetrics"] = [
        {"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "512Mi"}}}
    ]
    cells = {column.name: column.value(obj, 0.0) for column in HORIZONTAL_POD_AUTOSCALER_V2.columns}
    assert cells["Targets"] == "memory: 512Mi/1Gi, cpu: <unknown>/40% + 1 more..."
    assert (cells["Reference"], cells["MinPods"]) == ("Deployment/d", "1")
