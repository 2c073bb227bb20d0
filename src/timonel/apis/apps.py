"""apps/v1: Deployment, ReplicaSet, StatefulSet, DaemonSet, ControllerRevision.

Upstream: pkg/apis/apps/{v1/defaults.go,validation/validation.go}, pkg/registry/apps/*/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from timonel.apis import checks
from timonel.apis.core.persistentvolumeclaim import default_claim, validate_claim_spec
from timonel.apis.core.pod import default_pod_template, validate_pod_template
from timonel.apis.core.pod_alike import Alike
from timonel.apis.core.pod_warnings import hostname_warning, template_warnings
from timonel.apis.printing import AGE, container_images, container_names, labels_cell, selector_cell
from timonel.apis.resource import Column, ResourceType, Scale
from timonel.apis.templates import (
    compiled,
    compiled_matches_template,
    matches_template,
    only_always,
    selector_is_sound,
    shown_selector,
    validate_selector,
)
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, controller_of, nested

# ---- what they share


def _keep_status(new: Object, old: Object) -> None:
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)


def _no_status(*counts: str) -> Callable[[Object], None]:
    """A fresh status, with the counts that are always written."""

    def prepare(obj: Object) -> None:
        obj["status"] = dict.fromkeys(counts, 0)

    return prepare


def _template_warnings(obj: Object, old: Object | None = None, silent: Alike | None = None) -> Iterator[str]:
    template = nested(obj, "spec", "template") or {}
    yield from template_warnings(template, "spec.template", nested(old, "spec", "template"), silent)


def _named_warnings(obj: Object) -> Iterator[str]:
    """For the kinds whose names end up in host names."""
    yield from hostname_warning(obj, "Pod names and hostnames")
    yield from _template_warnings(obj)


def _warnings_update(new: Object, old: Object, silent: Alike | None = None) -> Iterator[str]:
    if new["metadata"].get("generation") != old["metadata"].get("generation"):
        yield from _template_warnings(new, old, silent)


def _status(key: str) -> Callable[[Object, float], int]:
    return lambda obj, now: nested(obj, "status", key) or 0


def _pods(obj: Object) -> list[Object]:
    return nested(obj, "spec", "template", "spec", "containers") or []


CONTAINERS = Column(
    "Containers",
    lambda o, now: container_names(_pods(o)),
    priority=1,
    description="Names of each container in the template.",
)
IMAGES = Column(
    "Images",
    lambda o, now: container_images(_pods(o)),
    priority=1,
    description="Images referenced by each container in the template.",
)
SELECTOR = Column(
    "Selector", lambda o, now: selector_cell(nested(o, "spec", "selector")), priority=1, doc="spec.selector"
)
READY_OF_ALL = "Number of the pod with ready state"


def _ready_of_replicas(obj: Object, now: float) -> str:
    return f"{nested(obj, 'status', 'readyReplicas') or 0}/{nested(obj, 'spec', 'replicas') or 0}"


def _int_or_percent(path: str, value: int | str) -> Iterator[Cause]:
    if isinstance(value, int):
        yield from checks.not_negative(path, value)
    else:
        yield from checks.told(path, value, names.percent(value))


def _not_above_all(path: str, value: int | str) -> Iterator[Cause]:
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        yield field.invalid(path, value, "must not be greater than 100%")


def _number(value: int | str) -> int:
    """A percentage by its number, a text that is none as 0."""
    if isinstance(value, int):
        return value
    return int(value[:-1]) if not names.percent(value) else 0


# ---- Deployment


def default_deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _default_rolled(spec)
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = 10
    if spec.get("progressDeadlineSeconds") is None:
        spec["progressDeadlineSeconds"] = 600
    strategy = spec.setdefault("strategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        _default_rolling(strategy, maxUnavailable="25%", maxSurge="25%")


def _default_rolled(spec: Object) -> None:
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    default_pod_template(spec.setdefault("template", {}))


def _default_rolling(strategy: Object, **defaults: int | str) -> None:
    rolling = strategy.get("rollingUpdate")
    if rolling is None:
        rolling = strategy["rollingUpdate"] = {}
    for key, value in defaults.items():
        if rolling.get(key) is None:
            rolling[key] = value


def validate_deployment(obj: Object, sound: Alike | None = None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from checks.not_negative("spec.replicas", spec.get("replicas"))
    yield from validate_selector("spec.selector", spec.get("selector"), "deployment")
    yield from _validate_replicated("spec", spec, sound)
    yield from _validate_strategy("spec.strategy", spec.get("strategy") or {})
    minimum = spec.get("minReadySeconds", 0)
    yield from checks.not_negative("spec.minReadySeconds", minimum)
    yield from checks.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        yield from checks.not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= minimum:
            yield field.invalid(
                "spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"
            )


def _validate_replicated(path: str, spec: Object, sound: Alike | None) -> Iterator[Cause]:
    """The template of a workload whose pods run forever."""
    selector = spec.get("selector")
    found = compiled(selector)
    if found is None:
        yield field.invalid(f"{path}.selector", shown_selector(selector), "invalid label selector")
        return
    template = spec.get("template") or {}
    yield from compiled_matches_template(f"{path}.template", found, template)
    yield from validate_pod_template(template, f"{path}.template", sound=sound)
    yield from only_always(f"{path}.template", template, "ReplicaSet")


def _remembering(
    validate: Callable[[Object, Alike], Iterator[Cause]],
    validate_update: Callable[[Object, Object, Alike], Iterator[Cause]],
) -> Mapping[str, Callable[..., Any]]:
    """The rules that need not look twice at the same template: most updates change something else."""
    sound, silent = Alike(), Alike()
    return {
        "validate": lambda obj: validate(obj, sound),
        "validate_update": lambda new, old: validate_update(new, old, sound),
        "warnings_update": lambda new, old: _warnings_update(new, old, silent),
    }


def _shown_strategy(strategy: Object) -> Object:
    rolling = strategy.get("rollingUpdate")
    shown: Object = {"Type": strategy.get("type", ""), "RollingUpdate": None}
    if rolling is not None:
        shown["RollingUpdate"] = {
            "MaxUnavailable": rolling.get("maxUnavailable", 0),
            "MaxSurge": rolling.get("maxSurge", 0),
        }
    return shown


def _validate_strategy(path: str, strategy: Object) -> Iterator[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            message = "may not be specified when strategy `type` is 'Recreate'"
            yield field.forbidden(f"{path}.rollingUpdate", message)
    elif kind == "RollingUpdate":
        if rolling is None:
            message = "this should be defaulted and never be nil"
            yield field.required(f"{path}.rollingUpdate", message)
        else:
            yield from _validate_rolling(f"{path}.rollingUpdate", rolling)
    else:
        yield field.not_supported(path, _shown_strategy(strategy), ("Recreate", "RollingUpdate"))


def _validate_rolling(path: str, rolling: Object) -> Iterator[Cause]:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    yield from _int_or_percent(f"{path}.maxUnavailable", unavailable)
    yield from _int_or_percent(f"{path}.maxSurge", surge)
    if _number(unavailable) == 0 and _number(surge) == 0:
        yield field.invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    yield from _not_above_all(f"{path}.maxUnavailable", unavailable)


def validate_deployment_update(new: Object, old: Object, sound: Alike | None = None) -> Iterator[Cause]:
    yield from validate_deployment(new, sound)
    yield from _selector_is_kept(new, old)


def _selector_is_kept(new: Object, old: Object) -> Iterator[Cause]:
    selector = nested(new, "spec", "selector")
    if selector != nested(old, "spec", "selector"):
        yield field.invalid("spec.selector", shown_selector(selector), checks.IMMUTABLE)


_DEPLOYMENT_COUNTS = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
                      "unavailableReplicas", "terminatingReplicas")  # fmt: skip


def _validate_counts(
    new: Object, counts: tuple[str, ...], bounds: tuple[tuple[str, str, str], ...]
) -> Iterator[Cause]:
    """`bounds`: (count, the larger one it must not exceed, what to say)."""
    status = new.get("status") or {}
    for key in counts:
        yield from checks.not_negative(f"status.{key}", status.get(key))
    yield from checks.not_negative("status.collisionCount", status.get("collisionCount"))
    for key, limit, message in bounds:
        if status.get(key, 0) > status.get(limit, 0):
            yield field.invalid(f"status.{key}", status.get(key, 0), message)


def _collisions_grow(new: Object, old: Object) -> Iterator[Cause]:
    before = nested(old, "status", "collisionCount")
    after = nested(new, "status", "collisionCount")
    if before is not None and (after is None or after < before):
        yield field.invalid("status.collisionCount", after or 0, "cannot be decremented")


def validate_deployment_status(new: Object, old: Object) -> Iterator[Cause]:
    above = "cannot be greater than status.replicas"
    bounds = (
        ("updatedReplicas", "replicas", above),
        ("readyReplicas", "replicas", above),
        ("availableReplicas", "replicas", above),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    )
    yield from _validate_counts(new, _DEPLOYMENT_COUNTS, bounds)
    yield from _collisions_grow(new, old)


DEPLOYMENT = ResourceType(
    group="apps",
    version="v1",
    kind="Deployment",
    plural="deployments",
    short_names=("deploy",),
    categories=("all",),
    status=True,
    scale=Scale(),
    generation=True,
    default=default_deployment,
    prepare_create=_no_status(),
    prepare_update=_keep_status,
    validate=validate_deployment,
    validate_update=validate_deployment_update,
    remembering=lambda: _remembering(validate_deployment, validate_deployment_update),
    validate_status_update=validate_deployment_status,
    warnings=_named_warnings,
    warnings_update=_warnings_update,
    columns=(
        Column("Ready", _ready_of_replicas, description=READY_OF_ALL),
        # Cells of type string that hold numbers, as upstream has them.
        Column("Up-to-date", _status("updatedReplicas"), doc="status.updatedReplicas"),
        Column("Available", _status("availableReplicas"), doc="status.availableReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
)

# ---- ReplicaSet


def default_replicaset(obj: Object) -> None:
    _default_rolled(obj.setdefault("spec", {}))


def validate_replicaset(obj: Object, sound: Alike | None = None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from checks.not_negative("spec.replicas", spec.get("replicas"))
    yield from checks.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from validate_selector("spec.selector", spec.get("selector"), "deployment")
    yield from _validate_replicated("spec", spec, sound)


def validate_replicaset_update(new: Object, old: Object, sound: Alike | None = None) -> Iterator[Cause]:
    yield from validate_replicaset(new, sound)
    yield from _selector_is_kept(new, old)


_REPLICA_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration",
                   "terminatingReplicas")  # fmt: skip


def validate_replicaset_status(new: Object, old: Object) -> Iterator[Cause]:
    above = "cannot be greater than status.replicas"
    bounds = (
        ("fullyLabeledReplicas", "replicas", above),
        ("readyReplicas", "replicas", above),
        ("availableReplicas", "replicas", above),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    )
    yield from _validate_counts(new, _REPLICA_COUNTS, bounds)


REPLICASET = ResourceType(
    group="apps",
    version="v1",
    kind="ReplicaSet",
    plural="replicasets",
    short_names=("rs",),
    categories=("all",),
    status=True,
    scale=Scale(),
    generation=True,
    default=default_replicaset,
    prepare_create=_no_status("replicas"),
    prepare_update=_keep_status,
    validate=validate_replicaset,
    validate_update=validate_replicaset_update,
    remembering=lambda: _remembering(validate_replicaset, validate_replicaset_update),
    validate_status_update=validate_replicaset_status,
    warnings=_named_warnings,
    warnings_update=_warnings_update,
    columns=(
        Column("Desired", lambda o, now: nested(o, "spec", "replicas") or 0, "integer", doc="spec.replicas"),
        Column("Current", _status("replicas"), "integer", doc="status.replicas"),
        Column("Ready", _status("readyReplicas"), "integer", doc="status.readyReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
)

# ---- StatefulSet

_STATEFUL_MUTABLE = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
                     "persistentVolumeClaimRetentionPolicy", "minReadySeconds")  # fmt: skip
_STATEFUL_FROZEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy',"
    " 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def default_statefulset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _default_rolled(spec)
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        if strategy.get("rollingUpdate") is None:
            strategy["rollingUpdate"] = {}
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "RollingUpdate" and rolling is not None and rolling.get("partition") is None:
        rolling["partition"] = 0
    if spec.get("ordinals") is not None:
        spec["ordinals"].setdefault("start", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    for key in ("whenDeleted", "whenScaled"):
        retention[key] = retention.get(key) or "Retain"
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = 10
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("metadata", {})
        claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
        default_claim(claim)


def prepare_statefulset(obj: Object) -> None:
    obj["status"] = {"replicas": 0, "availableReplicas": 0}
    _drop_unavailable(obj)


def prepare_statefulset_update(new: Object, old: Object) -> None:
    _keep_status(new, old)
    if nested(old, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable") is None:
        _drop_unavailable(new)


def _drop_unavailable(obj: Object) -> None:
    """`maxUnavailable` is behind a feature gate that is off, as upstream's default is."""
    rolling = nested(obj, "spec", "updateStrategy", "rollingUpdate")
    if rolling:
        rolling.pop("maxUnavailable", None)


