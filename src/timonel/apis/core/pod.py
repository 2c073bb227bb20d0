"""core/v1: Pod and PodTemplate.

Upstream: pkg/registry/core/{pod,podtemplate}/strategy.go, pkg/api/pod/util.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from timonel.apis.core import pod_amounts, pod_columns
from timonel.apis.core.pod_alike import Alike
from timonel.apis.core.pod_defaults import (
    CONTAINER_LISTS,
    default_pod,
    default_pod_spec,
    default_pod_status,
    default_pod_template,
)
from timonel.apis.core.pod_scheduling import PREFERRED, REQUIRED
from timonel.apis.core.pod_security import APPARMOR
from timonel.apis.core.pod_spec import validate_pod, validate_pod_template, validate_template_object
from timonel.apis.core.pod_update import (
    prepare_status_update,
    prepare_update,
    validate_pod_update,
    validate_status_update,
)
from timonel.apis.core.pod_warnings import pod_warnings, template_warnings
from timonel.apis.printing import container_images, container_names, labels_cell
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import names
from timonel.objects.meta import Object, nested

__all__ = ["RESOURCES", "default_pod_spec", "default_pod_template", "validate_pod_template"]

DEFAULT_GRACE = 30


def prepare_create(obj: Object) -> None:
    spec = obj["spec"]
    obj["status"] = {"phase": "Pending", "qosClass": pod_amounts.qos_class(spec)}
    if spec.get("schedulingGates"):
        obj["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": None,
                "lastTransitionTime": obj["metadata"].get("creationTimestamp"),
            }
        ]
    _merge_label_keys(obj, spec)


def _merge_label_keys(obj: Object, spec: Object) -> None:
    """`matchLabelKeys` become requirements with the values that this pod has."""
    labels = obj["metadata"].get("labels") or {}
    for term in _label_key_terms(spec):
        selector = term.get("labelSelector")
        if selector is None:
            continue
        for name, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
            for key in term.get(name) or ():
                if key in labels:
                    wanted = {"key": key, "operator": operator, "values": [labels[key]]}
                    selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), wanted]


def _label_key_terms(spec: Object) -> Iterator[Object]:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        yield from rules.get(REQUIRED) or ()
        for weighted in rules.get(PREFERRED) or ():
            yield weighted.get("podAffinityTerm") or {}
    yield from spec.get("topologySpreadConstraints") or ()


def canonicalize(obj: Object) -> None:
    """AppArmor annotations of old become fields."""
    annotations = obj["metadata"].get("annotations")
    if not annotations or nested(obj, "spec", "os", "name") == "windows":
        return
    for key in CONTAINER_LISTS:
        for container in obj["spec"].get(key) or ():
            said = annotations.get(APPARMOR + container.get("name", ""))
            if said and nested(container, "securityContext", "appArmorProfile") is None:
                container["securityContext"] = {
                    **(container.get("securityContext") or {}),
                    "appArmorProfile": _profile_said(said),
                }


def _profile_said(annotation: str) -> Object:
    if annotation.startswith("localhost/"):
        return {"type": "Localhost", "localhostProfile": annotation.removeprefix("localhost/")}
    return {"type": "Unconfined" if annotation == "unconfined" else "RuntimeDefault"}


def grace_period(obj: Object, asked: int | None) -> int:
    """What was asked for, else the pod's own; pods that never ran or have ended go at once."""
    spec = obj.get("spec") or {}
    period = asked if asked is not None else spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE)
    if not spec.get("nodeName") or nested(obj, "status", "phase") in ("Succeeded", "Failed"):
        return 0
    return 1 if period < 0 else int(period)


def _remembering() -> Mapping[str, Callable[..., Any]]:
    """The rules that need not look twice at specs that are alike."""
    sound, silent = Alike(), Alike()
    return {
        "validate": lambda obj: validate_pod(obj, sound),
        "validate_update": lambda new, old: validate_pod_update(new, old, sound),
        "warnings": lambda obj: pod_warnings(obj, None, silent),
        "warnings_update": lambda new, old: pod_warnings(new, old, silent),
    }


POD = ResourceType(
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    short_names=("po",),
    categories=("all",),
    subresources=(
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
    ),
    status=True,
    generation=True,
    graceful=grace_period,
    selectable={
        "spec.nodeName": lambda o: nested(o, "spec", "nodeName") or "",
        "spec.restartPolicy": lambda o: nested(o, "spec", "restartPolicy") or "",
        "spec.schedulerName": lambda o: nested(o, "spec", "schedulerName") or "",
        "spec.serviceAccountName": lambda o: nested(o, "spec", "serviceAccountName") or "",
        "spec.hostNetwork": lambda o: "true" if nested(o, "spec", "hostNetwork") else "false",
        "status.phase": lambda o: nested(o, "status", "phase") or "",
        "status.podIP": lambda o: nested(o, "status", "podIP") or "",
        "status.podIPs": lambda o: "",
        "status.nominatedNodeName": lambda o: nested(o, "status", "nominatedNodeName") or "",
    },
    validate_name=names.name_is_dns_subdomain,
    default=default_pod,
    default_status=default_pod_status,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    validate=validate_pod,
    validate_update=validate_pod_update,
    validate_status_update=validate_status_update,
    warnings=pod_warnings,
    warnings_update=pod_warnings,
    canonicalize=canonicalize,
    remembering=_remembering,
    columns=pod_columns.COLUMNS,
)

# ---- PodTemplate


def default_template_object(obj: Object) -> None:
    default_pod_template(obj.setdefault("template", {}))


def _containers(obj: Object) -> list[Object]:
    return nested(obj, "template", "spec", "containers") or []


POD_TEMPLATE = ResourceType(
    group="",
    version="v1",
    kind="PodTemplate",
    plural="podtemplates",
    generation=True,
    default=default_template_object,
    validate=validate_template_object,
    validate_update=lambda new, old: validate_template_object(new),
    warnings=lambda obj: template_warnings(obj.get("template") or {}, "template"),
    warnings_update=lambda new, old: template_warnings(new.get("template") or {}, "template"),
    columns=(
        Column(
            "Containers",
            lambda o, now: container_names(_containers(o)),
            description="Names of each container in the template.",
        ),
        Column(
            "Images",
            lambda o, now: container_images(_containers(o)),
            description="Images referenced by each container in the template.",
        ),
        Column(
            "Pod Labels",
            lambda o, now: labels_cell(nested(o, "template", "metadata", "labels")),
            description="The labels for the pod template.",
        ),
    ),
)

RESOURCES = (POD, POD_TEMPLATE)
