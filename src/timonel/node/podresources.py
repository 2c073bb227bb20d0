"""What a whole pod asks for and may use, as plain integers: cpu in thousandths, everything else in whole units. Pure.

Init containers run one after another and before the rest, so the largest of them counts; sidecars run beside everything
that follows them. What the pod says as a whole (spec.resources) stands in place of its containers' sum; the overhead of
its RuntimeClass comes on top. Upstream: component-helpers/resource/helpers.go, pkg/kubelet/cm/helpers_linux.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from timonel.node import amounts
from timonel.objects.meta import Object

Amounts = dict[str, int]


def is_sidecar(container: Mapping[str, Any]) -> bool:
    return container.get("restartPolicy") == "Always"


def amount(text: str | None, resource: str) -> int:
    return amounts.milli(text) if resource == "cpu" else amounts.whole(text)


def own(owner: Mapping[str, Any], side: str) -> Amounts:
    """`requests` or `limits` of one container, or those that a pod's spec has of its own."""
    found = (owner.get("resources") or {}).get(side) or {}
    return {name: amount(str(text), name) for name, text in found.items()}


def requests(pod: Object) -> Amounts:
    """What the node must have free for the pod."""
    spec = pod["spec"]
    found = together(spec, "requests") | own(spec, "requests")
    for name, text in (spec.get("overhead") or {}).items():
        found[name] = found.get(name, 0) + amount(str(text), name)
    return found


def limits(pod: Object) -> Amounts:
    """What the pod may use at the most: a resource that some container may use without limit is not in it."""
    spec = pod["spec"]
    containers = [*spec["containers"], *(spec.get("initContainers") or ())]
    bounded = set.intersection(*({n for n, a in own(c, "limits").items() if a} for c in containers))
    found = {n: a for n, a in together(spec, "limits").items() if n in bounded} | own(spec, "limits")
    for name, text in (spec.get("overhead") or {}).items():
        if name in found:
            found[name] += amount(str(text), name)
    return found


def together(spec: Mapping[str, Any], side: str) -> Amounts:
    """Of all containers, as they run one after another and beside each other."""
    beside, highest = Amounts(), Amounts()
    for c in spec.get("initContainers") or ():
        wanted = _sum((beside, own(c, side)))
        if is_sidecar(c):
            beside = wanted
        for name, number in wanted.items():
            highest[name] = max(highest.get(name, 0), number)
    total = _sum((beside, *(own(c, side) for c in spec["containers"])))
    return {name: max(total.get(name, 0), highest.get(name, 0)) for name in total | highest}


def _sum(parts: Iterable[Mapping[str, int]]) -> Amounts:
    total = Amounts()
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return total
