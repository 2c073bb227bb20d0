"""Whether this node takes a pod that was bound to it. Pure.

The scheduler decided on what it saw; the node has the last word. Upstream: pkg/kubelet/lifecycle/predicate.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from timonel.node import amounts
from timonel.node.podactions import is_sidecar
from timonel.objects.meta import Object
from timonel.records import dataclass

RESOURCES = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    message: str


def requested(pod: Object, resource: str) -> int:
    """cpu in thousandths, the rest in whole units: containers and sidecars together, or the largest init container."""
    spec = pod["spec"]
    sidecars = largest = 0
    for c in spec.get("initContainers") or ():
        amount = _request(c, resource)
        if is_sidecar(c):
            sidecars += amount
            largest = max(largest, sidecars)
        else:
            largest = max(largest, sidecars + amount)
    total = sidecars + sum(_request(c, resource) for c in spec["containers"])
    overhead = (spec.get("overhead") or {}).get(resource)
    return max(total, largest) + _amount(overhead, resource)


def _amount(text: str | None, resource: str) -> int:
    return amounts.milli(text) if resource == "cpu" else amounts.whole(text)


def _request(container: Mapping[str, Any], resource: str) -> int:
    return _amount(((container.get("resources") or {}).get("requests") or {}).get(resource), resource)


def fits_anywhere(pod: Object) -> bool:
    """It asks for nothing that could be short, but for its place."""
    return pod["spec"].get("hostUsers") is not False and not any(requested(pod, r) for r in RESOURCES)


class Requests:
    """`requested`, worked out once per pod and generation: each new pod is held against all others."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, dict[str, int]]] = {}  # by uid

    def __call__(self, pod: Object, resource: str) -> int:
        metadata = pod["metadata"]
        generation = metadata.get("generation", 0)
        known = self._known.get(metadata["uid"])
        if known is None or known[0] != generation:
            found = {name: requested(pod, name) for name in RESOURCES}
            known = self._known[metadata["uid"]] = (generation, found)
        return known[1][resource]

    def forget(self, uid: str) -> None:
        self._known.pop(uid, None)


def admit(
    pod: Object,
    others: Iterable[Object],
    allocatable: Mapping[str, str],
    asks: Callable[[Object, str], int] = requested,
) -> Refusal | None:
    """`others` are the pods that the node already carries, `asks` is `requested` or remembers what that said."""
    here = list(others)
    if pod["spec"].get("hostUsers") is False:
        return Refusal("UnsupportedUserNamespaces", "Pod was rejected: the runtime has no user namespaces")
    limit = amounts.whole(allocatable.get("pods"))
    if len(here) + 1 > limit:
        return _out_of("pods", 1, len(here), limit)
    for resource in RESOURCES:
        wanted = asks(pod, resource)
        if wanted == 0:
            continue
        used = sum(asks(other, resource) for other in here)
        capacity = _amount(allocatable.get(resource), resource)
        if used + wanted > capacity:
            return _out_of(resource, wanted, used, capacity)
    return None


def _out_of(resource: str, wanted: int, used: int, capacity: int) -> Refusal:
    message = (
        f"Pod was rejected: Node didn't have enough resource: {resource}, "
        f"requested: {wanted}, used: {used}, capacity: {capacity}"
    )
    return Refusal(f"OutOf{resource}", message)
