"""Types of versions that upstream no longer serves and Timonel still reads, in the form of `timonel.schema.store`.

Only what differs from the version that took over is written here: a kind whose type is the same is an alias, one that
had fields besides is `LIKE` it.

Upstream: k8s.io/api/{apps,extensions,networking,batch,policy,autoscaling,rbac,storage,scheduling,coordination,node} and
of apiextensions-apiserver in versions v1beta1, v1beta2, v2beta1 and v2beta2, as of the last release that had each.
"""

from __future__ import annotations

from typing import Any

_STRING: dict[str, Any] = {"t": "string"}
_POINTER: dict[str, Any] = {"t": "string", "ptr": 1}

# (group/version, package of the type, kinds): the same types under an older version
_ALIASES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "apps/v1beta2",
        "apps.v1",
        ("ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
    ),
    ("apps/v1beta1", "apps.v1", ("ControllerRevision", "StatefulSet")),
    ("apps/v1beta1", "apps.retired", ("Deployment",)),
    ("extensions/v1beta1", "apps.v1", ("ReplicaSet",)),
    ("extensions/v1beta1", "apps.retired", ("DaemonSet", "Deployment")),
    ("extensions/v1beta1", "networking.v1", ("NetworkPolicy",)),
    ("extensions/v1beta1", "networking.retired", ("Ingress",)),
    ("networking.k8s.io/v1beta1", "networking.v1", ("IngressClass",)),
    ("networking.k8s.io/v1beta1", "networking.retired", ("Ingress",)),
    ("batch/v1beta1", "batch.v1", ("CronJob",)),
    ("policy/v1beta1", "policy.v1", ("PodDisruptionBudget",)),
    ("autoscaling/v2beta2", "autoscaling.v2", ("HorizontalPodAutoscaler",)),
    ("autoscaling/v2beta1", "autoscaling.retired", ("HorizontalPodAutoscaler",)),
    (
        "rbac.authorization.k8s.io/v1beta1",
        "rbac.v1",
        ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    ),
    (
        "storage.k8s.io/v1beta1",
        "storage.v1",
        ("CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment"),
    ),
    ("scheduling.k8s.io/v1beta1", "scheduling.v1", ("PriorityClass",)),
    ("coordination.k8s.io/v1beta1", "coordination.v1", ("Lease",)),
    ("node.k8s.io/v1beta1", "node.v1", ("RuntimeClass",)),
    ("apiextensions.k8s.io/v1beta1", "apiextensions.retired", ("CustomResourceDefinition",)),
)

# `group/version/Kind` -> type name
KINDS: dict[str, str] = {
    f"{version}/{kind}": f"{package}.{kind}" for version, package, kinds in _ALIASES for kind in kinds
}


def _ref(name: str, **more: Any) -> dict[str, Any]:
    return {"t": "ref", "ref": name, **more}


