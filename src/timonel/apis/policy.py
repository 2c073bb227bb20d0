"""policy/v1: PodDisruptionBudget (and Eviction, which is a subresource of pods).

Upstream: pkg/apis/policy/validation/validation.go, pkg/registry/policy/poddisruptionbudget/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.apis import checks
from timonel.apis.godiff import GoField, in_go_form
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

_SPEC = (
    GoField("minAvailable", "MinAvailable"),
    GoField("selector", "Selector"),
    GoField("maxUnavailable", "MaxUnavailable"),
    GoField("unhealthyPodEvictionPolicy", "UnhealthyPodEvictionPolicy"),
)
_COUNTS = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")


def prepare_create(obj: Object) -> None:
    obj["status"] = dict.fromkeys(_COUNTS, 0)


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        yield field.invalid(
            "spec", in_go_form(spec, _SPEC), "minAvailable and maxUnavailable cannot be both set"
        )
    for key, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            yield from _validate_amount(f"spec.{key}", value)
    if spec.get("selector") is not None:
        yield from selectors.validate_label_selector(spec["selector"], "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None:
        allowed = ("AlwaysAllow", "IfHealthyBudget")
        yield from checks.one_of("spec.unhealthyPodEvictionPolicy", policy, allowed)


def _validate_amount(path: str, value: int | str) -> Iterator[Cause]:
    """A number of pods or a percentage of at most 100."""
    if isinstance(value, int):
        yield from checks.not_negative(path, value)
        return
    wrong = names.percent(value)
    yield from checks.told(path, value, wrong)
    if not wrong and int(value[:-1]) > 100:
        yield field.invalid(path, value, "must not be greater than 100%")


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    status = new.get("status") or {}
    for key in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        yield from checks.not_negative(f"status.{key}", status.get(key))


def _amount(key: str) -> Any:
    def cell(obj: Object, now: float) -> str:
        value = (obj.get("spec") or {}).get(key)
        return "N/A" if value is None else str(value)

    return cell


POD_DISRUPTION_BUDGET = ResourceType(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    short_names=("pdb",),
    status=True,
    generation=True,
    unconditional_update=False,
    validate_name=names.path_segment_name,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status,
    columns=(
        Column(
            "Min Available",
            _amount("minAvailable"),
            description="The minimum number of pods that must be available.",
        ),
        Column(
            "Max Unavailable",
            _amount("maxUnavailable"),
            description="The maximum number of pods that may be unavailable.",
        ),
        Column(
            "Allowed Disruptions",
            lambda o, now: (o.get("status") or {}).get("disruptionsAllowed", 0),
            "integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
)

RESOURCES = (POD_DISRUPTION_BUDGET,)
