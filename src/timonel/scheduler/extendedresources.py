"""Extended resources that device classes stand for: a node that does not offer them itself may have such devices. Pure.

A pod that asks for one in its containers' requests gets a claim of its own, made by the scheduler.

Upstream: pkg/scheduler/framework/plugins/dynamicresources/extendeddynamicresources.go,
dynamic-resource-allocation/deviceclass/extendedresourcecache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object
from timonel.scheduler.framework import State
from timonel.scheduler.podinfo import PodInfo

CLASSES = "deviceclasses.resource.k8s.io"
IMPLICIT = (
    "deviceclass.resource.kubernetes.io/"  # before the name of a class: what stands for it without its doing
)
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"

Mapped = dict[str, str]


def could_be(info: PodInfo) -> bool:
    """Whether a pod asks for anything that a class might stand for."""
    return any("/" in resource and not resource.startswith("hugepages-") for resource in info.requests)


def mapped(state: State) -> Mapping[str, str]:
    """Of what the pod asks for: the names of the classes that stand for it."""
    if not could_be(state.info):
        return {}
    return state.once("extended resources", lambda: _mapped(state.info, state.reads.list(CLASSES)))


def _mapped(info: PodInfo, classes: Iterable[Object]) -> Mapped:
    found: Mapped = {}
    oldest_first = sorted(
        classes, key=lambda c: (c["metadata"].get("creationTimestamp") or "", c["metadata"]["name"])
    )
    for each in oldest_first:  # of several, the newest counts
        name = each["metadata"]["name"]
        for resource in (IMPLICIT + name, each["spec"].get("extendedResourceName")):
            if resource in info.requests:
                found[resource] = name
    return found


@dataclass(slots=True)
class Asked:
    """What a claim asks for in a pod's stead."""

    requests: list[Object] = field(default_factory=list)
    mappings: list[Object] = field(default_factory=list)  # which container's resource is which request


def asked(spec: Mapping[str, Any], classes: Mapping[str, str]) -> Asked:
    """Init containers that end use again what containers after them will have."""
    early = list(spec.get("initContainers") or ())
    containers = [*early, *spec["containers"]]
    short = [i for i, c in enumerate(early) if c.get("restartPolicy") != "Always"]
    found = Asked()
    for resource in sorted(classes):
        _ask(found, containers, short, resource, classes[resource])
    found.requests.sort(key=lambda request: str(request["name"]))
    return found


def _ask(found: Asked, containers: Sequence[Object], short: Sequence[int], resource: str, name: str) -> None:
    lasting: dict[int, Object] = {}
    for number, container in enumerate(containers):
        if number not in short:
            request, mappings = _of(number, container, resource, name, ())
            if request is not None:
                lasting[number] = request
            found.mappings += mappings
    passing: list[Object] = []
    renamed: list[Object] = []
    for number in short:
        later = [request for at, request in lasting.items() if at >= number]
        request, mappings = _of(number, containers[number], resource, name, later)
        if request is not None:
            passing.append(request)
        renamed += mappings
    if passing:
        greatest = max(passing, key=lambda request: int(request["exactly"]["count"]))
        names = {request["name"] for request in passing}
        for mapping in renamed:
            if mapping["requestName"] in names:
                mapping["requestName"] = greatest["name"]
        found.requests.append(greatest)
    found.requests += lasting.values()
    found.mappings += renamed


def _of(
    number: int, container: Object, resource: str, class_name: str, reusable: Iterable[Object]
) -> tuple[Object | None, list[Object]]:
    requests = (container.get("resources") or {}).get("requests") or {}
    count = Quantity.parse(requests.get(resource, "0")).value()
    mappings: list[Object] = []
    if not count:
        return None, mappings

    def mapping(request: str) -> Object:
        return {"containerName": container["name"], "resourceName": resource, "requestName": request}

    for request in reusable:
        count -= request["exactly"]["count"]
        mappings.append(mapping(request["name"]))
        if count <= 0:
            return None, mappings
    own = f"container-{number}-request-{sorted(requests).index(resource)}"
    exactly = {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count}
    return {"name": own, "exactly": exactly}, [*mappings, mapping(own)]


def claim_for(info: PodInfo, uid: str) -> Object:
    """As it is before anything is known of a node; its name is given when it is created."""
    meta = info.pod["metadata"]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "namespace": info.key.namespace,
            "name": "",
            "generateName": f"{meta['name']}-extended-resources-",
            "uid": uid,
            "annotations": {ANNOTATION: "true"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": info.uid, "controller": True}
            ],
        },
        "spec": {},
    }


def left_over(info: PodInfo, claims: Iterable[Object]) -> Object | None:
    """A claim that was made for the pod when it could not be bound after all."""
    for claim in claims:
        meta = claim["metadata"]
        if (meta.get("annotations") or {}).get(ANNOTATION) == "true" and any(
            owner.get("uid") == info.uid and owner.get("controller")
            for owner in meta.get("ownerReferences") or ()
        ):
            return claim
    return None
