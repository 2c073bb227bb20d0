"""ResourceQuota: a write that would take a namespace beyond its quota is refused, the others are counted.

The count lives in each quota's status and is changed there by compare-and-swap, so that two writes cannot both take
what only one may have. All quotas are looked at before the first is charged. What was charged for a write that did not
happen is given back by `run`; what is deleted, by the quota controller, which counts anew.

Upstream: apiserver/pkg/admission/plugin/resourcequota/{admission,controller}.go, pkg/quota/v1/evaluator/core.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence

from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.quantity import Quantity
from timonel.objects import quotas
from timonel.objects.meta import Object, nested
from timonel.objects.quotas import Usage, amounts, in_scope, usage
from timonel.records import dataclass
from timonel.server.admission.attributes import WRITES, forbidden
from timonel.server.admission.configuration import Limited
from timonel.server.request import AdmissionCall, Objects, OnlyValidates, Operation, Reader

logger = logging.getLogger(__name__)

RESOURCE = "resourcequotas"
_GROWING = ("services", "persistentvolumeclaims")  # whose updates can take more
_MUST_SPECIFY = frozenset(
    [*quotas.COMPUTE, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in quotas.COMPUTE)]
)


@dataclass(frozen=True, slots=True)
class _Charge:
    namespace: str
    quota: str
    amounts: Usage


class ResourceQuota(OnlyValidates):
    name = "ResourceQuota"

    def __init__(self, reader: Reader, objects: Objects, limited: Sequence[Limited] = ()) -> None:
        self._reader = reader
        self._objects = objects
        self._limited = limited
        self._unused: deque[_Charge] = deque()  # for writes that did not happen
        self._wake = asyncio.Event()

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if not resource.namespaced:
            return False
        if operation is Operation.UPDATE and (resource.qualified, subresource) == ("pods", "resize"):
            return True
        if subresource or operation not in WRITES:
            return False
        return operation is Operation.CREATE or resource.qualified in _GROWING

    async def validate(self, call: AdmissionCall) -> None:
        found = self._reader.list(RESOURCE, call.namespace)
        assert call.obj is not None
        self._check_limited(call, call.obj, found)
        if not found:
            return
        charges = []
        for quota in sorted(found, key=lambda q: str(q["metadata"]["name"])):
            charged = _charged(call, quota)
            if charged:
                name = str(quota["metadata"]["name"])
                _counted(call, name, quota, charged)  # refuse before anything is taken
                charges.append(_Charge(call.namespace, name, charged))
        for charge in charges:
            await self._take(call, charge)

    def _check_limited(self, call: AdmissionCall, obj: Object, found: Sequence[Object]) -> None:
        """What is limited by configuration needs a quota that covers it."""
        resource = call.resource.qualified
        wanted = None
        for limit in self._limited:
            if limit.resource != resource:
                continue
            wanted = usage(resource, obj) if wanted is None else wanted
            parts = [name for name in wanted if any(text in name for text in limit.contains)]
            covered = {
                name
                for quota in found
                if in_scope(quota, resource, obj)
                for name in quota["spec"].get("hard") or ()
            }
            missing = sorted(name for name in parts if name not in covered)
            if missing:
                raise forbidden(call, f"insufficient quota to consume: {','.join(missing)}")
            for scope in limit.scopes:
                pseudo = {"spec": {"scopeSelector": {"matchExpressions": [scope]}}}
                if in_scope(pseudo, resource, obj) and not any(_has_scope(quota, scope) for quota in found):
                    raise forbidden(
                        call, f"insufficient quota to match these scopes: [{_shown_scope(scope)}]"
                    )

    async def _take(self, call: AdmissionCall, charge: _Charge) -> None:
        def count(current: Object) -> None:
            current["status"] = _counted(call, charge.quota, current, charge.amounts)

        await self._objects.change(RESOURCE, charge.namespace, charge.quota, count, dry_run=call.dry_run)
        if not call.dry_run:
            call.undo.append(lambda: self._give_back(charge))

    def _give_back(self, charge: _Charge) -> None:
        self._unused.append(charge)
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unused:
                charge = self._unused.popleft()
                try:
                    await self._return(charge)
                except errors.NotFound:
                    continue
                except Exception:
                    logger.exception("Could not give back what was charged", extra={"quota": charge.quota})

    async def _return(self, charge: _Charge) -> None:
        def count(current: Object) -> None:
            status = current.get("status") or {}
            used = amounts(status.get("used"))
            less = {
                key: str(max(used[key] - amount, quotas.NOTHING))
                for key, amount in charge.amounts.items()
                if key in used
            }
            current["status"] = {**status, "used": {**(status.get("used") or {}), **less}}

        await self._objects.change(RESOURCE, charge.namespace, charge.quota, count)


def _has_scope(quota: Object, scope: Object) -> bool:
    names = {*(quota["spec"].get("scopes") or ())}
    names |= {e["scopeName"] for e in nested(quota, "spec", "scopeSelector", "matchExpressions") or ()}
    return scope["scopeName"] in names


def _shown_scope(scope: Object) -> str:
    """As Go prints the struct."""
    return f"{{{scope['scopeName']} {scope.get('operator', '')} [{' '.join(scope.get('values') or ())}]}}"


def _charged(call: AdmissionCall, quota: Object) -> Usage:
    """What the write takes of this quota. Raises Forbidden for a pod that does not say what it takes."""
    resource, obj = call.resource.qualified, call.obj
    assert obj is not None
    if not in_scope(quota, resource, obj):
        return {}
    hard = amounts(quota["spec"].get("hard"))
    if resource == "pods":
        missing = _unspecified(obj["spec"], hard)
        if missing:
            raise forbidden(call, f"failed quota: {quota['metadata']['name']}: must specify {missing}")
    wanted = usage(resource, obj)
    if call.old is not None and in_scope(quota, resource, call.old):
        wanted = _growth(wanted, usage(resource, call.old))
    return {key: amount for key, amount in wanted.items() if key in hard and amount}


def _counted(call: AdmissionCall, name: str, quota: Object, charged: Usage) -> Object:
    """The quota's status with the charge. Raises Forbidden where it is too much."""
    status: Object = quota.get("status") or {}
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
    return {**status, "used": {**(status.get("used") or {}), **{k: str(v) for k, v in total.items()}}}


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
        if name in (nested(spec, "resources", kind or "requests") or {}):
            continue  # the pod says it as a whole
        names = sorted(
            c["name"]
            for group in ("initContainers", "containers")
            for c in spec.get(group) or ()
            if name not in (nested(c, "resources", kind or "requests") or {})
        )
        if names:
            found.append(f"{key} for: {','.join(names)}")
    return "; ".join(found)
