"""What may change in a pod: the object itself and its status.

Upstream: pkg/apis/core/validation/validation.go, pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.core.pod_alike import Alike
from timonel.apis.core.pod_security import APPARMOR
from timonel.apis.core.pod_spec import MIRROR, validate_annotations, validate_metadata_and_spec
from timonel.apis.core.podstructs import spec_diff
from timonel.apis.tolerations import validate_toleration
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, nested

_MAX_INT32 = 2**31 - 1
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def prepare_status_update(new: Object, old: Object) -> None:
    """Owners stay, and a class that an old node agent forgot comes back."""
    status = new.setdefault("status", {})
    if old["metadata"].get("ownerReferences"):
        new["metadata"]["ownerReferences"] = old["metadata"]["ownerReferences"]
    else:
        new["metadata"].pop("ownerReferences", None)
    known = nested(old, "status", "qosClass")
    if not status.get("qosClass") and known:
        status["qosClass"] = known


# ---- the object


def validate_pod_update(new: Object, old: Object, sound: Alike | None = None) -> Iterator[Cause]:
    yield from validate_metadata_and_spec(new, sound)
    yield from _validate_annotations_update(new, old)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    for key in ("containers", "initContainers"):
        path = f"spec.{key}"
        now, was = spec.get(key) or [], before.get(key) or []
        if len(now) != len(was):
            yield field.forbidden(path, "pod updates may not add or remove containers")
            return
        for index, container in enumerate(now):
            yield from _validate_image(f"{path}[{index}].image", container.get("image", ""))
    deadline = list(_validate_deadline("spec.activeDeadlineSeconds", spec, before))
    yield from deadline
    if deadline and spec.get("activeDeadlineSeconds") is not None:
        return
    yield from _validate_tolerations("spec.tolerations", spec, before)
    yield from _validate_gates("spec.schedulingGates", spec, before)
    if spec != before:
        yield from _validate_rest(spec, before)


def _validate_image(path: str, image: str) -> Iterator[Cause]:
    if not image:
        yield field.required(path)
    if image.strip() != image:
        yield field.invalid(path, image, "must not have leading or trailing whitespace")


def _validate_annotations_update(new: Object, old: Object) -> Iterator[Cause]:
    now = new["metadata"].get("annotations") or {}
    was = old["metadata"].get("annotations") or {}
    path = "metadata.annotations"
    for key in sorted(was):
        if now.get(key) != was[key]:
            if key.startswith(APPARMOR):
                yield field.forbidden(f"{path}[{key}]", "may not remove or update AppArmor annotations")
            if key == MIRROR:
                yield field.forbidden(f"{path}[{key}]", "may not remove or update mirror pod annotation")
    for key in sorted(now.keys() - was.keys()):
        if key.startswith(APPARMOR):
            yield field.forbidden(f"{path}[{key}]", "may not add AppArmor annotations")
        if key == MIRROR:
            yield field.forbidden(f"{path}[{key}]", "may not add mirror pod annotation")
    yield from validate_annotations(path, now, new.get("spec") or {})


def _validate_deadline(path: str, spec: Object, before: Object) -> Iterator[Cause]:
    now, was = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if now is None:
        if was is not None:
            yield field.invalid(path, None, "must not update from a positive integer to nil value")
    elif not 0 <= now <= _MAX_INT32:
        yield field.invalid(path, now, names.between(0, _MAX_INT32))
    elif was is not None and was < now:
        yield field.invalid(path, now, "must be less than or equal to previous value")


def _validate_tolerations(path: str, spec: Object, before: Object) -> Iterator[Cause]:
    now = spec.get("tolerations") or []
    for old in before.get("tolerations") or ():
        if not any(_same_toleration(old, new) for new in now):
            message = "existing toleration can not be modified except its tolerationSeconds"
            yield field.forbidden(path, message)
            return
    yield from checks.each(path, now, validate_toleration)


def _same_toleration(one: Object, other: Object) -> bool:
    seconds = "tolerationSeconds"
    return {k: v for k, v in one.items() if k != seconds} == {k: v for k, v in other.items() if k != seconds}


def _validate_gates(path: str, spec: Object, before: Object) -> Iterator[Cause]:
    was = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in was:
            message = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
            yield field.forbidden(f"{path}[{index}].name", message)


def _validate_rest(spec: Object, before: Object) -> Iterator[Cause]:
    """Everything that is not named as updatable must be as it was."""
    rest = _put_back(spec, before)
    if before.get("schedulingGates"):
        yield from _validate_gated(rest, before)
    if rest != before:
        text = f"pod updates may not change fields other than {_UPDATABLE}\n{spec_diff(before, rest)}"
        yield field.forbidden("spec", text)


def _put_back(spec: Object, before: Object) -> Object:
    """The new spec with the old values where changes are allowed."""
    rest = dict(spec)
    for key in ("containers", "initContainers"):
        if spec.get(key):
            pairs = zip(spec[key], before[key], strict=True)
            rest[key] = [{**new, "image": old.get("image", "")} for new, old in pairs]
    for key in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _restore(rest, before, key)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        _restore(rest, before, "terminationGracePeriodSeconds")
    return rest


def _restore(rest: Object, before: Object, key: str) -> None:
    if key in before:
        rest[key] = before[key]
    else:
        rest.pop(key, None)


def _validate_gated(rest: Object, before: Object) -> Iterator[Cause]:
    """A pod that waits at a gate may be told more precisely where to run."""
    if rest.get("nodeSelector") != before.get("nodeSelector"):
        now, was = rest.get("nodeSelector") or {}, before.get("nodeSelector") or {}
        if any(now.get(key) != value for key, value in was.items()):
            message = "only additions to spec.nodeSelector are allowed (no deletions or mutations)"
            yield field.invalid("spec.nodeSelector", now, message)
        _restore(rest, before, "nodeSelector")
    now_affinity = nested(rest, "affinity", "nodeAffinity")
    was_affinity = nested(before, "affinity", "nodeAffinity")
    if now_affinity != was_affinity:
        if was_affinity is not None:
            yield from _validate_narrowed("spec.affinity.nodeAffinity", now_affinity or {}, was_affinity)
        affinity = {k: v for k, v in (rest.get("affinity") or {}).items() if k != "nodeAffinity"}
        if was_affinity is not None:
            affinity["nodeAffinity"] = was_affinity
        if affinity or before.get("affinity") is not None:
            rest["affinity"] = affinity
        else:
            rest.pop("affinity", None)


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _validate_narrowed(path: str, now: Object, was: Object) -> Iterator[Cause]:
    terms = nested(was, _REQUIRED, "nodeSelectorTerms") or []
    new_terms = nested(now, _REQUIRED, "nodeSelectorTerms") or []
    where = f"{path}.{_REQUIRED}.nodeSelectorTerms"
    if terms and len(terms) != len(new_terms):
        message = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield field.invalid(where, new_terms, message)
        return
    for index, (new, old) in enumerate(zip(new_terms, terms, strict=False)):
        for key in ("matchExpressions", "matchFields"):
            kept = old.get(key) or []
            if (new.get(key) or [])[: len(kept)] != kept or (not old and new):
                message = "only additions are allowed (no mutations or deletions)"
                yield field.invalid(f"{where}[{index}]", new, message)
                break


# ---- the status


def validate_status_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from _validate_annotations_update(new, old)
    status, before = new.get("status") or {}, old.get("status") or {}
    spec = old.get("spec") or {}
    for index, condition in enumerate(status.get("conditions") or ()):
        if condition.get("type") not in _SYSTEM_CONDITIONS:
            path = f"metadata.conditions[{index}].Type"  # where upstream looks for them in messages
            yield from checks.qualified_name(path, condition.get("type", ""))
    if nested(new, "spec", "nodeName") != spec.get("nodeName"):
        yield field.forbidden("status.nodeName", "may not be changed directly")
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        yield from checks.subdomain("status.nominatedNodeName", nominated)
    yield from checks.immutable("status.qosClass", status.get("qosClass", ""), before.get("qosClass", ""))
    policy = spec.get("restartPolicy", "")
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    yield from _validate_transitions("containerStatuses", status, before, policy)
    yield from _validate_transitions("initContainerStatuses", status, before, policy, sidecars)
    yield from _validate_transitions("ephemeralContainerStatuses", status, before, "Never")
    yield from _validate_ips("status.podIPs", status.get("podIPs") or [])
    addresses = status.get("hostIPs") or []
    if addresses and status.get("hostIP", "") != addresses[0].get("ip", ""):
        yield field.invalid("status.hostIPs[0].ip", addresses[0].get("ip", ""), "must be equal to `hostIP`")
    yield from _validate_ips("status.hostIPs", addresses)


def _validate_transitions(
    key: str, status: Object, before: Object, policy: str, sidecars: set[str | None] | None = None
) -> Iterator[Cause]:
    """What ended for good does not run again."""
    if policy == "Always":
        return
    running = {s.get("name") for s in status.get(key) or () if nested(s, "state", "terminated") is None}
    for index, old in enumerate(before.get(key) or ()):
        ended = nested(old, "state", "terminated")
        if (
            ended is None
            or (ended.get("exitCode") and policy == "OnFailure")
            or old.get("name") in (sidecars or ())
        ):
            continue
        if old.get("name") in running:
            message = "may not be transitioned to non-terminated state"
            yield field.forbidden(f"status.{key}[{index}].state", message)


def _validate_ips(path: str, addresses: list[Object]) -> Iterator[Cause]:
    texts = [address.get("ip", "") for address in addresses]
    yield from checks.each(path, texts, checks.ip)
    families = {":" in text for text in texts}
    if len(texts) > 2 or (len(texts) == 2 and len(families) != 2):
        shown = [{"IP": text} for text in texts]
        yield field.invalid(path, shown, "may specify no more than one IP for each IP family")
    for index, text in enumerate(texts):
        if text in texts[:index]:
            yield field.duplicate(f"{path}[{index}]", {"IP": text})
