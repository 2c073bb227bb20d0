"""Rules for containers: regular, init and ephemeral ones.

Upstream: pkg/apis/core/validation/validation.go validateContainerCommon, validateContainers, validateInitContainers.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.core import pod_refs, pod_resources
from timonel.apis.core.pod_probes import validate_lifecycle, validate_probes
from timonel.apis.core.pod_security import validate_container_context
from timonel.apis.core.pod_volumes import descending_path
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object
from timonel.records import dataclass

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_MAX_RULES, _MAX_RULE_CODES = 20, 255


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules for a container must know of its pod."""

    volumes: dict[str, Object]
    claims: set[str]
    grace: int | None
    restart_policy: str
    host_users: bool


def validate_containers(path: str, containers: list[Object], pod: Surroundings) -> Iterator[Cause]:
    if not containers:
        yield field.required(path)
        return
    seen: set[str] = set()
    for index, container in enumerate(containers):
        where = f"{path}[{index}]"
        yield from _validate_common(where, container, pod)
        name = container.get("name", "")
        if name in seen:
            yield field.duplicate(f"{where}.name", name)
        seen.add(name)
        if container.get("lifecycle") is not None:
            yield from validate_lifecycle(f"{where}.lifecycle", container["lifecycle"], pod.grace)
        yield from validate_probes(where, container, pod.grace)
        yield from _validate_restart(where, container)
    yield from _validate_host_ports(path, containers)


def _validate_restart(path: str, container: Object) -> Iterator[Cause]:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules")
    if policy is not None:
        yield from checks.one_of(f"{path}.restartPolicy", policy, _RESTART_POLICIES)
    if rules:
        if policy is None:
            message = "must specify restartPolicy when restart rules are used"
            yield field.required(f"{path}.restartPolicy", message)
        if len(rules) > _MAX_RULES:
            yield field.too_long(f"{path}.restartPolicyRules", _MAX_RULES)
        yield from checks.each(f"{path}.restartPolicyRules", rules, _validate_restart_rule)


def _validate_restart_rule(path: str, rule: Object) -> Iterator[Cause]:
    action, codes = rule.get("action", ""), rule.get("exitCodes")
    yield from checks.one_of(f"{path}.action", action, ("Restart", "RestartAllContainers"))
    if codes is None:
        yield field.required(f"{path}.exitCodes", "must be specified")
        return
    yield from checks.one_of(f"{path}.exitCodes.operator", codes.get("operator", ""), ("In", "NotIn"))
    if len(codes.get("values") or ()) > _MAX_RULE_CODES:
        yield field.too_long(f"{path}.exitCodes.values", _MAX_RULE_CODES)


_SIDECAR_ONLY = "may not be set for init containers without restartPolicy=Always"


def validate_init_containers(
    path: str, containers: list[Object], regular: list[Object], pod: Surroundings
) -> Iterator[Cause]:
    seen = {c.get("name", "") for c in regular}
    for index, container in enumerate(containers):
        where = f"{path}[{index}]"
        yield from _validate_common(where, container, pod)
        sidecar = container.get("restartPolicy") == "Always"
        yield from _validate_restart(where, container)
        name = container.get("name", "")
        if name in seen:
            yield field.duplicate(f"{where}.name", name)
        elif name:
            seen.add(name)
        yield from _validate_host_ports(path, [container])
        if sidecar:
            if container.get("lifecycle") is not None:
                yield from validate_lifecycle(f"{where}.lifecycle", container["lifecycle"], pod.grace)
            yield from validate_probes(where, container, pod.grace)
        else:
            for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(key) is not None:
                    yield field.forbidden(f"{where}.{key}", _SIDECAR_ONLY)


_NOT_EPHEMERAL = ("ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe",
                  "readinessProbe", "startupProbe", "lifecycle")  # fmt: skip


