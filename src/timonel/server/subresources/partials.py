"""Subresources that read as their object and write one part of it.

pods/ephemeralcontainers, pods/resize, namespaces/finalize, certificatesigningrequests/approval.
Upstream: pkg/registry/core/pod/strategy.go, pkg/registry/core/namespace/strategy.go,
pkg/registry/certificates/certificates/strategy.go, pkg/apis/{core,certificates}/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.aio.clock import Clock
from timonel.apis.resource import ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.machinery.field import quote
from timonel.objects.meta import Object, format_time
from timonel.server.request import PartialUpdate

_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def built_in(*, pod: ResourceType, clock: Clock) -> tuple[PartialUpdate, ...]:
    """`pod` is the resource type of pods, whose own validation checks what these subresources wrote."""
    return (
        PartialUpdate("pods", "ephemeralcontainers", _prepare_ephemeral, _Ephemeral(pod).validate),
        PartialUpdate("pods", "resize", _prepare_resize, _Resize(pod).validate),
        PartialUpdate("namespaces", "finalize", _prepare_finalize, _validate_finalize, verbs=("update",)),
        PartialUpdate(
            "certificatesigningrequests.certificates.k8s.io",
            "approval",
            _Approval(clock).prepare,
            _validate_approval,
        ),
    )


def _keep_all(new: Object, old: Object) -> None:
    """`new` becomes `old`, but for the fields that say what the caller has seen and who wrote what."""
    kept = {k: new["metadata"][k] for k in ("resourceVersion", "managedFields") if k in new["metadata"]}
    metadata = {k: v for k, v in old["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    for key in [k for k in new if k not in ("kind", "apiVersion")]:
        del new[key]
    new.update({k: v for k, v in old.items() if k not in ("kind", "apiVersion")})
    new["metadata"] = {**metadata, **kept}


# ---- pods/ephemeralcontainers


def _prepare_ephemeral(new: Object, old: Object) -> None:
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    _keep_all(new, old)
    new["spec"] = dict(new["spec"])
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted
    else:
        new["spec"].pop("ephemeralContainers", None)
    _count_generation(new, old)


def _count_generation(new: Object, old: Object) -> None:
    if new["spec"] != old["spec"] and "generation" in old["metadata"]:
        new["metadata"]["generation"] = old["metadata"]["generation"] + 1


class _Ephemeral:
    def __init__(self, pod: ResourceType) -> None:
        self._pod = pod

    def validate(self, new: Object, old: Object) -> Iterator[Cause]:
        path = "spec.ephemeralContainers"
        for cause in self._pod.validate(new):
            if cause.field.startswith(path) and "cannot be set on create" not in cause.message:
                yield cause
        after = {c["name"]: c for c in new["spec"].get("ephemeralContainers") or ()}
        for container in old["spec"].get("ephemeralContainers") or ():
            name = container["name"]
            if name not in after:
                yield field.forbidden(
                    path, f"existing ephemeral containers {quote(name)} may not be removed\n"
                )
            elif after[name] != container:
                yield field.forbidden(
                    path, f"existing ephemeral containers {quote(name)} may not be changed\n"
                )


# ---- pods/resize


def _prepare_resize(new: Object, old: Object) -> None:
    wanted = {
        kind: {c.get("name"): c for c in (new.get("spec") or {}).get(kind) or ()}
        for kind in ("containers", "initContainers")
    }
    _keep_all(new, old)
    new["spec"] = dict(new["spec"])
    for kind, by_name in wanted.items():
        if new["spec"].get(kind):
            new["spec"][kind] = [_resized(c, by_name.get(c["name"])) for c in new["spec"][kind]]
    _count_generation(new, old)


def _resized(container: Object, wanted: Object | None) -> Object:
    if wanted is None:
        return container
    changed = dict(container)
    for key in ("resources", "resizePolicy"):
        if key in wanted:
            changed[key] = wanted[key]
        else:
            changed.pop(key, None)
    return changed


class _Resize:
    def __init__(self, pod: ResourceType) -> None:
        self._pod = pod

    def validate(self, new: Object, old: Object) -> Iterator[Cause]:
        yield from (c for c in self._pod.validate(new) if ".resources" in c.field)
        if _qos_of(new) != _qos_of(old):
            text = "Pod QOS Class may not change as a result of resizing"
            yield field.invalid("spec", _qos_of(new), text)
        for kind in ("containers", "initContainers"):
            before = {c["name"]: c for c in old["spec"].get(kind) or ()}
            for index, container in enumerate(new["spec"].get(kind) or ()):
                own = before[container["name"]].get("resources") or {}
                yield from _kept_amounts(
                    f"spec.{kind}[{index}].resources", container.get("resources") or {}, own
                )


def _kept_amounts(path: str, new: Object, old: Object) -> Iterator[Cause]:
    for key in ("limits", "requests"):
        after, before = new.get(key) or {}, old.get(key) or {}
        gone = sorted(name for name in ("cpu", "memory") if name in before and name not in after)
        for name in gone:
            yield field.forbidden(f"{path}.{key}", f"resource {key} cannot be removed: {name}")
        others = sorted(
            name for name in {*after, *before} - {"cpu", "memory"} if after.get(name) != before.get(name)
        )
        if others:
            yield field.forbidden(path, "only cpu and memory resources are mutable")


def _qos_of(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort. Upstream: pkg/apis/core/helper/qos/qos.go."""
    containers = [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]
    amounts = [(c.get("resources") or {}).get(k) or {} for c in containers for k in ("requests", "limits")]
    if not any(a.get(name) for a in amounts for name in ("cpu", "memory")):
        return "BestEffort"
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            if not limits.get(name) or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"


