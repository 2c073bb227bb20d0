"""core/v1: ReplicationController.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go}, pkg/registry/core/replicationcontroller/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.apis import checks
from timonel.apis.core.pod import default_pod_template, validate_pod_template
from timonel.apis.printing import AGE, container_images, container_names, labels_cell
from timonel.apis.resource import Column, ResourceType, Scale
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def default_controller(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    template = spec.get("template")
    labels = ((template or {}).get("metadata") or {}).get("labels")
    if labels:
        spec["selector"] = spec.get("selector") or dict(labels)
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    if template is not None:
        default_pod_template(template)


def prepare_create(obj: Object) -> None:
    obj["status"] = {"replicas": 0}


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def name_rule(name: str, prefix: bool) -> list[str]:
    """The usual rule, in the words of the declarative validation that this kind has upstream."""
    return [message.replace("characters", "bytes", 1) if message.startswith("must be no more") else message
            for message in names.name_is_dns_subdomain(name, prefix)]  # fmt: skip


def validate(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    selector, template = spec.get("selector") or {}, spec.get("template")
    yield from checks.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    if not selector:
        yield field.required("spec.selector")
    yield from checks.not_negative("spec.replicas", spec.get("replicas"))
    if template is None:
        yield field.required("spec.template")
        return
    labels = (template.get("metadata") or {}).get("labels")
    if selector and not selectors.from_map(selector).matches(labels):
        message = "`selector` does not match template `labels`"
        yield field.invalid("spec.template.metadata.labels", labels, message)
    yield from validate_pod_template(template, "spec.template")
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") != "Always":
        yield field.not_supported(
            "spec.template.spec.restartPolicy", pod.get("restartPolicy", ""), ("Always",)
        )
    if pod.get("activeDeadlineSeconds") is not None:
        message = "activeDeadlineSeconds in ReplicationController is not Supported"
        yield field.forbidden("spec.template.spec.activeDeadlineSeconds", message)


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    status = new.get("status") or {}
    counts = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    for key in counts:
        yield from checks.not_negative(f"status.{key}", status.get(key))
    total = status.get("replicas", 0)
    for key in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        if status.get(key, 0) > total:
            yield field.invalid(f"status.{key}", status[key], "cannot be greater than status.replicas")
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        message = "cannot be greater than readyReplicas"
        yield field.invalid("status.availableReplicas", status["availableReplicas"], message)


def _status(key: str) -> Any:
    return lambda obj, now: (obj.get("status") or {}).get(key, 0)


def _containers(obj: Object) -> list[Object]:
    template = obj["spec"].get("template") or {}
    found: list[Object] = (template.get("spec") or {}).get("containers") or []
    return found


REPLICATION_CONTROLLER = ResourceType(
    group="",
    version="v1",
    kind="ReplicationController",
    plural="replicationcontrollers",
    short_names=("rc",),
    categories=("all",),
    status=True,
    generation=True,
    scale=Scale(),
    selectable={"status.replicas": lambda o: str((o.get("status") or {}).get("replicas", 0))},
    validate_name=name_rule,
    default=default_controller,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status,
    columns=(
        Column("Desired", lambda o, now: o["spec"].get("replicas", 0), "integer", doc="spec.replicas"),
        Column("Current", _status("replicas"), "integer", doc="status.replicas"),
        Column("Ready", _status("readyReplicas"), "integer", doc="status.readyReplicas"),
        AGE,
        Column(
            "Containers",
            lambda o, now: container_names(_containers(o)),
            priority=1,
            description="Names of each container in the template.",
        ),
        Column(
            "Images",
            lambda o, now: container_images(_containers(o)),
            priority=1,
            description="Images referenced by each container in the template.",
        ),
        Column(
            "Selector", lambda o, now: labels_cell(o["spec"].get("selector")), priority=1, doc="spec.selector"
        ),
    ),
)

RESOURCES = (REPLICATION_CONTROLLER,)
