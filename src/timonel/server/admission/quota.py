"""ResourceQuota: a write that would take a namespace beyond its quota is refused, the others are counted.

The count lives in each quota's status and is changed there by compare-and-swap, so that two writes cannot both take
what only one may have. What is deleted is given back by the quota controller, which counts anew.

Upstream: apiserver/pkg/admission/plugin/resourcequota/{admission,controller}.go, pkg/quota/v1/evaluator/core.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from timonel.apis.resource import ResourceType
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object, nested
from timonel.server.admission.attributes import WRITES, forbidden
from timonel.server.admission.limits import amounts, pod_total
from timonel.server.request import AdmissionCall, Objects, Operation, Reader

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = frozenset(
    (
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
    )
)
_ONE = Quantity.of(1)
_NOTHING = Quantity.of(0)
_MUST_SPECIFY = frozenset(
    [*_COMPUTE, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in _COMPUTE)]
)

Usage = dict[str, Quantity]


class ResourceQuota:
    name = "ResourceQuota"

    def __init__(self, reader: Reader, objects: Objects) -> None:
        self._reader = reader
        self._objects = objects

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if not resource.namespaced or subresource or operation not in WRITES:
            return False
        grows = resource.qualified in ("services", "persistentvolumeclaims")
        return operation is Operation.CREATE or grows

    async def admit(self, call: AdmissionCall) -> None:
        """Nothing: counted last of all, in validate."""

    async def validate(self, call: AdmissionCall) -> None:
        quotas = self._reader.list("resourcequotas", call.namespace)
        if not quotas:
            return
        assert call.obj is not None
        wanted = _usage(call.resource, call.obj)
        if call.old is not None:
            wanted = _growth(wanted, _usage(call.resource, call.old))
        for quota in sorted(quotas, key=lambda q: str(q["metadata"]["name"])):
            if _in_scope(quota["spec"], call):
                await self._charge(call, quota, wanted)

    async def _charge(self, call: AdmissionCall, quota: Object, wanted: Usage) -> None:
        name = quota["metadata"]["name"]
        hard = amounts(quota["spec"].get("hard"))
        if call.resource.qualified == "pods" and call.operation is Operation.CREATE:
            assert call.obj is not None
            missing = _unspecified(call.obj["spec"], hard)
            if missing:
                raise forbidden(call, f"failed quota: {name}: must specify {missing}")
        charged = {key: amount for key, amount in wanted.items() if key in hard and amount}
        if not charged:
            return

        def count(current: Object) -> None:
            _count(call, name, current, charged)

        await self._objects.change("resourcequotas", call.namespace, name, count, dry_run=call.dry_run)


def _count(call: AdmissionCall, name: str, quota: Object, charged: Usage) -> None:
    status = quota.get("status") or {}
    hard, used = amounts(status.get("hard")), amounts(status.get("used"))
    unknown = sorted(key for key in charged if key not in hard or key not in used)
    if unknown:
        raise forbidden(call, f"status unknown for quota: {name}, resources: {','.join(unknown)}")
    total = {key: used[key] + amount for key, amount in charged.items()}
    beyond = sorted(key for key in charged if charged[key] > _NOTHING and hard[key] < total[key])
    if beyond:
        parts = (("requested", charged), ("used", used), ("limited", hard))
        shown = ", ".join(f"{what}: {_shown(beyond, values)}" for what, values in parts)
        raise forbidden(call, f"exceeded quota: {name}, {shown}")
    quota["status"] = {
        **status,
        "used": {**(status.get("used") or {}), **{k: str(v) for k, v in total.items()}},
    }


def _shown(keys: list[str], values: Mapping[str, Quantity]) -> str:
    return ",".join(f"{key}={values[key]}" for key in keys)


def _growth(new: Usage, old: Usage) -> Usage:
    return {
        key: amount - old.get(key, _NOTHING) for key, amount in new.items() if old.get(key, _NOTHING) < amount
    }


def _usage(resource: ResourceType, obj: Object) -> Usage:
    """What an object takes from quotas, by the names that quotas use."""
    usage: Usage = {f"count/{resource.qualified}": _ONE}
    if resource.qualified in _COUNTED:
        usage[resource.plural] = _ONE
    match resource.qualified:
        case "pods":
            usage.update(_pod_usage(obj))
        case "services":
            usage.update(_service_usage(obj["spec"]))
        case "persistentvolumeclaims":
            usage.update(_claim_usage(obj))
    return usage


def _pod_usage(pod: Object) -> Iterator[tuple[str, Quantity]]:
    spec = pod["spec"]
    for kind in ("requests", "limits"):
        for name, amount in pod_total(spec, kind).items():
            if kind == "requests":
                if name in _COMPUTE:
                    yield name, amount
                yield f"requests.{name}", amount
            elif name in _COMPUTE:
                yield f"limits.{name}", amount


def _service_usage(spec: Object) -> Iterator[tuple[str, Quantity]]:
    kind = spec.get("type")
    if kind == "LoadBalancer":
        yield "services.loadbalancers", _ONE
    if kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    ):
        yield "services.nodeports", Quantity.of(len(spec.get("ports") or ()))
    elif kind == "LoadBalancer":
        yield "services.nodeports", Quantity.of(sum(1 for p in spec.get("ports") or () if p.get("nodePort")))


def _claim_usage(claim: Object) -> Iterator[tuple[str, Quantity]]:
    text = nested(claim, "spec", "resources", "requests", "storage")
    chosen = nested(claim, "spec", "storageClassName")
    if text is not None:
        yield "requests.storage", Quantity.parse(text)
    if chosen:
        prefix = f"{chosen}.storageclass.storage.k8s.io"
        yield f"{prefix}/persistentvolumeclaims", _ONE
        if text is not None:
            yield f"{prefix}/requests.storage", Quantity.parse(text)


def _unspecified(spec: Object, hard: Mapping[str, Quantity]) -> str:
    """`requests.cpu for: a,b; requests.memory for: a`, where a quota wants numbers that containers do not give."""
    found: list[str] = []
    for key in sorted(set(hard) & _MUST_SPECIFY):
        kind, _, name = key.rpartition(".")
        names = sorted(
            c["name"]
            for group in ("initContainers", "containers")
            for c in spec.get(group) or ()
            if name not in (nested(c, "resources", kind or "requests") or {})
        )
        if names:
            found.append(f"{key} for: {','.join(names)}")
    return "; ".join(found)


def _in_scope(spec: Object, call: AdmissionCall) -> bool:
    scopes: list[Object] = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    scopes += nested(spec, "scopeSelector", "matchExpressions") or []
    if not scopes:
        return True
    if call.resource.qualified != "pods" or call.obj is None:
        return False
    pod = call.obj["spec"]
    return all(_matches(scope, pod) for scope in scopes)


def _matches(scope: Object, pod: Object) -> bool:
    match scope["scopeName"]:
        case "Terminating":
            return pod.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return pod.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return _is_best_effort(pod)
        case "NotBestEffort":
            return not _is_best_effort(pod)
        case "PriorityClass":
            return _matches_class(scope, pod.get("priorityClassName", ""))
        case "CrossNamespacePodAffinity":
            return _crosses_namespaces(pod)
    return False


def _matches_class(scope: Object, name: str) -> bool:
    values = scope.get("values") or ()
    match scope.get("operator"):
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
    return bool(name)


def _is_best_effort(pod: Object) -> bool:
    containers = [*(pod.get("containers") or ()), *(pod.get("initContainers") or ())]
    return not any(
        nested(c, "resources", kind, name)
        for c in containers
        for kind in ("requests", "limits")
        for name in ("cpu", "memory")
    )


def _crosses_namespaces(pod: Object) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = nested(pod, "affinity", kind) or {}
        terms = [*(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ())]
        preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [p["podAffinityTerm"] for p in preferred if "podAffinityTerm" in p]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False