def validate_statefulset(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        policy = spec.get("podManagementPolicy", "")
        if policy:
            yield field.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
        else:
            yield field.required("spec.podManagementPolicy")
    yield from _validate_stateful_strategy("spec.updateStrategy", spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled"):
        yield from checks.one_of(
            f"spec.persistentVolumeClaimRetentionPolicy.{key}", retention.get(key, ""), ("Retain", "Delete")
        )
    yield from checks.not_negative("spec.replicas", spec.get("replicas"))
    yield from checks.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from checks.not_negative("spec.ordinals.start", nested(spec, "ordinals", "start"))
    if spec.get("serviceName"):
        yield from checks.label("spec.serviceName", spec["serviceName"])
    yield from _validate_stateful_template(spec)


def _validate_stateful_template(spec: Object) -> Iterator[Cause]:
    selector, template = spec.get("selector"), spec.get("template") or {}
    yield from validate_selector("spec.selector", selector, "statefulset")
    if not selector_is_sound(selector):
        yield field.invalid("spec.selector", shown_selector(selector), "")
        return
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        yield from validate_claim_spec(f"spec.volumeClaimTemplates[{index}].spec", claim.get("spec") or {})
    yield from matches_template("spec.template", selector, template)
    # As upstream, which looks at the labels of this template twice.
    yield from checks.label_map("spec.template.labels", nested(template, "metadata", "labels"))
    yield from validate_pod_template(template, "spec.template", claims=spec.get("volumeClaimTemplates") or ())
    yield from only_always("spec.template", template, "StatefulSet")


def _validate_stateful_strategy(path: str, strategy: Object) -> Iterator[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    shown = None
    if rolling is not None:
        shown = {"Partition": rolling.get("partition", 0), "MaxUnavailable": rolling.get("maxUnavailable")}
    if kind == "OnDelete":
        if rolling is not None:
            yield field.invalid(
                f"{path}.rollingUpdate", shown, "only allowed for updateStrategy 'RollingUpdate'"
            )
    elif kind == "RollingUpdate":
        if rolling is not None:
            yield from checks.not_negative(f"{path}.rollingUpdate.partition", rolling.get("partition"))
            if rolling.get("maxUnavailable") is not None:
                yield from _validate_stateful_unavailable(
                    f"{path}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"]
                )
    elif kind:
        message = "must be 'RollingUpdate' or 'OnDelete'"
        yield field.invalid(path, {"Type": kind, "RollingUpdate": shown}, message)
    else:
        yield field.required(path)


def _validate_stateful_unavailable(path: str, value: int | str) -> Iterator[Cause]:
    yield from _int_or_percent(path, value)
    if _number(value) == 0:
        yield field.invalid(path, value, "cannot be 0")
    yield from _not_above_all(path, value)


def validate_statefulset_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_statefulset(new)
    before, after = (
        {k: v for k, v in (o.get("spec") or {}).items() if k not in _STATEFUL_MUTABLE} for o in (old, new)
    )
    if before != after:
        yield field.forbidden("spec", _STATEFUL_FROZEN)


def statefulset_warnings(obj: Object) -> Iterator[str]:
    yield from _template_warnings(obj)
    for index, claim in enumerate(nested(obj, "spec", "volumeClaimTemplates") or ()):
        wanted = nested(claim, "spec", "resources", "requests", "storage")
        if wanted is not None and checks.quantity(wanted).milli() % 1000:
            path = f"spec.volumeClaimTemplates[{index}].spec.resources.requests[storage]"
            shown = field.quote(str(checks.quantity(wanted)))
            yield f"{path}: fractional byte value {shown} is invalid, must be an integer"
    if (nested(obj, "spec", "revisionHistoryLimit") or 0) < 0:
        yield (
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is"
            " recommended"
        )


_STATEFUL_COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")


def validate_statefulset_status(new: Object, old: Object) -> Iterator[Cause]:
    above = "cannot be greater than status.replicas"
    bounds = (
        ("readyReplicas", "replicas", above),
        ("currentReplicas", "replicas", above),
        ("updatedReplicas", "replicas", above),
        ("availableReplicas", "replicas", above),
        ("availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas"),
    )
    yield from _validate_counts(new, (*_STATEFUL_COUNTS, "observedGeneration"), bounds)


STATEFULSET = ResourceType(
    group="apps",
    version="v1",
    kind="StatefulSet",
    plural="statefulsets",
    short_names=("sts",),
    categories=("all",),
    status=True,
    scale=Scale(),
    generation=True,
    validate_name=names.name_is_dns_label,
    default=default_statefulset,
    prepare_create=prepare_statefulset,
    prepare_update=prepare_statefulset_update,
    validate=validate_statefulset,
    validate_update=validate_statefulset_update,
    validate_status_update=validate_statefulset_status,
    warnings=statefulset_warnings,
    warnings_update=lambda new, old: statefulset_warnings(new),
    columns=(
        Column("Ready", _ready_of_replicas, description=READY_OF_ALL),
        AGE,
        CONTAINERS,
        IMAGES,
    ),
)

# ---- DaemonSet


def default_daemonset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_template(spec.setdefault("template", {}))
    strategy = spec.setdefault("updateStrategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        _default_rolling(strategy, maxUnavailable=1, maxSurge=0)
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = 10
    _set_template_generation(obj, _template_generation(obj))


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _template_generation(obj: Object) -> int:
    try:
        return int((obj["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, 0))
    except ValueError:
        return 0


def _set_template_generation(obj: Object, number: int) -> None:
    """Upstream's internal form has a field for it, which v1 carries as an annotation."""
    obj["metadata"]["annotations"] = {
        **(obj["metadata"].get("annotations") or {}),
        TEMPLATE_GENERATION: str(number),
    }


def prepare_daemonset(obj: Object) -> None:
    obj["status"] = dict.fromkeys(
        ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
    )
    _set_template_generation(obj, max(1, _template_generation(obj)))


def prepare_daemonset_update(new: Object, old: Object) -> None:
    _keep_status(new, old)
    number = _template_generation(old)
    changed = nested(new, "spec", "template") != nested(old, "spec", "template")
    _set_template_generation(new, number + 1 if changed else number)


def validate_daemonset(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    yield from validate_selector("spec.selector", selector, "daemonset", required=False)
    if selector_is_sound(selector):
        yield from matches_template("spec.template", selector, template)
    yield from validate_pod_template(template, "spec.template")
    yield from only_always("spec.template", template, "DaemonSet")
    yield from checks.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from _validate_daemon_strategy("spec.updateStrategy", spec.get("updateStrategy") or {})
    yield from checks.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))


def _validate_daemon_strategy(path: str, strategy: Object) -> Iterator[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        yield field.not_supported(path, _shown_strategy(strategy), ("RollingUpdate", "OnDelete"))
    elif rolling is None:
        yield field.required(f"{path}.rollingUpdate")
    else:
        yield from _validate_daemon_rolling(f"{path}.rollingUpdate", rolling)


def _validate_daemon_rolling(path: str, rolling: Object) -> Iterator[Cause]:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    yield from _int_or_percent(f"{path}.maxUnavailable", unavailable)
    yield from _int_or_percent(f"{path}.maxSurge", surge)
    yield from _not_above_all(f"{path}.maxUnavailable", unavailable)
    yield from _not_above_all(f"{path}.maxSurge", surge)
    has_unavailable, has_surge = _number(unavailable) != 0, _number(surge) != 0
    if has_unavailable and has_surge:
        yield field.invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    elif not has_unavailable and not has_surge:
        yield field.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def validate_daemonset_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from _selector_is_kept(new, old)
    yield from validate_daemonset(new)


_DAEMON_COUNTS = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
                  "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable")  # fmt: skip


def validate_daemonset_status(new: Object, old: Object) -> Iterator[Cause]:
    yield from _validate_counts(new, _DAEMON_COUNTS, ())
    yield from _collisions_grow(new, old)


DAEMONSET = ResourceType(
    group="apps",
    version="v1",
    kind="DaemonSet",
    plural="daemonsets",
    short_names=("ds",),
    categories=("all",),
    status=True,
    generation=True,
    default=default_daemonset,
    prepare_create=prepare_daemonset,
    prepare_update=prepare_daemonset_update,
    validate=validate_daemonset,
    validate_update=validate_daemonset_update,
    validate_status_update=validate_daemonset_status,
    warnings=_template_warnings,
    warnings_update=_warnings_update,
    columns=(
        Column("Desired", _status("desiredNumberScheduled"), "integer", doc="status.desiredNumberScheduled"),
        Column("Current", _status("currentNumberScheduled"), "integer", doc="status.currentNumberScheduled"),
        Column("Ready", _status("numberReady"), "integer", doc="status.numberReady"),
        Column(
            "Up-to-date", _status("updatedNumberScheduled"), "integer", doc="status.updatedNumberScheduled"
        ),
        Column("Available", _status("numberAvailable"), "integer", doc="status.numberAvailable"),
        Column(
            "Node Selector",
            lambda o, now: labels_cell(nested(o, "spec", "template", "spec", "nodeSelector")),
            doc="spec.template.spec.nodeSelector",
        ),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
)

# ---- ControllerRevision


def validate_revision(obj: Object) -> Iterator[Cause]:
    data = obj.get("data")
    if data is None:
        yield field.required("data", "data is mandatory")
    elif not isinstance(data, dict):
        yield field.required("data", "data must be a valid JSON object")
    yield from checks.not_negative("revision", obj.get("revision"))


def validate_revision_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_revision(new)
    yield from checks.immutable("data", new.get("data"), old.get("data"))


def _controller_cell(obj: Object, now: float) -> str:
    ref = controller_of(obj)
    if ref is None:
        return "<none>"
    group = ref.get("apiVersion", "").rpartition("/")[0]
    kind = str(ref.get("kind", "")).lower()
    return f"{kind}.{group}/{ref['name']}" if group else f"{kind}/{ref['name']}"


def _revision_number(obj: Object, now: float) -> Any:
    return obj.get("revision", 0)


CONTROLLER_REVISION = ResourceType(
    group="apps",
    version="v1",
    kind="ControllerRevision",
    plural="controllerrevisions",
    validate=validate_revision,
    validate_update=validate_revision_update,
    columns=(
        Column("Controller", _controller_cell, description="Controller of the object"),
        Column("Revision", _revision_number, doc="revision"),
        AGE,
    ),
)

RESOURCES = (DEPLOYMENT, REPLICASET, STATEFULSET, DAEMONSET, CONTROLLER_REVISION)
