"""apps/v1beta1, apps/v1beta2 and extensions/v1beta1: Deployments, DaemonSets, ReplicaSets, StatefulSets.

The oldest ones take labels and selector from the template, and default to what was safe then: a StatefulSet or
DaemonSet changes its pods only when somebody deletes them.

Upstream: pkg/apis/{apps/v1beta1,apps/v1beta2,extensions/v1beta1}/{defaults,conversion}.go.
"""

from __future__ import annotations

from timonel.apis.apps import (
    CONTROLLER_REVISION,
    DAEMONSET,
    DEPLOYMENT,
    REPLICASET,
    STATEFULSET,
    TEMPLATE_GENERATION,
    default_daemonset,
    default_deployment,
    default_replicaset,
    default_statefulset,
)
from timonel.apis.resource import ResourceType
from timonel.apis.retired.version import Change, retired
from timonel.objects.meta import Object

ROLLBACK_TO = "deprecated.deployment.rollback.revisionTo"
UNLIMITED = 2**31 - 1  # revisions kept, and seconds waited for progress, before there were defaults


def _take_labels(obj: Object) -> None:
    """Labels and selector are those of the template, where they are not given."""
    spec = obj.setdefault("spec", {})
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not labels:
        return
    if spec.get("selector") is None:
        spec["selector"] = {"matchLabels": dict(labels)}
    metadata = obj.setdefault("metadata", {})
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _default(spec: Object, key: str, value: int) -> None:
    if spec.get(key) is None:
        spec[key] = value


def default_old_deployment(obj: Object) -> None:
    """extensions/v1beta1."""
    _take_labels(obj)
    spec = obj["spec"]
    _default(spec, "revisionHistoryLimit", UNLIMITED)
    _default(spec, "progressDeadlineSeconds", UNLIMITED)
    strategy = spec.setdefault("strategy", {})
    if (strategy.get("type") or "RollingUpdate") == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _default(rolling, "maxUnavailable", 1)
        _default(rolling, "maxSurge", 1)
    default_deployment(obj)


def default_first_deployment(obj: Object) -> None:
    """apps/v1beta1."""
    _take_labels(obj)
    _default(obj["spec"], "revisionHistoryLimit", 2)
    default_deployment(obj)


def _default_to_on_delete(obj: Object) -> None:
    _take_labels(obj)
    strategy = obj["spec"].setdefault("updateStrategy", {})
    strategy["type"] = strategy.get("type") or "OnDelete"


def default_old_daemonset(obj: Object) -> None:
    """extensions/v1beta1."""
    _default_to_on_delete(obj)
    default_daemonset(obj)


def default_first_statefulset(obj: Object) -> None:
    """apps/v1beta1."""
    _default_to_on_delete(obj)
    default_statefulset(obj)


def default_old_replicaset(obj: Object) -> None:
    """extensions/v1beta1."""
    _take_labels(obj)
    default_replicaset(obj)


# ---- fields that became annotations


def _annotations(obj: Object) -> dict[str, str]:
    found: dict[str, str] = dict(obj["metadata"].get("annotations") or {})
    return found


def _keep_rollback(obj: Object) -> None:
    rollback = (obj.get("spec") or {}).pop("rollbackTo", None)
    if rollback is not None:
        obj["metadata"]["annotations"] = _annotations(obj) | {ROLLBACK_TO: str(rollback.get("revision", 0))}


def _show_rollback(obj: Object) -> None:
    annotations = _annotations(obj)
    text = annotations.pop(ROLLBACK_TO, "")
    if text.isdecimal():
        _set_annotations(obj, annotations)
        obj.setdefault("spec", {})["rollbackTo"] = {"revision": int(text)} if int(text) else {}


def _keep_template_generation(obj: Object) -> None:
    number = (obj.get("spec") or {}).pop("templateGeneration", 0)
    obj["metadata"]["annotations"] = _annotations(obj) | {TEMPLATE_GENERATION: str(number)}


def _show_template_generation(obj: Object) -> None:
    annotations = _annotations(obj)
    text = annotations.pop(TEMPLATE_GENERATION, "")
    if text.isdecimal():
        _set_annotations(obj, annotations)
        if int(text):
            obj.setdefault("spec", {})["templateGeneration"] = int(text)


def _set_annotations(obj: Object, annotations: dict[str, str]) -> None:
    if annotations:
        obj["metadata"]["annotations"] = annotations
    else:
        obj["metadata"].pop("annotations", None)


def _first(current: ResourceType, default: Change) -> ResourceType:
    return retired(current, "apps/v1beta1", "1.8", "1.16", default=default)


def _second(current: ResourceType) -> ResourceType:
    return retired(current, "apps/v1beta2", "1.9", "1.16")


def _old_deployment(api_version: str, default: Change) -> ResourceType:
    return retired(
        DEPLOYMENT,
        api_version,
        "1.8",
        "1.16",
        default=default,
        to_stored=_keep_rollback,
        from_stored=_show_rollback,
    )


RESOURCES = (
    *(_second(c) for c in (DEPLOYMENT, REPLICASET, STATEFULSET, DAEMONSET, CONTROLLER_REVISION)),
    _old_deployment("apps/v1beta1", default_first_deployment),
    _first(STATEFULSET, default_first_statefulset),
    _first(CONTROLLER_REVISION, CONTROLLER_REVISION.default),
    _old_deployment("extensions/v1beta1", default_old_deployment),
    retired(REPLICASET, "extensions/v1beta1", "1.8", "1.16", default=default_old_replicaset),
    retired(
        DAEMONSET,
        "extensions/v1beta1",
        "1.8",
        "1.16",
        default=default_old_daemonset,
        to_stored=_keep_template_generation,
        from_stored=_show_template_generation,
    ),
)