_APPS, _AUTOSCALING = "io.k8s.api.apps.v1beta1.", "io.k8s.api.autoscaling.v2beta1."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1beta1."
# type -> (its name in full, the type that it is like, the fields that differ)
LIKE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "apps.retired.Deployment": (
        f"{_APPS}Deployment",
        "apps.v1.Deployment",
        {"spec": _ref("apps.retired.DeploymentSpec", emit=1)},
    ),
    "apps.retired.DeploymentSpec": (
        f"{_APPS}DeploymentSpec",
        "apps.v1.DeploymentSpec",
        {"rollbackTo": _ref("apps.retired.RollbackConfig", ptr=1)},
    ),
    "apps.retired.DaemonSet": (
        "io.k8s.api.extensions.v1beta1.DaemonSet",
        "apps.v1.DaemonSet",
        {"spec": _ref("apps.retired.DaemonSetSpec", emit=1)},
    ),
    "apps.retired.DaemonSetSpec": (
        "io.k8s.api.extensions.v1beta1.DaemonSetSpec",
        "apps.v1.DaemonSetSpec",
        {"templateGeneration": {"t": "int64"}},
    ),
    "apiextensions.retired.CustomResourceDefinition": (
        f"{_EXTENSIONS}CustomResourceDefinition",
        "apiextensions.v1.CustomResourceDefinition",
        {"spec": _ref("apiextensions.retired.CustomResourceDefinitionSpec", emit=1)},
    ),
    "apiextensions.retired.CustomResourceDefinitionSpec": (
        f"{_EXTENSIONS}CustomResourceDefinitionSpec",
        "apiextensions.v1.CustomResourceDefinitionSpec",
        {
            "version": _STRING,
            "versions": {"t": "list", "of": _ref("apiextensions.retired.CustomResourceDefinitionVersion")},
            "validation": _ref("apiextensions.v1.CustomResourceValidation", ptr=1),
            "subresources": _ref("apiextensions.v1.CustomResourceSubresources", ptr=1),
            "additionalPrinterColumns": {
                "t": "list",
                "of": _ref("apiextensions.retired.CustomResourceColumnDefinition"),
            },
            "selectableFields": {"t": "list", "of": _ref("apiextensions.v1.SelectableField")},
            "conversion": _ref("apiextensions.retired.CustomResourceConversion", ptr=1),
            "preserveUnknownFields": {"t": "boolean", "ptr": 1},
        },
    ),
    "apiextensions.retired.CustomResourceDefinitionVersion": (
        f"{_EXTENSIONS}CustomResourceDefinitionVersion",
        "apiextensions.v1.CustomResourceDefinitionVersion",
        {
            "additionalPrinterColumns": {
                "t": "list",
                "of": _ref("apiextensions.retired.CustomResourceColumnDefinition"),
            },
        },
    ),
    "autoscaling.retired.HorizontalPodAutoscaler": (
        f"{_AUTOSCALING}HorizontalPodAutoscaler",
        "autoscaling.v2.HorizontalPodAutoscaler",
        {
            "spec": _ref("autoscaling.retired.HorizontalPodAutoscalerSpec", emit=1),
            "status": _ref("autoscaling.retired.HorizontalPodAutoscalerStatus", emit=1),
        },
    ),
    "autoscaling.retired.HorizontalPodAutoscalerSpec": (
        f"{_AUTOSCALING}HorizontalPodAutoscalerSpec",
        "autoscaling.v2.HorizontalPodAutoscalerSpec",
        {"metrics": {"t": "list", "of": _ref("autoscaling.retired.MetricSpec")}},
    ),
    "autoscaling.retired.HorizontalPodAutoscalerStatus": (
        f"{_AUTOSCALING}HorizontalPodAutoscalerStatus",
        "autoscaling.v2.HorizontalPodAutoscalerStatus",
        {"currentMetrics": {"t": "list", "of": _ref("autoscaling.retired.MetricStatus"), "emit": 1}},
    ),
}


_TAKEN_OVER_BY = {
    "apiextensions.retired": "apiextensions.v1",
    "apps.retired": "apps.v1",
    "autoscaling.retired": "autoscaling.v2",
    "networking.retired": "networking.v1",
}


def successor(name: str) -> str | None:
    """The type that took over from one of these, whose fields mean the same; None for a type that is still served."""
    if name in LIKE:
        return LIKE[name][1]
    package, _, kind = name.rpartition(".")
    taken_over = _TAKEN_OVER_BY.get(package)
    return f"{taken_over}.{kind}" if taken_over else None


def full_name(group: str, version: str, kind: str) -> str:
    """How a kind of a retired version is called in OpenAPI."""
    package = group.partition(".")[0]
    return _EXTENSIONS + kind if package == "apiextensions" else f"io.k8s.api.{package}.{version}.{kind}"


def _metric_fields(words: dict[str, str]) -> dict[str, Any]:
    """A type of one metric of autoscaling/v2beta1: `type`, and one struct for each of the five types of metrics."""
    fields: dict[str, Any] = {"type": {"t": "string", "emit": 1}}
    return fields | {key: _ref(f"autoscaling.retired.{name}", ptr=1) for key, name in words.items()}


