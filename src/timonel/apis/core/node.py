"""core/v1: Node.

Upstream: pkg/apis/core/{v1/defaults.go,v1/conversion.go,validation/validation.go}, pkg/registry/core/node/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, labels_of, nested

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
ROLE_PREFIX, ROLE_LABEL = "node-role.kubernetes.io/", "kubernetes.io/role"


def default_node(obj: Object) -> None:
    spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
    if not status.get("allocatable") and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])
    first, ranges = spec.get("podCIDR"), spec.get("podCIDRs") or []
    if first and ranges[:1] != [first]:
        spec["podCIDRs"] = [first]  # the field of old speaks for clients that know no other
    elif ranges and not first:
        spec["podCIDR"] = ranges[0]


def prepare_create(obj: Object) -> None:
    obj.get("spec", {}).pop("configSource", None)  # the feature is gone


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})
    if "configSource" not in (old.get("spec") or {}):
        prepare_create(new)


def validate(obj: Object) -> Iterator[Cause]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    yield from _validate_taints(spec.get("taints") or [])
    for key in ("capacity", "allocatable"):
        for name, amount in sorted((status.get(key) or {}).items()):
            yield from checks.resource_quantity(f"status.{key}.{name}", name, amount)
    ranges: list[str] = spec.get("podCIDRs") or []
    yield from checks.each("spec.podCIDRs", ranges, checks.cidr)
    if len(ranges) > 1:
        yield from _validate_families("spec.podCIDRs", ranges)


def _validate_families(path: str, ranges: list[str]) -> Iterator[Cause]:
    parsed = [checks.parsed_cidr(text) for text in ranges]
    if None in parsed:
        at = parsed.index(None)
        why = f"invalid CIDR[{at}]: <nil> (invalid CIDR address: {ranges[at]})"
        yield field.internal(path, f"invalid PodCIDRs. failed to check with dual stack with error:{why}")
    if None in parsed or len(ranges) > 2 or len({found.version for found in parsed if found}) != 2:
        yield field.invalid(path, ranges, "may specify no more than one CIDR for each IP family")


def _validate_taints(taints: list[Object]) -> Iterator[Cause]:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        path = f"metadata.taints[{index}]"  # where upstream looks for them in messages
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        yield from checks.qualified_name(f"{path}.key", key)
        if value:
            yield from checks.told(f"{path}.value", value, names.label_value(value))
        if not effect:
            yield field.required(f"{path}.effect")
        else:
            yield from checks.one_of(f"{path}.effect", effect, EFFECTS)
        if (key, effect) in seen:
            shown = {"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            cause = field.duplicate(path, shown)
            message = f"{cause.message}: taints must be unique by key and effect pair"
            yield Cause(cause.type, message, path)
        seen.add((key, effect))


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)  # upstream does both, and says some things twice
    yield from validate_change(new, old)


def validate_change(new: Object, old: Object) -> Iterator[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    status = new.get("status") or {}
    for key in ("capacity", "allocatable"):
        for name, amount in sorted((status.get(key) or {}).items()):
            yield from checks.resource_quantity(f"status.{key}.{name}", name, amount)
    seen: set[tuple[object, object]] = set()
    for index, address in enumerate(status.get("addresses") or ()):
        known = (address.get("type"), address.get("address"))
        if known in seen:
            shown = {"Type": address.get("type", ""), "Address": address.get("address", "")}
            yield field.duplicate(f"status.addresses[{index}]", shown)
        seen.add(known)
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        yield field.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    elif spec.get("podCIDRs"):
        yield from checks.each("spec.podCIDRs", spec["podCIDRs"], checks.cidr)
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        yield field.forbidden(
            "spec.providerID", 'node updates may not change providerID except from "" to valid'
        )
    yield from _validate_taints(spec.get("taints") or [])


def warnings(obj: Object) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if spec.get("externalID"):
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from warnings(new)


# ---------------------------------------------------------------- columns


def _status_cell(obj: Object, now: float) -> str:
    conditions = nested(obj, "status", "conditions") or []
    ready = next((c for c in conditions if c.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if nested(obj, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(obj: Object, now: float) -> str:
    roles = set()
    for label, value in labels_of(obj).items():
        if label.startswith(ROLE_PREFIX) and label != ROLE_PREFIX:
            roles.add(label.removeprefix(ROLE_PREFIX))
        elif label == ROLE_LABEL and value:
            roles.add(value)
    return ",".join(sorted(roles)) or "<none>"


def _address(kind: str) -> Callable[[Object, float], str]:
    def cell(obj: Object, now: float) -> str:
        found = nested(obj, "status", "addresses") or []
        return next((str(a.get("address", "")) for a in found if a.get("type") == kind), "<none>")

    return cell


def _info(key: str) -> Callable[[Object, float], str]:
    return lambda obj, now: str(nested(obj, "status", "nodeInfo", key) or "<unknown>")


def _kernel(obj: Object, now: float) -> str:
    kernel, machine = (nested(obj, "status", "nodeInfo", key) for key in ("kernelVersion", "architecture"))
    if not kernel:
        return "<unknown>"
    return f"{kernel} ({machine})" if machine else str(kernel)


NODE = ResourceType(
    group="",
    version="v1",
    kind="Node",
    plural="nodes",
    namespaced=False,
    short_names=("no",),
    subresources=("proxy",),
    status=True,
    selectable={"spec.unschedulable": lambda o: "true" if nested(o, "spec", "unschedulable") else "false"},
    default=default_node,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_change,
    warnings=warnings,
    warnings_update=warnings_update,
    columns=(
        Column("Status", _status_cell, description="The status of the node"),
        Column("Roles", _roles, description="The roles of the node"),
        AGE,
        Column(
            "Version",
            lambda o, now: nested(o, "status", "nodeInfo", "kubeletVersion") or "",
            doc="status.nodeInfo.kubeletVersion",
        ),
        Column("Internal-IP", _address("InternalIP"), priority=1, doc="status.addresses"),
        Column("External-IP", _address("ExternalIP"), priority=1, doc="status.addresses"),
        Column("OS-Image", _info("osImage"), priority=1, doc="status.nodeInfo.osImage"),
        Column("Kernel-Version", _kernel, priority=1, doc="status.nodeInfo.kernelVersion"),
        Column(
            "Container-Runtime",
            _info("containerRuntimeVersion"),
            priority=1,
            doc="status.nodeInfo.containerRuntimeVersion",
        ),
    ),
)

RESOURCES = (NODE,)