def validate_ephemeral_containers(path: str, spec: Object, pod: Surroundings) -> Iterator[Cause]:
    others = {c.get("name", "") for key in ("containers", "initContainers") for c in spec.get(key) or ()}
    seen = set(others)
    message = "cannot be set for an Ephemeral Container"
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        where = f"{path}[{index}]"
        yield from _validate_common(where, container, pod)
        yield from validate_image_text(where, container)
        name, target = container.get("name", ""), container.get("targetContainerName", "")
        if name in seen:
            yield field.duplicate(f"{where}.name", name)
        seen.add(name)
        if target and target not in others:
            yield field.not_found(f"{where}.targetContainerName", target)
        for key in _NOT_EPHEMERAL:
            if container.get(key):
                yield field.forbidden(f"{where}.{key}", message)
        for at, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    yield field.forbidden(f"{where}.volumeMounts[{at}].{key}", message)


def validate_image_text(path: str, container: Object) -> Iterator[Cause]:
    image = container.get("image", "")
    if image.strip() != image:
        yield field.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")


def _validate_common(path: str, container: Object, pod: Surroundings) -> Iterator[Cause]:
    name = container.get("name", "")
    if not name:
        yield field.required(f"{path}.name")
    else:
        wrong = names.dns1123_label(name)
        if wrong:
            yield from checks.told(f"{path}.name", name, wrong)
    if not container.get("image"):
        yield field.required(f"{path}.image")
    policy = container.get("terminationMessagePolicy", "")
    if policy not in _MESSAGE_POLICIES:
        yield field.not_supported(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES)
    if container.get("ports"):
        yield from _validate_ports(f"{path}.ports", container["ports"])
    if container.get("env"):
        yield from pod_refs.validate_env(f"{path}.env", container["env"], pod.volumes)
    if container.get("envFrom"):
        yield from pod_refs.validate_env_from(f"{path}.envFrom", container["envFrom"])
    if container.get("volumeMounts"):
        yield from _validate_mounts(f"{path}.volumeMounts", container, pod.volumes)
    if container.get("volumeDevices"):
        yield from _validate_devices(f"{path}.volumeDevices", container, pod.volumes)
    pull = container.get("imagePullPolicy", "")
    if pull not in _PULL_POLICIES:
        yield field.not_supported(f"{path}.imagePullPolicy", pull, _PULL_POLICIES)
    if container.get("resources"):
        yield from pod_resources.validate_requirements(
            f"{path}.resources", container["resources"], pod.claims
        )
    if container.get("resizePolicy"):
        where = f"{path}.resizePolicy"
        yield from pod_resources.validate_resize_policy(where, container["resizePolicy"], pod.restart_policy)
    if container.get("securityContext"):
        where = f"{path}.securityContext"
        yield from validate_container_context(where, container["securityContext"], pod.host_users)


