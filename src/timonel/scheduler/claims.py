"""What the scheduler writes about claims for devices, and what it waits for.

Upstream: pkg/scheduler/framework/plugins/dynamicresources (bindClaim, isClaimReadyForBinding, deleteClaim).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from timonel.machinery.errors import Conflict
from timonel.objects.meta import Key, Object, format_time, is_deleting, key_of, parse_time
from timonel.scheduler.framework import Cluster, Rejected

CLAIMS = "resourceclaims.resource.k8s.io"
FINALIZER = "resource.kubernetes.io/delete-protection"
TRIES = 5


class BindingFailed(Exception):
    """A driver could not make the devices ready, or not in time."""


def allocation_of(claim: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (claim.get("status") or {}).get("allocation") or {}
    return found


def results_of(claim: Object) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (allocation_of(claim).get("devices") or {}).get("results") or ()
    return found


def has_conditions(claim: Object) -> bool:
    """Whether some driver has to say first that its devices are ready."""
    return any(result.get("bindingConditions") for result in results_of(claim))


def is_ready(claim: Object) -> bool:
    """Whether all devices are ready for the pod to be bound; raises BindingFailed."""
    if not allocation_of(claim):
        return False
    told = {
        (d["driver"], d["pool"], d["device"]): d for d in (claim.get("status") or {}).get("devices") or ()
    }
    for result in results_of(claim):
        if not result.get("bindingConditions"):
            continue
        device = told.get((result["driver"], result["pool"], result["device"]))
        if device is None:
            return False
        conditions = {c["type"]: c for c in device.get("conditions") or ()}
        for name in result.get("bindingFailureConditions") or ():
            condition = conditions.get(name)
            if condition is not None and condition["status"] == "True":
                raise BindingFailed(
                    f"claim {claim['metadata']['name']} binding failed: reason={condition.get('reason', '')}, "
                    f'message="{condition.get("message", "")}"'
                )
        if any((conditions.get(n) or {}).get("status") != "True" for n in result["bindingConditions"]):
            return False
    return True


def is_stuck(claim: Object, now: float, timeout: float) -> bool:
    """Whether the devices will not become ready: some driver says so, or their time is up."""
    try:
        if is_ready(claim):
            return False
    except BindingFailed:
        return True
    since = parse_time(allocation_of(claim).get("allocationTimestamp"))
    return since is not None and has_conditions(claim) and since + timeout < now


async def write(
    cluster: Cluster, claim: Object, allocation: Object | None, consumer: Mapping[str, Any]
) -> Object:
    """The finalizer first, lest an allocated claim vanish; then allocation and reservation at once."""
    for attempt in range(TRIES):
        if attempt:
            claim = await cluster.read(CLAIMS, key_of(claim))
        try:
            return await _write_once(cluster, claim, allocation, consumer)
        except Conflict:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


async def _write_once(
    cluster: Cluster, claim: Object, allocation: Object | None, consumer: Mapping[str, Any]
) -> Object:
    meta, status = claim["metadata"], claim.get("status") or {}
    if is_deleting(claim):
        raise Rejected(f"claim {key_of(claim)} got deleted in the meantime")
    if allocation is not None:
        if status.get("allocation"):
            raise Rejected(f"claim {key_of(claim)} got allocated elsewhere in the meantime")
        finalizers = meta.get("finalizers") or []
        if FINALIZER not in finalizers:
            patch = {
                "metadata": {
                    "resourceVersion": meta["resourceVersion"],
                    "finalizers": [*finalizers, FINALIZER],
                }
            }
            claim = await cluster.patch(CLAIMS, key_of(claim), patch)
    told: dict[str, Any] = {"reservedFor": [*(status.get("reservedFor") or ()), consumer]}
    if allocation is not None:
        told["allocation"] = {**allocation, "allocationTimestamp": format_time(cluster.now())}
    patch = {"metadata": {"resourceVersion": claim["metadata"]["resourceVersion"]}, "status": told}
    return await cluster.patch(CLAIMS, key_of(claim), patch, subresource="status")


async def deallocate(cluster: Cluster, claim: Object) -> None:
    """Take the devices back; a claim that has changed meanwhile is left alone."""
    meta = claim["metadata"]
    patch: dict[str, Any] = {
        "metadata": {"resourceVersion": meta["resourceVersion"]},
        "status": {"allocation": None, "reservedFor": None, "devices": None},
    }
    await cluster.patch(CLAIMS, key_of(claim), patch, subresource="status")


async def delete(cluster: Cluster, claim: Object) -> None:
    """Without the finalizer, which would hold it."""
    finalizers = claim["metadata"].get("finalizers") or []
    if FINALIZER in finalizers:
        left = [name for name in finalizers if name != FINALIZER]
        patch = {"metadata": {"uid": claim["metadata"]["uid"], "finalizers": left}}
        await cluster.patch(CLAIMS, key_of(claim), patch)
    await cluster.delete(CLAIMS, key_of(claim))


async def until_ready(cluster: Cluster, keys: Sequence[Key], timeout: float) -> None:
    """Wait for the drivers; raises BindingFailed."""
    try:
        async with asyncio.timeout(timeout):
            for key in keys:
                while not is_ready(await cluster.read(CLAIMS, key)):
                    await cluster.until_changed(CLAIMS, key)
    except TimeoutError:
        raise BindingFailed("device binding timeout") from None
