"""autoscaling/v1 and v2: HorizontalPodAutoscaler."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

HORIZONTAL_POD_AUTOSCALER_V1 = ResourceType(
    group="autoscaling",
    version="v1",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    short_names=("hpa",),
    categories=("all",),
    status=True,
)

HORIZONTAL_POD_AUTOSCALER_V2 = ResourceType(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    short_names=("hpa",),
    categories=("all",),
    status=True,
)

RESOURCES = (
    HORIZONTAL_POD_AUTOSCALER_V1,
    HORIZONTAL_POD_AUTOSCALER_V2,
)
