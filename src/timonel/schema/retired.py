"""Types of versions that upstream no longer serves and Timonel still reads, in the form of `timonel.schema.store`.

Only what differs from the version that took over is written here; a type that is the same is an alias.

Upstream: k8s.io/api/networking/v1beta1 and k8s.io/api/batch/v1beta1 as of v1.21.
"""

from __future__ import annotations

from typing import Any

_STRING: dict[str, Any] = {"t": "string"}
_POINTER: dict[str, Any] = {"t": "string", "ptr": 1}

# `group/version/Kind` -> type name
KINDS: dict[str, str] = {
    "batch/v1beta1/CronJob": "batch.v1.CronJob",
    "networking.k8s.io/v1beta1/Ingress": "networking.retired.Ingress",
}

TYPES: dict[str, dict[str, Any]] = {
    "networking.retired.Ingress": {
        "full": "io.k8s.api.networking.v1beta1.Ingress",
        "fields": {
            "apiVersion": _STRING,
            "kind": _STRING,
            "metadata": {"t": "ref", "ref": "meta.v1.ObjectMeta", "emit": 1},
            "spec": {"t": "ref", "ref": "networking.retired.IngressSpec", "emit": 1},
            "status": {"t": "ref", "ref": "networking.v1.IngressStatus", "emit": 1},
        },
    },
    "networking.retired.IngressSpec": {
        "full": "io.k8s.api.networking.v1beta1.IngressSpec",
        "fields": {
            "ingressClassName": _POINTER,
            "backend": {"t": "ref", "ref": "networking.retired.IngressBackend", "ptr": 1},
            "rules": {"t": "list", "of": {"t": "ref", "ref": "networking.retired.IngressRule"}},
            "tls": {"t": "list", "of": {"t": "ref", "ref": "networking.v1.IngressTLS"}},
        },
    },
    "networking.retired.IngressRule": {
        "full": "io.k8s.api.networking.v1beta1.IngressRule",
        "fields": {
            "host": _STRING,
            "http": {"t": "ref", "ref": "networking.retired.HTTPIngressRuleValue", "ptr": 1},
        },
    },
    "networking.retired.HTTPIngressRuleValue": {
        "full": "io.k8s.api.networking.v1beta1.HTTPIngressRuleValue",
        "fields": {
            "paths": {
                "t": "list",
                "of": {"t": "ref", "ref": "networking.retired.HTTPIngressPath"},
                "emit": 1,
            },
        },
    },
    "networking.retired.HTTPIngressPath": {
        "full": "io.k8s.api.networking.v1beta1.HTTPIngressPath",
        "fields": {
            "path": _STRING,
            "pathType": _POINTER,
            "backend": {"t": "ref", "ref": "networking.retired.IngressBackend", "emit": 1},
        },
    },
    "networking.retired.IngressBackend": {
        "full": "io.k8s.api.networking.v1beta1.IngressBackend",
        "fields": {
            "serviceName": _STRING,
            "servicePort": {"t": "intstr", "ptr": 1},
            "resource": {"t": "ref", "ref": "core.v1.TypedLocalObjectReference", "ptr": 1},
        },
    },
}