# ---- namespaces/finalize


def _prepare_finalize(new: Object, old: Object) -> None:
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)


def _validate_finalize(new: Object, old: Object) -> Iterator[Cause]:
    for index, name in enumerate((new.get("spec") or {}).get("finalizers") or ()):
        path = f"spec.finalizers[{index}]"
        for message in names.qualified_name(name):
            yield field.invalid(path, name, message)
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield field.invalid(path, name, text)


# ---- certificatesigningrequests/approval

_DECISIONS = ("Approved", "Denied")


class _Approval:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def prepare(self, new: Object, old: Object) -> None:
        conditions = list((new.get("status") or {}).get("conditions") or ())
        metadata = new["metadata"]
        _keep_all(new, old)
        new["metadata"] = metadata
        new["status"] = dict(old.get("status") or {})
        set_condition_times(conditions, (old.get("status") or {}).get("conditions") or [], self._clock.now())
        if conditions:
            new["status"]["conditions"] = conditions
        else:
            new["status"].pop("conditions", None)


def set_condition_times(conditions: list[Object], before: list[Object], now: float) -> None:
    text = format_time(now)
    for condition in conditions:
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = text
        if not condition.get("lastTransitionTime"):
            same = (
                c
                for c in before
                if c.get("type") == condition.get("type") and c.get("status") == condition.get("status")
            )
            condition["lastTransitionTime"] = next((c.get("lastTransitionTime") for c in same), None) or text


def _validate_approval(new: Object, old: Object) -> Iterator[Cause]:
    path = "status.conditions"
    after = (new.get("status") or {}).get("conditions") or []
    before = (old.get("status") or {}).get("conditions") or []
    kinds = [c.get("type", "") for c in after]
    for decision in _DECISIONS:
        had = [c for c in before if c.get("type") == decision]
        has = [c for c in after if c.get("type") == decision]
        if had and not has:
            yield field.forbidden(path, f"updates may not remove a condition of type {quote(decision)}")
        elif [c.get("status") for c in has] != [c.get("status") for c in had] and had:
            yield field.forbidden(path, f"updates may not modify a condition of type {quote(decision)}")
    for index, condition in enumerate(after):
        yield from _condition_causes(f"{path}[{index}]", condition, kinds[:index])
    if all(decision in kinds for decision in _DECISIONS):
        second = max(_DECISIONS, key=kinds.index)
        yield field.invalid(path, second, "Approved and Denied conditions are mutually exclusive")


def _condition_causes(path: str, condition: Object, earlier: list[str]) -> Iterator[Cause]:
    kind, status = condition.get("type", ""), condition.get("status", "")
    if not kind:
        yield field.required(f"{path}.type")
    if not status:
        yield field.required(f"{path}.status")
    elif status not in ("True", "False", "Unknown"):
        yield field.not_supported(f"{path}.status", status, ("False", "True", "Unknown"))
    elif kind in (*_DECISIONS, "Failed") and status != "True":
        yield field.not_supported(f"{path}.status", status, ("True",))
    if kind and kind in earlier:
        yield field.duplicate(f"{path}.type", kind)
