"""core/v1: ResourceQuota.

Upstream: pkg/apis/core/validation/validation.go, pkg/registry/core/resourcequota/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.apis import checks, resources
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass",
          "CrossNamespacePodAffinity", "VolumeAttributesClass")  # fmt: skip
_EXISTS_ONLY = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
_CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_POD_RESOURCES = frozenset(
    {"pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"}
)
_CLAIM_RESOURCES = frozenset({"persistentvolumeclaims", "requests.storage"})
_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def prepare_create(obj: Object) -> None:
    obj["status"] = {}


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from _validate_amounts("spec.hard", spec.get("hard"))
    yield from _validate_scopes(spec)
    yield from _validate_selector(spec)


def _validate_amounts(path: str, amounts: Object | None) -> Iterator[Cause]:
    for name, amount in sorted((amounts or {}).items()):
        yield from resources.validate_quota_name(f"{path}[{name}]", name)
        yield from checks.resource_quantity(f"{path}[{name}]", name, amount)


def _fits(scope: str, resource: str) -> bool:
    """Whether a quota of this scope can count this resource."""
    if scope == "BestEffort":
        return resource == "pods"
    return resource in (_CLAIM_RESOURCES if scope == "VolumeAttributesClass" else _POD_RESOURCES)


def _misfits(spec: Object, scope: str) -> int:
    hard = spec.get("hard") or {}
    return sum(resources.is_standard_quota(name) and not _fits(scope, name) for name in hard)


def _validate_scopes(spec: Object) -> Iterator[Cause]:
    scopes: list[str] = spec.get("scopes") or []
    path = "spec.scopes"
    for scope in scopes:
        if scope not in SCOPES:
            yield field.invalid(path, scopes, "unsupported scope")
        for _ in range(_misfits(spec, scope)):
            yield field.invalid(path, scopes, "unsupported scope applied to resource")
    for one, other in _CONFLICTS:
        if one in scopes and other in scopes:
            yield field.invalid(path, scopes, "conflicting scopes")


def _validate_selector(spec: Object) -> Iterator[Cause]:
    selector = spec.get("scopeSelector")
    if selector is None:
        return
    path = "spec.scopeSelector.matchExpressions"
    expressions = selector.get("matchExpressions") or []
    for expression in expressions:
        scope, operator = expression.get("scopeName", ""), expression.get("operator", "")
        values = expression.get("values") or []
        if scope not in SCOPES:
            yield field.invalid(f"{path}.scopeName", scope, "unsupported scope")
        for _ in range(_misfits(spec, scope)):
            yield field.invalid(path, selector, "unsupported scope applied to resource")
        if scope in _EXISTS_ONLY and operator != "Exists":
            yield field.invalid(f"{path}.operator", operator, _EXISTS)
        if operator in ("In", "NotIn"):
            if not values:
                message = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield field.required(f"{path}.values", message)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                message = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield field.invalid(f"{path}.values", values, message)
        else:
            yield field.invalid(f"{path}.operator", operator, "not a valid selector operator")
    scopes = {expression.get("scopeName") for expression in expressions}
    for pair in _CONFLICTS:
        if scopes.issuperset(pair):
            yield field.invalid(path, expressions, "conflicting scopes")


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)
    before, now = (obj.get("spec", {}) for obj in (old, new))
    if sorted(before.get("scopes") or []) != sorted(now.get("scopes") or []):
        yield field.invalid("spec.scopes", now.get("scopes"), checks.IMMUTABLE)


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    status = new.get("status") or {}
    if not new.get("metadata", {}).get("resourceVersion"):
        yield field.required("resourceVersion")
    yield from _validate_amounts("status.hard", status.get("hard"))
    yield from _validate_amounts("status.used", status.get("used"))


def _amounts(wanted: bool) -> Any:
    def cell(obj: Object, now: float) -> str:
        status = obj.get("status") or {}
        hard = (status.get("hard") if "hard" in status else None) or {}
        used = status.get("used") or {}
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{amount}"
            for name, amount in sorted(hard.items())
            if name.startswith("limits.") is wanted
        )

    return cell


RESOURCE_QUOTA = ResourceType(
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    short_names=("quota",),
    status=True,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status,
    columns=(
        Column(
            "Request",
            _amounts(wanted=False),
            description="Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            _amounts(wanted=True),
            description=(
                "Limits control the maximum amount of cpu/memory that a container may use independent of "
                "contention on the node."
            ),
        ),
        AGE,
    ),
)

RESOURCES = (RESOURCE_QUOTA,)
