"""What NetworkPolicies mean: which pods are isolated, and who may speak with them. Pure.

A pod is isolated in a direction once a policy of that direction selects it; then only what one of those policies allows
goes through. `Peers` names a group of pods by its selectors, so that rules stay the same while pods come and go.

Upstream: staging/src/k8s.io/api/networking/v1/types.go; kubernetes.io, "Network Policies".
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from timonel.machinery.selectors import LabelSelector, from_label_selector
from timonel.objects.meta import Key, Object, key_of
from timonel.records import dataclass

INGRESS, EGRESS = "ingress", "egress"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Pod:
    """What policies look at. `ports`: name and protocol -> number."""

    key: Key
    labels: Mapping[str, str]
    ips: tuple[str, ...]
    ports: Mapping[tuple[str, str], int]
    local: bool


@dataclass(frozen=True, slots=True)
class Port:
    """Of one protocol: all ports (`first` 0), a range, or a name."""

    protocol: str  # tcp, udp or sctp
    first: int = 0
    last: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Peers:
    """The pods that some selectors of a policy name, in any of them; with a port's name, that port of those pods."""

    namespace: str
    selectors: str  # the JSON of (podSelector, namespaceSelector) pairs; null: every pod of the cluster
    port: Port | None = None

    @property
    def id(self) -> str:
        text = f"{self.namespace}/{self.selectors}/{self.port and (self.port.protocol, self.port.name)}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows `ports` (none: all) with anyone, or with `peers` and `blocks` only."""

    anyone: bool
    peers: Peers | None
    blocks: tuple[str, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """`rules`: by direction; a direction that is there isolates, even with no rule."""

    key: Key
    selector: LabelSelector
    rules: Mapping[str, tuple[Rule, ...]]


def pod_of(obj: Object, node: str) -> Pod | None:
    """None for pods that policies do not concern: of the host's network, over, or without an address yet."""
    spec, status = obj["spec"], obj.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    ips = tuple(i["ip"] for i in status.get("podIPs") or () if i.get("ip"))
    if not ips and status.get("podIP"):
        ips = (status["podIP"],)
    if not ips:
        return None
    containers = [*spec.get("containers", ()), *(c for c in spec.get("initContainers", ()) if _is_sidecar(c))]
    ports = {
        (p["name"], p.get("protocol", "TCP").lower()): p["containerPort"]
        for c in containers
        for p in c.get("ports") or ()
        if p.get("name")
    }
    return Pod(key_of(obj), obj["metadata"].get("labels") or {}, ips, ports, spec.get("nodeName") == node)


def _is_sidecar(container: Object) -> bool:
    return container.get("restartPolicy") == "Always"


def policy_of(obj: Object) -> Policy:
    spec, key = obj["spec"], key_of(obj)
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    rules: dict[str, tuple[Rule, ...]] = {}
    for direction, kind, side in ((INGRESS, "Ingress", "from"), (EGRESS, "Egress", "to")):
        if kind in types:
            rules[direction] = tuple(_rule(key.namespace, r, side) for r in spec.get(direction) or ())
    return Policy(key, from_label_selector(spec.get("podSelector") or {}), rules)


def _rule(namespace: str, rule: Object, side: str) -> Rule:
    peers = rule.get(side) or []
    pairs = [[p.get("podSelector"), p.get("namespaceSelector")] for p in peers if "ipBlock" not in p]
    selectors = json.dumps(sorted(pairs, key=json.dumps), sort_keys=True)
    return Rule(
        anyone=not peers,
        peers=Peers(namespace, selectors) if pairs else None,
        blocks=tuple(str(n) for p in peers if "ipBlock" in p for n in _block(p["ipBlock"])),
        ports=tuple(_port(p) for p in rule.get("ports") or ()),
    )


def _port(port: Object) -> Port:
    protocol, number = port.get("protocol", "TCP").lower(), port.get("port")
    if number is None:
        return Port(protocol)
    if isinstance(number, str):
        return Port(protocol, name=number)
    return Port(protocol, number, port.get("endPort") or number)


def _block(block: Object) -> Iterator[Network]:
    """The networks of a block without its exceptions."""
    left: list[Network] = [ipaddress.ip_network(block["cidr"], strict=False)]
    for text in block.get("except") or ():
        hole = ipaddress.ip_network(text, strict=False)
        left = [n for network in left for n in _without(network, hole)]
    yield from left


def _without(network: Any, hole: Any) -> Iterable[Network]:
    if network.version != hole.version or not network.overlaps(hole):
        return (network,)
    if network.subnet_of(hole):
        return ()
    return sorted(network.address_exclude(hole))


class Matcher:
    """Whether a pod is among some peers; its selectors are read once."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        pairs = json.loads(peers.selectors)
        self._pairs: list[tuple[LabelSelector | None, LabelSelector | None]] | None = None
        if pairs is not None:
            self._pairs = [(_selector(pods), _selector(spaces)) for pods, spaces in pairs]

    def matches(self, pod: Pod, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        """`namespaces`: name -> labels."""
        if self._pairs is None:
            return True
        for pods, spaces in self._pairs:
            if spaces is None:
                if pod.key.namespace != self.peers.namespace:
                    continue
            elif not spaces.matches(namespaces.get(pod.key.namespace, {})):
                continue
            if pods is None or pods.matches(pod.labels):
                return True
        return False


def _selector(found: Object | None) -> LabelSelector | None:
    return None if found is None else from_label_selector(found)


def everyone(namespace: str) -> Peers:
    return Peers(namespace, "null")


def rules_of(pod: Pod, policies: Iterable[Policy], direction: str) -> tuple[Rule, ...] | None:
    """All that a pod is allowed in a direction; None: it is not isolated."""
    found: dict[Rule, None] = {}
    isolated = False
    for policy in policies:
        if direction in policy.rules and policy.selector.matches(pod.labels):
            isolated = True
            found.update(dict.fromkeys(policy.rules[direction]))
    return tuple(found) if isolated else None
