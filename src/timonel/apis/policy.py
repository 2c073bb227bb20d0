"""policy/v1: PodDisruptionBudget."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

POD_DISRUPTION_BUDGET = ResourceType(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    short_names=("pdb",),
    status=True,
    generation=True,
)

RESOURCES = (POD_DISRUPTION_BUDGET,)
