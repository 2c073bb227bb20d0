"""LimitRanger: defaults and bounds of what containers, pods and claims in a namespace ask for.

Upstream: plugin/pkg/admission/limitranger/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object, annotations_of, is_deleting, nested
from timonel.objects.quotas import amounts, pod_total
from timonel.server.admission.attributes import WRITES, forbidden, joined
from timonel.server.request import AdmissionCall, Operation, Reader

ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, Quantity]


class LimitRanger:
    name = "LimitRanger"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if (resource.qualified, subresource) == ("pods", "resize"):
            return operation is Operation.UPDATE
        if subresource:
            return False
        if resource.qualified == "persistentvolumeclaims":
            return operation in WRITES
        return resource.qualified == "pods" and operation is Operation.CREATE

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        if call.resource.qualified == "pods" and not call.subresource:
            for limit_range in self._ranges(call.namespace):
                _fill_in(call.obj, limit_range)

    async def validate(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        if is_deleting(call.obj):
            return
        check = _pod_problems if call.resource.qualified == "pods" else _claim_problems
        for limit_range in self._ranges(call.namespace):
            problems = [
                p for limit in limit_range["spec"].get("limits") or () for p in check(limit, call.obj)
            ]
            if problems:
                raise forbidden(call, joined(problems))

    def _ranges(self, namespace: str) -> list[Object]:
        found = self._reader.list("limitranges", namespace)
        return sorted(found, key=lambda r: str(r["metadata"]["name"])) if len(found) > 1 else list(found)


def _fill_in(pod: Object, limit_range: Object) -> None:
    defaults: dict[str, dict[str, Any]] = {"requests": {}, "limits": {}}
    for limit in limit_range["spec"].get("limits") or ():
        if limit.get("type") == "Container":
            defaults["requests"].update(limit.get("defaultRequest") or {})
            defaults["limits"].update(limit.get("default") or {})
    if not defaults["requests"] and not defaults["limits"]:
        return
    notes: list[str] = []
    for kind, title in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(kind) or ():
            notes += _fill_in_container(container, defaults, title)
    if notes:
        annotations = dict(annotations_of(pod))
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)
        pod["metadata"]["annotations"] = annotations


def _fill_in_container(
    container: Object, defaults: Mapping[str, Mapping[str, Any]], title: str
) -> Iterator[str]:
    resources = container.setdefault("resources", {})
    added: dict[str, list[str]] = {"requests": [], "limits": []}
    for key in ("limits", "requests"):
        own = dict(resources.get(key) or {})
        for name, value in defaults[key].items():
            if name not in own:
                own[name] = value
                added[key].append(name)
        if own:
            resources[key] = own
    for key in ("requests", "limits"):
        if added[key]:
            yield f"{', '.join(sorted(added[key]))} {key[:-1]} for {title} {container['name']}"


def _pod_problems(limit: Object, pod: Object) -> Iterator[str]:
    spec = pod["spec"]
    if limit.get("type") == "Container":
        for kind in ("containers", "initContainers"):
            for container in spec.get(kind) or ():
                resources = container.get("resources") or {}
                yield from _bounds(
                    limit, amounts(resources.get("requests")), amounts(resources.get("limits"))
                )
    elif limit.get("type") == "Pod":
        yield from _bounds(limit, pod_total(spec, "requests"), pod_total(spec, "limits"))


def _claim_problems(limit: Object, claim: Object) -> Iterator[str]:
    if limit.get("type") != "PersistentVolumeClaim":
        return
    requests = amounts(nested(claim, "spec", "resources", "requests"))
    for name, least in sorted(amounts(limit.get("min")).items()):
        yield from _minimum("PersistentVolumeClaim", name, least, requests, {})
    for name, most in sorted(amounts(limit.get("max")).items()):
        given = requests.get(name)
        what = f"maximum {name} usage per PersistentVolumeClaim is {most}"
        if given is None:
            yield f"{what}, but no request is specified"
        elif most < given:
            yield f"{what}, but request is {given}"


def _bounds(limit: Object, requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = limit["type"]
    for name, least in sorted(amounts(limit.get("min")).items()):
        yield from _minimum(kind, name, least, requests, limits)
    for name, most in sorted(amounts(limit.get("max")).items()):
        yield from _maximum(kind, name, most, requests, limits)
    for name, ratio in sorted(amounts(limit.get("maxLimitRequestRatio")).items()):
        yield from _ratio(kind, name, ratio, requests, limits)


def _minimum(kind: str, name: str, least: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    what = f"minimum {name} usage per {kind} is {least}"
    if name not in requests:
        yield f"{what}.  No request is specified"
    elif requests[name] < least:
        yield f"{what}, but request is {requests[name]}"
    elif name in limits and limits[name] < least:
        yield f"{what}, but limit is {limits[name]}"


def _maximum(kind: str, name: str, most: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    what = f"maximum {name} usage per {kind} is {most}"
    if name not in limits:
        yield f"{what}.  No limit is specified"
    elif most < limits[name]:
        yield f"{what}, but limit is {limits[name]}"
    elif name in requests and most < requests[name]:
        yield f"{what}, but request is {requests[name]}"


def _ratio(kind: str, name: str, most: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    what = f"{name} max limit to request ratio per {kind} is {most}"
    if not requests.get(name):
        yield f"{what}, but no request is specified or request is 0"
    elif not limits.get(name):
        yield f"{what}, but no limit is specified or limit is 0"
    else:
        ratio = float(limits[name]) / float(requests[name])
        if ratio > float(most):
            yield f"{what}, but provided ratio is {ratio:f}"
