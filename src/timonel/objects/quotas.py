"""What objects take from a ResourceQuota, by the names that quotas use, and which pods a quota's scopes mean.

Upstream: pkg/quota/v1/evaluator/core/{pods,services,persistent_volume_claims}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timonel.machinery.quantity import Quantity
from timonel.objects import pods
from timonel.objects.meta import Object, nested

Usage = dict[str, Quantity]

COMPUTE = ("cpu", "memory", "ephemeral-storage")
# Resources of the core group that are also counted under their bare name.
COUNTED = (
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
)
ONE = Quantity.of(1)
NOTHING = Quantity.of(0)


def add(total: Usage, more: Mapping[str, Quantity]) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def usage(resource: str, obj: Object) -> Usage:
    """`resource` is qualified (`deployments.apps`)."""
    found: Usage = {f"count/{resource}": ONE}
    if resource == "pods":
        if not pods.is_terminal(obj):
            found["pods"] = ONE
            found.update(_of_pod(obj["spec"]))
        return found
    if resource in COUNTED:
        found[resource] = ONE
    if resource == "services":
        found.update(_of_service(obj["spec"]))
    elif resource == "persistentvolumeclaims":
        found.update(_of_claim(obj["spec"]))
    return found


def _of_pod(spec: Object) -> Iterator[tuple[str, Quantity]]:
    for name, amount in _with_overhead(spec, "requests").items():
        if name in COMPUTE or name.startswith("hugepages-"):
            yield name, amount
        yield f"requests.{name}", amount
    for name, amount in _with_overhead(spec, "limits").items():
        if name in COMPUTE:
            yield f"limits.{name}", amount


def pod_total(spec: Object, kind: str) -> Usage:
    """What the containers take together, or an init container alone where that is more; sidecars stay and add up.

    What the pod asks for as a whole counts in their place.
    """
    total = _of_containers(spec, kind)
    total.update(amounts(nested(spec, "resources", kind)))
    return total


def _with_overhead(spec: Object, kind: str) -> Usage:
    """And what the pod's runtime class takes; a limit only where there is one."""
    total = pod_total(spec, kind)
    for name, amount in amounts(spec.get("overhead")).items():
        if kind == "requests" or name in total:
            total[name] = total[name] + amount if name in total else amount
    return total


def _of_containers(spec: Object, kind: str) -> Usage:
    running: Usage = {}
    sidecars: Usage = {}
    peak: Usage = {}
    for container in spec.get("containers") or ():
        add(running, amounts(nested(container, "resources", kind)))
    for container in spec.get("initContainers") or ():
        own = amounts(nested(container, "resources", kind))
        if container.get("restartPolicy") == "Always":
            add(running, own)
            add(sidecars, own)
            own = dict(sidecars)
        else:
            add(own, sidecars)
        peak.update({k: v for k, v in own.items() if k not in peak or peak[k] < v})
    running.update({k: v for k, v in peak.items() if k not in running or running[k] < v})
    return running


def amounts(resources: Mapping[str, Any] | None) -> Usage:
    """A new dict: the caller may add to it."""
    return {name: Quantity.parse(text) for name, text in (resources or {}).items()}


def _of_service(spec: Object) -> Iterator[tuple[str, Quantity]]:
    kind, ports = spec.get("type"), spec.get("ports") or ()
    if kind == "LoadBalancer":
        yield "services.loadbalancers", ONE
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [p for p in ports if p.get("nodePort")]
    if kind in ("NodePort", "LoadBalancer"):
        yield "services.nodeports", Quantity.of(len(ports))


def _of_claim(spec: Object) -> Iterator[tuple[str, Quantity]]:
    text, chosen = nested(spec, "resources", "requests", "storage"), spec.get("storageClassName")
    if text is not None:
        yield "requests.storage", Quantity.parse(text)
    if chosen:
        prefix = f"{chosen}.storageclass.storage.k8s.io"
        yield f"{prefix}/persistentvolumeclaims", ONE
        if text is not None:
            yield f"{prefix}/requests.storage", Quantity.parse(text)


def in_scope(quota: Object, resource: str, obj: Object) -> bool:
    spec = quota["spec"]
    scopes: list[Object] = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    scopes += nested(spec, "scopeSelector", "matchExpressions") or []
    if not scopes:
        return True
    if resource == "persistentvolumeclaims":
        return all(_suits_claim(scope, obj) for scope in scopes)
    return resource == "pods" and all(_suits(scope, obj["spec"]) for scope in scopes)


def _suits_claim(scope: Object, claim: Object) -> bool:
    """By the classes that a claim has, wants, or is about to have."""
    if scope["scopeName"] != "VolumeAttributesClass":
        return False
    names = {
        nested(claim, "spec", "volumeAttributesClassName"),
        nested(claim, "status", "currentVolumeAttributesClassName"),
        nested(claim, "status", "modifyVolumeStatus", "targetVolumeAttributesClassName"),
    } - {None, ""}
    return any(_suits_class(scope, name) for name in sorted(names) or [""])


def _suits(scope: Object, pod: Object) -> bool:
    match scope["scopeName"]:
        case "Terminating":
            return pod.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return pod.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return is_best_effort(pod)
        case "NotBestEffort":
            return not is_best_effort(pod)
        case "PriorityClass":
            return _suits_class(scope, pod.get("priorityClassName", ""))
        case "CrossNamespacePodAffinity":
            return _looks_abroad(pod)
    return False


def _suits_class(scope: Object, name: str) -> bool:
    values = scope.get("values") or ()
    match scope.get("operator"):
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
    return bool(name)


def is_best_effort(pod: Object) -> bool:
    holders = [pod, *(pod.get("containers") or ()), *(pod.get("initContainers") or ())]
    return not any(
        amount > NOTHING
        for holder in holders
        for kind in ("requests", "limits")
        for name, amount in amounts(nested(holder, "resources", kind)).items()
        if name in ("cpu", "memory")
    )


def _looks_abroad(pod: Object) -> bool:
    terms: list[Object] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = nested(pod, "affinity", kind) or {}
        terms += affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [p["podAffinityTerm"] for p in preferred if "podAffinityTerm" in p]
    return any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms)
