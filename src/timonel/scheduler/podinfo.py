"""What a pod asks of a node, worked out once when it is first seen.

Upstream: component-helpers/resource/helpers.go (PodRequests), pkg/scheduler/framework/types.go (PodInfo).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from timonel.machinery import codec
from timonel.machinery.quantity import Quantity
from timonel.objects.ephemeral import claim_name
from timonel.objects.meta import Key, Object, controller_of, is_deleting, key_of, labels_of
from timonel.records import dataclass
from timonel.scheduler.affinityterms import NONE, Terms, terms_of

DEFAULT_CPU = 100  # milli; what scoring takes a container without a request to need
DEFAULT_MEMORY = 200 << 20

_HARMLESS = frozenset({"projected", "configMap", "secret", "emptyDir", "downwardAPI", "hostPath", "image"})
_TELLING = (
    "nodeName", "nodeSelector", "tolerations", "topologySpreadConstraints", "priority", "preemptionPolicy",
    "schedulerName", "schedulingGates", "hostNetwork",
)  # fmt: skip

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
    group: tuple[Any, ...]  # what selectors and terms of other pods can tell it by
    likeness: bytes | None  # pods of the same likeness are decided alike; None: each is decided on its own
    deleting: bool = False
    terms: Terms = NONE
    needs: frozenset[str] = frozenset()  # features that the node must declare

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.pod["spec"]
        return spec


def pod_info(pod: Object) -> PodInfo:
    spec = pod["spec"]
    requests = pod_requests(spec)
    scored = pod_requests(spec, defaults={"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY})
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    key, terms, deleting = key_of(pod), terms_of(pod), is_deleting(pod)
    labels = tuple(sorted(labels_of(pod).items()))
    affinity = codec.encode(spec["affinity"]) if terms is not NONE else b""
    claims = tuple(_claims(pod))
    asked = {name: amount for name, amount in requests.items() if amount}
    ports = tuple(dict.fromkeys(host_ports(pod)))
    images = tuple(c.get("image", "") for c in containers)
    return PodInfo(
        pod=pod,
        key=key,
        uid=pod["metadata"].get("uid", ""),
        priority=spec.get("priority") or 0,
        requests=asked,
        scored_cpu=scored.get("cpu", 0),
        scored_memory=scored.get("memory", 0),
        ports=ports,
        images=images,
        claims=claims,
        group=(key.namespace, labels, affinity, deleting),
        likeness=None
        if claims or spec.get("resourceClaims") or _needs(containers)
        else _likeness(pod, labels, affinity, asked, scored),
        deleting=deleting,
        terms=terms,
        needs=_needs(containers),
    )


def _needs(containers: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    for container in containers:
        if any(r.get("action") == "RestartAllContainers" for r in container.get("restartPolicyRules") or ()):
            return frozenset({"RestartAllContainersOnContainerExits"})
    return frozenset()


def _likeness(pod: Object, labels: Any, affinity: bytes, asked: Requests, scored: Requests) -> bytes:
    """All that a decision can depend on; the names of a pod and of its volumes are left out."""
    spec, owner = pod["spec"], controller_of(pod) or {}
    asking = [
        (c.get("image", ""), [p for p in c.get("ports") or () if p.get("hostPort")])
        for c in (*(spec.get("initContainers") or ()), *spec["containers"])
    ]
    volumes = [v for v in spec.get("volumes") or () if not (v.keys() & _HARMLESS)]
    told = {name: spec[name] for name in _TELLING if name in spec}
    namespace = pod["metadata"].get("namespace", "")
    return codec.encode(
        {"a": [namespace, labels, asked, scored, asking, volumes, told, owner.get("uid", "")]}
    ) + (affinity or codec.encode(spec.get("affinity") or {}))


@lru_cache(4096)
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


def host_ports(pod: Object) -> Iterable[HostPort]:
    """Of the containers that go on running; other init containers have ended before those start."""
    beside = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*beside, *pod["spec"]["containers"]):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield (port.get("protocol") or "TCP", port.get("hostIP") or "0.0.0.0", port["hostPort"])


def _claims(pod: Object) -> Iterable[str]:
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]
        elif "ephemeral" in volume:
            yield claim_name(pod, volume)


def is_claimed(info: PodInfo, claim: Object | None) -> bool:
    """Whether a PersistentVolumeClaim is one of the pod's."""
    if claim is None:
        return True
    meta = claim["metadata"]
    return meta.get("namespace", "") == info.key.namespace and meta["name"] in info.claims


def is_scalar(resource: str) -> bool:
    """Resources that score only the pods that ask for them: extended ones, huge pages, attachable volumes."""
    if resource.startswith(("hugepages-", "attachable-volumes-")):
        return True
    return "/" in resource or resource.startswith("requests.")
