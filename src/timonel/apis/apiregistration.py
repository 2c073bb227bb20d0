"""apiregistration.k8s.io/v1: APIService.

Upstream: kube-aggregator/pkg/apis/apiregistration/{v1/defaults.go,validation/validation.go},
kube-aggregator/pkg/registry/apiservice/{strategy.go,etcd/etcd.go}.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def default_api_service(obj: Object) -> None:
    service = (obj.get("spec") or {}).get("service")
    if service is not None and service.get("port") is None:
        service["port"] = 443


def prepare_create(obj: Object) -> None:
    obj["status"] = {}


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    group, version, name = spec.get("group", ""), spec.get("version", ""), obj["metadata"].get("name", "")
    wanted = f"{version}.{group}"
    if name and name != wanted:
        yield field.invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"')
    if group:
        yield from checks.subdomain("spec.group", group)
    elif version != "v1":
        yield field.required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    yield from checks.told("spec.version", version, names.dns1035_label(version))
    minimum, priority = spec.get("groupPriorityMinimum", 0), spec.get("versionPriority", 0)
    if not 0 < minimum <= 20000:
        message = "must be positive and less than 20000"
        yield field.invalid("spec.groupPriorityMinimum", minimum, message)
    if not 0 < priority <= 1000:
        yield field.invalid("spec.versionPriority", priority, "must be positive and less than 1000")
    yield from _validate_service(spec)


def _validate_service(spec: Object) -> Iterator[Cause]:
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if service is None:
        if bundle:
            message = "local APIServices may not have a caBundle"
            yield field.invalid("spec.caBundle", f"{_length(bundle)} bytes", message)
        if insecure:
            message = "local APIServices may not have insecureSkipTLSVerify"
            yield field.invalid("spec.insecureSkipTLSVerify", insecure, message)
        return
    for key in ("namespace", "name"):
        yield from checks.required(f"spec.service.{key}", service.get(key))
    port = service.get("port", 443)
    for message in names.port_number(port):
        yield field.invalid("spec.service.port", port, f"port is not valid: {message}")
    if insecure and bundle:
        message = "may not be true if caBundle is present"
        yield field.invalid("spec.insecureSkipTLSVerify", insecure, message)


def _length(bundle: str) -> int:
    try:
        return len(base64.b64decode(bundle))
    except (binascii.Error, ValueError):
        return len(bundle)


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


def _service(obj: Object, now: float) -> str:
    service = (obj.get("spec") or {}).get("service")
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service is not None else "Local"


def _available(obj: Object, now: float) -> str:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Available":
            status, reason = condition.get("status", ""), condition.get("reason", "")
            return str(status) if status == "True" else f"{status} ({reason})"
    return "Unknown"


API_SERVICE = ResourceType(
    group="apiregistration.k8s.io",
    version="v1",
    kind="APIService",
    plural="apiservices",
    namespaced=False,
    categories=("api-extensions",),
    status=True,
    unconditional_update=False,
    validate_name=names.path_segment_name,
    default=default_api_service,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    columns=(
        Column("Service", _service, description="The reference to the service that hosts this API endpoint."),
        Column("Available", _available, description="Whether this service is available."),
        AGE,
    ),
)

RESOURCES = (API_SERVICE,)
