"""ResourceQuota: a write that would take a namespace beyond its quota is refused, the others are counted.

The count lives in each quota's status and is changed there by compare-and-swap, so that two writes cannot both take
what only one may have. What is deleted is given back by the quota controller, which counts anew.

Upstream: apiserver/pkg/admission/plugin/resourcequota/{admission,controller}.go, pkg/quota/v1/evaluator/core.
"""

from __future__ import annotations

from collections.abc import Mapping

from timonel.apis.resource import ResourceType
from timonel.machinery.quantity import Quantity
from timonel.objects import quotas
from timonel.objects.meta import Object, nested
from timonel.objects.quotas import Usage, amounts, in_scope, usage
from timonel.server.admission.attributes import WRITES, forbidden
from timonel.server.request import AdmissionCall, Objects, Operation, Reader

_MUST_SPECIFY = frozenset(
    [*quotas.COMPUTE, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in quotas.COMPUTE)]
)


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
        found = self._reader.list("resourcequotas", call.namespace)
        if not found:
            return
        assert call.obj is not None
        resource = call.resource.qualified
        wanted = usage(resource, call.obj)
        if call.old is not None:
            wanted = _growth(wanted, usage(resource, call.old))
        for quota in sorted(found, key=lambda q: str(q["metadata"]["name"])):
            if in_scope(quota, resource, call.obj):
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
    beyond = sorted(key for key in charged if charged[key] > quotas.NOTHING and hard[key] < total[key])
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
        key: amount - old.get(key, quotas.NOTHING)
        for key, amount in new.items()
        if old.get(key, quotas.NOTHING) < amount
    }


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
