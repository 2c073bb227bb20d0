"""Ingresses as networking.k8s.io/v1beta1 had them: `serviceName` and `servicePort` right in a backend, no path type.

Two ways in: objects that say v1beta1, and objects that say v1 but have backends of the old shape.

Upstream: pkg/apis/networking/v1beta1/conversion.go (removed in v1.22).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.objects.meta import Object

WARNING = (
    "networking.k8s.io/v1beta1 Ingress is deprecated in v1.19+, unavailable in v1.22+; "
    "use networking.k8s.io/v1 Ingress"
)

# What the old shape adds to the published v1 types: field -> type data, as in `timonel.schema`.
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "networking.v1.IngressBackend": {"serviceName": {"t": "string"}, "servicePort": {"t": "intstr"}},
    "networking.v1.HTTPIngressPath": {"pathType": {"t": "string", "ptr": 1}},  # no longer required
}


def to_v1(obj: Object) -> None:
    """Rewrites a v1beta1 Ingress as v1."""
    obj["apiVersion"] = "networking.k8s.io/v1"
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if "backend" in spec:
        spec["defaultBackend"] = spec.pop("backend")
    for _, backend, path in _backends(spec):
        _rewrite(backend)
        if path is not None and path.get("pathType") is None:
            path["pathType"] = "ImplementationSpecific"


def to_v1beta1(obj: Object) -> None:
    obj["apiVersion"] = "networking.k8s.io/v1beta1"
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    for _, backend, _ in _backends(spec):
        service = backend.pop("service", None)
        if service is not None:
            port = service.get("port") or {}
            backend["serviceName"] = service.get("name", "")
            backend["servicePort"] = port.get("name") or port.get("number", 0)
    if "defaultBackend" in spec:
        spec["backend"] = spec.pop("defaultBackend")


def rewrite_old_backends(obj: Object) -> list[str]:
    """Rewrites v1beta1 backends inside a v1 Ingress, with a warning for each."""
    spec, found = obj.get("spec"), []
    if not isinstance(spec, dict):
        return []
    for where, backend, path in _backends(spec):
        if not _rewrite(backend):
            continue
        found.append(
            f"{where}: serviceName and servicePort are fields of networking.k8s.io/v1beta1, unavailable in v1.22+; "
            "use service.name and service.port"
        )
        if path is not None and path.get("pathType") is None:
            path["pathType"] = "ImplementationSpecific"
    return found


def _backends(spec: Object) -> Iterator[tuple[str, Object, Object | None]]:
    """(where, backend, the path that it serves), as far as the shape allows."""
    default = spec.get("defaultBackend")
    if isinstance(default, dict):
        yield "spec.defaultBackend", default, None
    for index, rule in enumerate(_items(spec, "rules")):
        for number, path in enumerate(_items(rule.get("http"), "paths")):
            if isinstance(path.get("backend"), dict):
                yield f"spec.rules[{index}].http.paths[{number}].backend", path["backend"], path


def _items(holder: Any, key: str) -> list[Object]:
    found = holder.get(key) if isinstance(holder, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _rewrite(backend: Object) -> bool:
    if not {"serviceName", "servicePort"} & backend.keys():
        return False
    name, port = backend.pop("serviceName", None), backend.pop("servicePort", None)
    service: Object = {} if name is None else {"name": name}
    if port is not None:
        service["port"] = {"name" if isinstance(port, str) else "number": port}
    backend["service"] = service
    return True
