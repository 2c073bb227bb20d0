"""What the server of metrics.k8s.io says of itself: discovery and OpenAPI."""

from __future__ import annotations

from typing import Any

from timonel.resourcemetrics.usage import API_VERSION

GROUP, VERSION = API_VERSION.split("/")
PLACE = f"apis/{API_VERSION}"
_SCHEMAS = "#/components/schemas/"
_PREFIX = "io.k8s.metrics.pkg.apis.metrics.v1beta1."
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_QUANTITIES = {
    "type": "object",
    "description": "What is used of each resource.",
    "additionalProperties": {"$ref": f"{_SCHEMAS}io.k8s.apimachinery.pkg.api.resource.Quantity"},
}


def at(path: str) -> dict[str, Any] | None:
    """The document of a path, if it is one."""
    match path:
        case "/apis/metrics.k8s.io/v1beta1":
            return _resources()
        case "/apis/metrics.k8s.io":
            version = {"groupVersion": API_VERSION, "version": VERSION}
            group = {"name": GROUP, "versions": [version], "preferredVersion": version}
            return {"kind": "APIGroup", "apiVersion": "v1", **group}
        case "/openapi/v3":
            return {"paths": {PLACE: {"serverRelativeURL": f"/openapi/v3/{PLACE}?hash=1"}}}
        case "/openapi/v3/apis/metrics.k8s.io/v1beta1":
            return _openapi()
    return None


def _resources() -> dict[str, Any]:
    def one(plural: str, kind: str, *, namespaced: bool) -> dict[str, Any]:
        return {
            "name": plural,
            "singularName": "",
            "namespaced": namespaced,
            "kind": kind,
            "verbs": ["get", "list"],
        }

    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": [
            one("nodes", "NodeMetrics", namespaced=False),
            one("pods", "PodMetrics", namespaced=True),
        ],
    }


def _openapi() -> dict[str, Any]:
    duration = {"type": "string", "description": "Over which the figures are the average."}
    time = {"type": "string", "format": "date-time", "description": "When the figures were had."}
    measured = {"metadata": {"$ref": f"{_SCHEMAS}{_META}ObjectMeta"}, "timestamp": time, "window": duration}
    containers = {
        "type": "array",
        "description": "What each container uses.",
        "items": {"$ref": f"{_SCHEMAS}{_PREFIX}ContainerMetrics"},
        "x-kubernetes-list-type": "atomic",
    }
    schemas: dict[str, Any] = {
        f"{_PREFIX}ContainerMetrics": {
            "type": "object",
            "description": "What a container uses.",
            "properties": {
                "name": {"type": "string", "description": "Of the container."},
                "usage": _QUANTITIES,
            },
        },
        f"{_META}ObjectMeta": {"type": "object", "description": "Metadata of an object."},
        "io.k8s.apimachinery.pkg.api.resource.Quantity": {
            "description": "A number with a unit.",
            "oneOf": [{"type": "string"}, {"type": "number"}],
        },
    }
    paths: dict[str, Any] = {}
    for kind, plural, own in (
        ("NodeMetrics", "nodes", {"usage": _QUANTITIES}),
        ("PodMetrics", "namespaces/{namespace}/pods", {"containers": containers}),
    ):
        gvk = {"group": GROUP, "version": VERSION, "kind": kind}
        texts = {
            name: {"type": "string", "description": f"{name} of the object."}
            for name in ("apiVersion", "kind")
        }
        schemas[_PREFIX + kind] = {
            "type": "object",
            "description": f"What is used: {kind}.",
            "properties": {**texts, **measured, **own},
            "x-kubernetes-group-version-kind": [gvk],
        }
        for verb, path in (("list", f"/{PLACE}/{plural}"), ("get", f"/{PLACE}/{plural}/{{name}}")):
            ok = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{_PREFIX}{kind}"}}}
            paths[path] = {
                "get": {
                    "operationId": f"{verb}{kind}",
                    "x-kubernetes-action": verb,
                    "x-kubernetes-group-version-kind": gvk,
                    "responses": {"200": {"description": "OK", "content": ok}},
                }
            }
    info = {"title": "metrics.k8s.io", "version": VERSION}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}
