"""core/v1: Namespace.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go}, pkg/registry/core/namespace/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, is_deleting

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def label_with_name(obj: Object) -> None:
    """Every namespace carries its name as a label, so that selectors can choose it."""
    name = obj["metadata"].get("name")
    if name:
        labels = obj["metadata"].setdefault("labels", {})
        labels[NAME_LABEL] = name


def prepare_create(obj: Object) -> None:
    obj["status"] = {"phase": "Active"}
    finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)


def prepare_update(new: Object, old: Object) -> None:
    new["spec"] = old.get("spec", {})
    new["status"] = old.get("status", {})


def validate(obj: Object) -> Iterator[Cause]:
    for name in (obj.get("spec") or {}).get("finalizers") or ():
        yield from checks.qualified_name("spec.finalizers", name)
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            message = "name is neither a standard finalizer name nor is it fully qualified"
            yield field.invalid("spec.finalizers", name, message)


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    phase = (new.get("status") or {}).get("phase", "")
    if is_deleting(new) and phase != "Terminating":
        message = "may only be 'Terminating' if `deletionTimestamp` is not empty"
        yield field.invalid("status.Phase", phase, message)
    if not is_deleting(new) and phase != "Active":
        message = "may only be 'Active' if `deletionTimestamp` is empty"
        yield field.invalid("status.Phase", phase, message)


NAMESPACE = ResourceType(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    status=True,
    subresources=("finalize",),
    selectable={"status.phase": lambda o: (o.get("status") or {}).get("phase", "")},
    validate_name=names.name_is_dns_label,
    default=label_with_name,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_status_update=validate_status,
    canonicalize=label_with_name,
    columns=(
        Column(
            "Status",
            lambda o, now: (o.get("status") or {}).get("phase", ""),
            description="The status of the namespace",
        ),
        AGE,
    ),
)

RESOURCES = (NAMESPACE,)