def _validate_ports(path: str, ports: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        name = port.get("name", "")
        if name:
            wrong = names.port_name(name)
            if wrong:
                # As upstream, whose loop over the messages takes the port's own index.
                yield from checks.told(f"{where}.name", name, wrong)
            elif name in seen:
                yield field.duplicate(f"{where}.name", name)
            seen.add(name)
        number, on_host = port.get("containerPort", 0), port.get("hostPort", 0)
        if not number:
            yield field.required(f"{where}.containerPort")
        else:
            yield from checks.port_number(f"{where}.containerPort", number)
        if on_host:
            yield from checks.port_number(f"{where}.hostPort", on_host)
        protocol = port.get("protocol", "")
        if not protocol:
            yield field.required(f"{where}.protocol")
        elif protocol not in _PROTOCOLS:
            yield field.not_supported(f"{where}.protocol", protocol, _PROTOCOLS)


def _validate_host_ports(path: str, containers: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for at, container in enumerate(containers):
        for index, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in seen:
                yield field.duplicate(f"{path}[{at}].ports[{index}].hostPort", key)
            seen.add(key)


def _validate_mounts(path: str, container: Object, volumes: dict[str, Object]) -> Iterator[Cause]:
    devices = container.get("volumeDevices") or ()
    device_names = {d.get("name", "") for d in devices}
    device_paths = {d.get("devicePath", "") for d in devices}
    seen: set[str] = set()
    for index, mount in enumerate(container["volumeMounts"]):
        where = f"{path}[{index}]"
        name, at = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield field.required(f"{where}.name")
        if name not in volumes:
            yield field.not_found(f"{where}.name", name)
        if not at:
            yield field.required(f"{where}.mountPath")
        if at in seen:
            yield field.invalid(f"{where}.mountPath", at, "must be unique")
        seen.add(at)
        if name in device_names:
            yield field.invalid(f"{where}.name", name, "must not already exist in volumeDevices")
        if at in device_paths:
            message = "must not already exist as a path in volumeDevices"
            yield field.invalid(f"{where}.mountPath", at, message)
        yield from _validate_sub_path(path, where, mount, volumes.get(name))
        yield from _validate_propagation(path, mount, container)


def _validate_sub_path(path: str, where: str, mount: Object, volume: Object | None) -> Iterator[Cause]:
    sub, expression = mount.get("subPath", ""), mount.get("subPathExpr", "")
    if volume is not None and volume.get("image") is not None:
        for key, text in (("subPathExpr", expression),):
            if text:
                yield field.invalid(f"{where}.{key}", text, "not allowed in image volume sources")
    if sub:
        yield from descending_path(f"{path}.subPath", sub)
    if expression:
        if sub:
            message = "subPathExpr and subPath are mutually exclusive"
            yield field.invalid(f"{where}.subPathExpr", expression, message)
        yield from descending_path(f"{path}.subPathExpr", expression)


def _validate_propagation(path: str, mount: Object, container: Object) -> Iterator[Cause]:
    propagation, recursive = mount.get("mountPropagation"), mount.get("recursiveReadOnly")
    if propagation is not None:
        yield from checks.one_of(f"{path}.mountPropagation", propagation, _PROPAGATIONS)
        if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            message = "Bidirectional mount propagation is available only to privileged containers"
            yield field.forbidden(f"{path}.mountPropagation", message)
    if recursive is None or recursive == "Disabled":
        return
    where = f"{path}.recursiveReadOnly"
    if recursive not in _RECURSIVE:
        yield field.not_supported(where, recursive, _RECURSIVE)
        return
    if not mount.get("readOnly"):
        yield field.forbidden(where, "may only be specified when readOnly is true")
    if propagation not in (None, "None"):
        message = "may only be specified when mountPropagation is None or not specified"
        yield field.forbidden(where, message)


def _validate_devices(path: str, container: Object, volumes: dict[str, Object]) -> Iterator[Cause]:
    mounts = container.get("volumeMounts") or ()
    mount_names = {m.get("name", "") for m in mounts}
    mount_paths = {m.get("mountPath", "") for m in mounts}
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for index, device in enumerate(container["volumeDevices"]):
        where = f"{path}[{index}]"
        name, at = device.get("name", ""), device.get("devicePath", "")
        volume = volumes.get(name)
        if not name:
            yield field.required(f"{where}.name")
        if name in seen_names:
            yield field.invalid(f"{where}.name", name, "must be unique")
        if (
            volume is not None
            and volume.get("persistentVolumeClaim") is None
            and volume.get("ephemeral") is None
        ):
            message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield field.invalid(f"{where}.name", name, message)
        if volume is None:
            yield field.not_found(f"{where}.name", name)
        if not at:
            yield field.required(f"{where}.devicePath")
        if at in seen_paths:
            yield field.invalid(f"{where}.devicePath", at, "must be unique")
        if ".." in at.split("/"):
            yield field.invalid(f"{where}.devicePath", at, "can not contain backsteps ('..')")
        else:
            seen_paths.add(at)
        if name in mount_names:
            yield field.invalid(f"{where}.name", name, "must not already exist in volumeMounts")
        if at in mount_paths:
            message = "must not already exist as a path in volumeMounts"
            yield field.invalid(f"{where}.devicePath", at, message)
        if name:
            seen_names.add(name)
