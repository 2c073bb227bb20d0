"""Whether the server of an APIService can be had: what its Service and endpoints say, and its condition. Pure.

Upstream: kube-aggregator/pkg/controllers/status/{local,remote}, apis/apiregistration/v1/helper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timonel.machinery.field import quote
from timonel.objects.meta import Object, format_time, labels_of
from timonel.records import dataclass

AVAILABLE = "Available"
SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Finding:
    status: str  # True, False, Unknown
    reason: str
    message: str

    @property
    def is_good(self) -> bool:
        return self.status == "True"


LOCAL = Finding("True", "Local", "Local APIServices are always available")
PASSED = Finding("True", "Passed", "all checks passed")


def failed_check(why: str) -> Finding:
    return Finding("False", "FailedDiscoveryCheck", why)


def service_of(api_service: Object) -> tuple[str, str, int] | None:
    """Namespace, name and port of the Service; None for what this server serves itself."""
    service = api_service["spec"].get("service")
    if service is None:
        return None
    return service.get("namespace", ""), service.get("name", ""), service.get("port") or 443


def problem(api_service: Object, service: Object | None, slices: Sequence[Object]) -> Finding | None:
    """What keeps requests from reaching the server; None where it has to be tried. Of an APIService with a Service."""
    named = service_of(api_service)
    assert named is not None
    namespace, name, port = named
    who = f"service/{name} in {quote(namespace)}"
    if service is None:
        return Finding("False", "ServiceNotFound", f"{who} is not present")
    if service["spec"].get("type", "ClusterIP") != "ClusterIP":
        return None
    found = next((p for p in service["spec"].get("ports") or () if p["port"] == port), None)
    if found is None:
        return Finding("False", "ServicePortError", f"{who} is not listening on port {port}")
    if not slices:
        return Finding("False", "EndpointsNotFound", f"cannot find endpointslices for {who}")
    port_name = found.get("name", "")
    if not any(_has_endpoint(each, port_name) for each in slices):
        text = f"endpointslices for {who} have no addresses with port name {quote(port_name)}"
        return Finding("False", "MissingEndpoints", text)
    return None


def _has_endpoint(slice_: Object, port_name: str) -> bool:
    ready = any((e.get("conditions") or {}).get("ready") is not False for e in slice_.get("endpoints") or ())
    return ready and any(
        p.get("name", "") == port_name and p.get("port") is not None for p in slice_.get("ports") or ()
    )


def slices_of(slices: Iterable[Object], service: str) -> list[Object]:
    return [s for s in slices if labels_of(s).get(SERVICE_NAME) == service]


def is_available(api_service: Object) -> bool:
    conditions = (api_service.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == AVAILABLE and c.get("status") == "True" for c in conditions)


def says(api_service: Object, finding: Finding) -> bool:
    conditions = (api_service.get("status") or {}).get("conditions") or ()
    found: Object = next((c for c in conditions if c.get("type") == AVAILABLE), {})
    return (found.get("status"), found.get("reason"), found.get("message")) == (
        finding.status,
        finding.reason,
        finding.message,
    )


def set_condition(api_service: Object, finding: Finding, now: float) -> None:
    """In place; the time of the last transition moves only when the status does."""
    status = api_service.setdefault("status", {})
    conditions = list(status.get("conditions") or ())
    new = {
        "type": AVAILABLE,
        "status": finding.status,
        "lastTransitionTime": format_time(now),
        "reason": finding.reason,
        "message": finding.message,
    }
    for index, old in enumerate(conditions):
        if old.get("type") == AVAILABLE:
            if old.get("status") == finding.status:
                new["lastTransitionTime"] = old.get("lastTransitionTime", new["lastTransitionTime"])
            conditions[index] = new
            break
    else:
        conditions.append(new)
    status["conditions"] = conditions
