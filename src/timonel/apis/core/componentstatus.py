"""core/v1: ComponentStatus, a deprecated read-only view of the health of the control plane.

Upstream: pkg/registry/core/componentstatus/rest.go.
"""

from __future__ import annotations

from timonel.apis.resource import Column, ResourceType
from timonel.objects.meta import Object


def _condition(obj: Object, key: str) -> str:
    healthy: Object = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})
    return str(healthy.get(key, ""))


def _status(obj: Object, now: float) -> str:
    return {"True": "Healthy", "False": "Unhealthy"}.get(_condition(obj, "status"), "Unknown")


COMPONENT_STATUS = ResourceType(
    group="",
    version="v1",
    kind="ComponentStatus",
    plural="componentstatuses",
    namespaced=False,
    short_names=("cs",),
    verbs=("get", "list"),
    deprecated="v1 ComponentStatus is deprecated in v1.19+",
    columns=(
        Column("Status", _status, description="Status of the component conditions"),
        Column(
            "Message",
            lambda o, now: _condition(o, "message"),
            description="Message of the component conditions",
        ),
        Column(
            "Error", lambda o, now: _condition(o, "error"), description="Error of the component conditions"
        ),
    ),
)

RESOURCES = (COMPONENT_STATUS,)