_NAME: dict[str, Any] = {"t": "string", "emit": 1}
_SELECTOR: dict[str, Any] = _ref("meta.v1.LabelSelector", ptr=1)
_TARGET: dict[str, Any] = _ref("autoscaling.v2.CrossVersionObjectReference", emit=1)
_AMOUNT: dict[str, Any] = {"t": "quantity", "emit": 1}
_OPTIONAL_AMOUNT: dict[str, Any] = {"t": "quantity", "ptr": 1}
_PERCENT: dict[str, Any] = {"t": "int32", "ptr": 1}
_METRIC_KINDS = {
    "object": "ObjectMetric", "pods": "PodsMetric", "resource": "ResourceMetric",
    "containerResource": "ContainerResourceMetric", "external": "ExternalMetric",
}  # fmt: skip
# autoscaling/v2beta1 has its targets as fields, and those of a status begin with `current`
_METRICS: dict[str, dict[str, Any]] = {
    "MetricSpec": _metric_fields({key: f"{name}Source" for key, name in _METRIC_KINDS.items()}),
    "MetricStatus": _metric_fields({key: f"{name}Status" for key, name in _METRIC_KINDS.items()}),
    "ObjectMetricSource": {
        "target": _TARGET, "metricName": _NAME, "targetValue": _AMOUNT, "selector": _SELECTOR,
        "averageValue": _OPTIONAL_AMOUNT,
    },
    "PodsMetricSource": {"metricName": _NAME, "targetAverageValue": _AMOUNT, "selector": _SELECTOR},
    "ResourceMetricSource": {
        "name": _NAME, "targetAverageUtilization": _PERCENT, "targetAverageValue": _OPTIONAL_AMOUNT,
    },
    "ContainerResourceMetricSource": {
        "name": _NAME, "targetAverageUtilization": _PERCENT, "targetAverageValue": _OPTIONAL_AMOUNT,
        "container": _NAME,
    },
    "ExternalMetricSource": {
        "metricName": _NAME, "metricSelector": _SELECTOR, "targetValue": _OPTIONAL_AMOUNT,
        "targetAverageValue": _OPTIONAL_AMOUNT,
    },
    "ObjectMetricStatus": {
        "target": _TARGET, "metricName": _NAME, "currentValue": _AMOUNT, "selector": _SELECTOR,
        "averageValue": _OPTIONAL_AMOUNT,
    },
    "PodsMetricStatus": {"metricName": _NAME, "currentAverageValue": _AMOUNT, "selector": _SELECTOR},
    "ResourceMetricStatus": {
        "name": _NAME, "currentAverageUtilization": _PERCENT, "currentAverageValue": _AMOUNT,
    },
    "ContainerResourceMetricStatus": {
        "name": _NAME, "currentAverageUtilization": _PERCENT, "currentAverageValue": _AMOUNT,
        "container": _NAME,
    },
    "ExternalMetricStatus": {
        "metricName": _NAME, "metricSelector": _SELECTOR, "currentValue": _AMOUNT,
        "currentAverageValue": _OPTIONAL_AMOUNT,
    },
}  # fmt: skip

TYPES: dict[str, dict[str, Any]] = {
    "apiextensions.retired.CustomResourceColumnDefinition": {
        "full": f"{_EXTENSIONS}CustomResourceColumnDefinition",
        "fields": {
            "name": _NAME,
            "type": _NAME,
            "format": _STRING,
            "description": _STRING,
            "priority": {"t": "int32"},
            "JSONPath": _NAME,
        },
    },
    "apiextensions.retired.CustomResourceConversion": {
        "full": f"{_EXTENSIONS}CustomResourceConversion",
        "fields": {
            "strategy": _NAME,
            "webhookClientConfig": _ref("apiextensions.v1.WebhookClientConfig", ptr=1),
            "conversionReviewVersions": {"t": "list", "of": _STRING},
        },
    },
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
    "apps.retired.RollbackConfig": {
        "full": "io.k8s.api.apps.v1beta1.RollbackConfig",
        "fields": {"revision": {"t": "int64"}},
    },
    **{
        f"autoscaling.retired.{name}": {"full": f"{_AUTOSCALING}{name}", "fields": fields}
        for name, fields in _METRICS.items()
    },
}
