"""What a pod asks of a node, worked out once when it is first seen.

Upstream: component-helpers/resource/helpers.go (PodRequests), pkg/scheduler/framework/types.go (PodInfo).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Key, Object, key_of
from timonel.scheduler.affinityterms import NONE, Terms, terms_of

DEFAULT_CPU = 100  # milli; what scoring takes a container without a request to need
DEFAULT_MEMORY = 200 << 20

Requests = dict[str, int]
HostPort = tuple[str, str, int]  # protocol, address, port


@dataclass(frozen=True, slots=True)
class PodInfo:
    pod: Object
    key: Key
    uid: str
    priority: int
    requests: Mapping[str, int]  # cpu in milli, all else in units; zeros left out
    scored_cpu: int  # with defaults for containers that ask for nothing
    scored_memory: int
    ports: tuple[HostPort, ...]
    images: tuple[str, ...]
    claims: tuple[str, ...]
    terms: Terms = NONE

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.pod["spec"]
        return spec


def pod_info(pod: Object) -> PodInfo:
    spec = pod["spec"]
    requests = pod_requests(spec)
    scored = pod_requests(spec, defaults={"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY})
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    return PodInfo(
        pod=pod,
        key=key_of(pod),
        uid=pod["metadata"].get("uid", ""),
        priority=spec.get("priority") or 0,
        requests={name: amount for name, amount in requests.items() if amount},
        scored_cpu=scored.get("cpu", 0),
        scored_memory=scored.get("memory", 0),
        ports=tuple(dict.fromkeys(_host_ports(containers))),
        images=tuple(c.get("image", "") for c in containers),
        claims=tuple(_claims(pod)),
        terms=terms_of(pod),
    )


def amount_of(name: str, text: Any) -> int:
    """A quantity as the scheduler counts it."""
    quantity = Quantity.parse(text)
    return quantity.milli() if name == "cpu" else quantity.value()


def pod_requests(spec: Mapping[str, Any], defaults: Mapping[str, int] | None = None) -> Requests:
    """Containers run together; an init container runs beside the restartable ones that were started before it."""
    total: Requests = {}
    for container in spec["containers"]:
        _add(total, _container(container, defaults))
    beside: Requests = {}
    peak: Requests = {}
    for container in spec.get("initContainers") or ():
        need = _container(container, defaults)
        if container.get("restartPolicy") == "Always":
            _add(total, need)
            _add(beside, need)
            need = beside
        else:
            need = _sum(need, beside)
        _raise_to(peak, need)
    _raise_to(total, peak)
    for name, text in ((spec.get("resources") or {}).get("requests") or {}).items():
        total[name] = amount_of(name, text)  # what is asked for the pod as a whole goes first
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + amount_of(name, text)
    return total


def _container(container: Mapping[str, Any], defaults: Mapping[str, int] | None) -> Requests:
    asked = (container.get("resources") or {}).get("requests") or {}
    found = {name: amount_of(name, text) for name, text in asked.items()}
    for name, amount in (defaults or {}).items():
        found.setdefault(name, amount)
    return found


def _add(total: Requests, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> Requests:
    found = dict(a)
    _add(found, b)
    return found


def _raise_to(total: Requests, least: Mapping[str, int]) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, 0), amount)


def _host_ports(containers: Iterable[Mapping[str, Any]]) -> Iterable[HostPort]:
    for container in containers:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield (port.get("protocol") or "TCP", port.get("hostIP") or "0.0.0.0", port["hostPort"])


def _claims(pod: Object) -> Iterable[str]:
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]
        elif "ephemeral" in volume:
            yield f"{pod['metadata']['name']}-{volume['name']}"
