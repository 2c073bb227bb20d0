"""autoscaling/v2beta1 and v2beta2 HorizontalPodAutoscaler. v2beta2 has v2's form; v2beta1 has a field for each target.

The v2beta1 form of a metric is also the one that autoscaling/v1 keeps in its annotations.

Upstream: pkg/apis/autoscaling/v2beta1/{conversion,defaults}.go.
"""

from __future__ import annotations

from timonel.apis.autoscaling import HORIZONTAL_POD_AUTOSCALER_V2
from timonel.apis.autoscalingv1 import (
    BEHAVIOR,
    behavior_in,
    behavior_text,
    current_from_v2,
    current_to_v2,
    metric_from_v2,
    metric_to_v2,
)
from timonel.apis.retired.version import retired
from timonel.objects.meta import Object


def default_v2beta1(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 80}}]


def to_v2(obj: Object) -> None:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if spec.get("metrics"):
        spec["metrics"] = [metric_to_v2(metric) for metric in spec["metrics"]]
    if status.get("currentMetrics"):
        status["currentMetrics"] = [current_to_v2(metric) for metric in status["currentMetrics"]]
    annotations = dict(obj["metadata"].get("annotations") or {})
    behavior = behavior_in(annotations.pop(BEHAVIOR, "null"))
    if behavior:
        spec["behavior"] = behavior
        _annotate(obj, annotations)


def from_v2(obj: Object) -> None:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if spec.get("metrics"):
        spec["metrics"] = [metric_from_v2(metric) for metric in spec["metrics"]]
    if status.get("currentMetrics"):
        status["currentMetrics"] = [current_from_v2(metric) for metric in status["currentMetrics"]]
    behavior = spec.pop("behavior", None)
    if behavior is not None:
        annotations = obj["metadata"].get("annotations") or {}
        _annotate(obj, {**annotations, BEHAVIOR: behavior_text(behavior)})


def _annotate(obj: Object, annotations: dict[str, str]) -> None:
    if annotations:
        obj["metadata"]["annotations"] = annotations
    else:
        obj["metadata"].pop("annotations", None)


RESOURCES = (
    retired(HORIZONTAL_POD_AUTOSCALER_V2, "autoscaling/v2beta2", "1.23", "1.26"),
    retired(
        HORIZONTAL_POD_AUTOSCALER_V2,
        "autoscaling/v2beta1",
        "1.22",
        "1.25",
        default=default_v2beta1,
        to_stored=to_v2,
        from_stored=from_v2,
    ),
)
