"""What environment variables and downward API files may refer to.

Upstream: pkg/apis/core/validation/validation.go, pkg/apis/core/pods/helpers.go, pkg/fieldpath/fieldpath.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from timonel.apis import checks
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
VOLUME_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
_KNOWN = frozenset((*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"))
_MAPS = ("metadata.annotations", "metadata.labels")

RESOURCES = ("limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
             "requests.memory")  # fmt: skip
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
# what the resource ends in -> (divisors, how they are called)
_DIVISORS = {
    "cpu": (("1m", "1"), "1m and 1 are supported with the cpu resource"),
    "memory": (_BYTE_DIVISORS, f"{', '.join(_BYTE_DIVISORS)} are supported with the memory resource"),
    "ephemeral-storage": (
        _BYTE_DIVISORS,
        f"{', '.join(_BYTE_DIVISORS)} are supported with the local ephemeral storage resource",
    ),
    "hugepages": (_BYTE_DIVISORS, f"{', '.join(_BYTE_DIVISORS)} are supported with the hugepages resource"),
}


def split_subscript(text: str) -> tuple[str, str] | None:
    """`metadata.labels['key']` as (path, key); None without a subscript."""
    if not text.endswith("']"):
        return None
    path, found, key = text[:-2].partition("['")
    return (path, key) if found and path else None


def _conversion_error(version: str, path: str) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    parts = split_subscript(path)
    if parts is not None:
        return "" if parts[0] in _MAPS else f"field label does not support subscript: {path}"
    return "" if path in _KNOWN or path == "spec.host" else f"field label not supported: {path}"


def validate_field_ref(path: str, ref: Object, allowed: tuple[str, ...]) -> Iterator[Cause]:
    version, name = ref.get("apiVersion", ""), ref.get("fieldPath", "")
    if not version:
        yield field.required(f"{path}.apiVersion")
        return
    if not name:
        yield field.required(f"{path}.fieldPath")
        return
    error = _conversion_error(version, name)
    if error:
        yield field.invalid(f"{path}.fieldPath", name, f"error converting fieldPath: {error}")
        return
    parts = split_subscript(name)
    if parts is not None:
        key = parts[1].lower() if parts[0] == "metadata.annotations" else parts[1]
        yield from checks.told(path, key, names.qualified_name(key))
    else:
        internal = "spec.nodeName" if name == "spec.host" else name
        if internal not in allowed:
            yield field.not_supported(f"{path}.fieldPath", internal, allowed)


def validate_resource_ref(path: str, ref: Object, *, in_volume: bool) -> Iterator[Cause]:
    resource = ref.get("resource", "")
    if in_volume and not ref.get("containerName"):
        yield field.required(f"{path}.containerName")
    elif not resource:
        yield field.required(f"{path}.resource")
    elif resource not in RESOURCES and not resource.startswith(_HUGE_PAGES):
        yield field.not_supported(f"{path}.resource", resource, RESOURCES)
    yield from _validate_divisor(f"{path}.divisor", resource, ref.get("divisor"))


def _validate_divisor(path: str, resource: str, divisor: str | None) -> Iterator[Cause]:
    if divisor is None or not checks.quantity(divisor):
        return
    kind = "hugepages" if resource.startswith(_HUGE_PAGES) else resource.partition(".")[2]
    rule = _DIVISORS.get(kind) if resource in RESOURCES or kind == "hugepages" else None
    if rule is not None and str(checks.quantity(divisor)) not in rule[0]:
        yield field.invalid(path, resource, f"only divisor's values {rule[1]}")


def _key_ref(path: str, ref: Object) -> Iterator[Cause]:
    name, key = ref.get("name", ""), ref.get("key", "")
    yield from checks.told(f"{path}.name", name, names.dns1123_subdomain(name))
    if not key:
        yield field.required(f"{path}.key")
    else:
        yield from checks.told(f"{path}.key", key, names.config_map_key(key))


def _file_key_ref(path: str, ref: Object, volumes: Mapping[str, Object]) -> Iterator[Cause]:
    key, volume, file = ref.get("key", ""), ref.get("volumeName", ""), ref.get("path", "")
    if not key:
        yield field.required(f"{path}.key")
    else:
        yield from checks.told(f"{path}.key", key, names.relaxed_env_var_name(key))
    if not volume:
        yield field.required(f"{path}.volumeName")
    else:
        yield from checks.label(f"{path}.volumeName", volume)
    if not file:
        yield field.required(f"{path}.path")
    elif file.startswith("/"):
        yield field.invalid(f"{path}.path", file, "must be a relative path")
    elif ".." in file.split("/"):
        yield field.invalid(f"{path}.path", file, "must not contain '..'")
    if volume not in volumes:
        yield field.not_found(f"{path}.volumeName", volume)
    elif volumes[volume].get("emptyDir") is None:
        yield field.invalid(f"{path}.volumeName", volume, "referenced volume must be of type emptyDir")


def validate_env(path: str, variables: list[Object], volumes: Mapping[str, Object]) -> Iterator[Cause]:
    for index, variable in enumerate(variables):
        name = variable.get("name", "")
        if not name:
            yield field.required(f"{path}[{index}].name")
        else:
            yield from checks.told(f"{path}[{index}].name", name, names.relaxed_env_var_name(name))
        source = variable.get("valueFrom")
        if source is not None:
            yield from _validate_source(
                f"{path}[{index}].valueFrom", source, variable.get("value", ""), volumes
            )


def _validate_source(path: str, source: Object, value: str, volumes: Mapping[str, Object]) -> Iterator[Cause]:
    count = 0
    for key in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"):
        ref = source.get(key)
        if ref is None:
            continue
        count += 1
        where = f"{path}.{key}"
        if key == "fieldRef":
            yield from validate_field_ref(where, ref, ENV_FIELDS)
        elif key == "resourceFieldRef":
            yield from validate_resource_ref(where, ref, in_volume=False)
        elif key == "fileKeyRef":
            yield from _file_key_ref(where, ref, volumes)
        else:
            yield from _key_ref(where, ref)
    if not count:
        message = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or"
            " `fileKeyRef`"
        )
        yield field.invalid(path, "", message)
    elif value:
        yield field.invalid(path, "", "may not be specified when `value` is not empty")
    elif count > 1:
        yield field.invalid(path, "", "may not have more than one field specified at a time")


def validate_env_from(path: str, sources: list[Object]) -> Iterator[Cause]:
    for index, source in enumerate(sources):
        where = f"{path}[{index}]"
        prefix = source.get("prefix", "")
        if prefix:
            yield from checks.told(f"{where}.prefix", prefix, names.relaxed_env_var_name(prefix))
        count = 0
        for key in ("configMapRef", "secretRef"):
            ref = source.get(key)
            if ref is None:
                continue
            count += 1
            name = ref.get("name", "")
            if not name:
                yield field.required(f"{where}.{key}.name")
            else:
                rule = names.name_is_dns_subdomain(name, True)
                yield from checks.told(f"{where}.{key}.name", name, rule)
        if not count:
            yield field.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif count > 1:
            yield field.invalid(path, "", "may not have more than one field specified at a time")
