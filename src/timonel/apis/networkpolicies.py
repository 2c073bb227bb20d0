"""networking.k8s.io/v1: NetworkPolicy.

Upstream: pkg/apis/networking/{v1/defaults.go,validation/validation.go},
pkg/registry/networking/networkpolicy/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE, selector_cell
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "networking.k8s.io"


def default_network_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                if port.get("protocol") is None:
                    port["protocol"] = "TCP"
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def validate_network_policy(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from selectors.validate_label_selector(spec.get("podSelector") or {}, "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            yield from checks.each(f"{path}.ports", rule.get("ports"), _validate_policy_port)
            yield from checks.each(f"{path}.{peers}", rule.get(peers), _validate_peer)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        yield field.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(types):
        yield from checks.one_of(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))


def _validate_policy_port(path: str, port: Object) -> Iterator[Cause]:
    if port.get("protocol") is not None:
        yield from checks.one_of(f"{path}.protocol", port["protocol"], ("TCP", "UDP", "SCTP"))
    first, last = port.get("port"), port.get("endPort")
    if isinstance(first, int):
        yield from checks.port_number(f"{path}.port", first)
        if last is not None:
            if last < first:
                # upstream prints the port here
                yield field.invalid(f"{path}.endPort", first, "must be greater than or equal to `port`")
            yield from checks.port_number(f"{path}.endPort", last)
        return
    if last is not None:
        why = "not specified" if first is None else "non-numeric"
        yield field.invalid(f"{path}.endPort", last, f"may not be specified when `port` is {why}")
    if first is not None:
        yield from checks.told(f"{path}.port", first, names.port_name(first))


def _validate_peer(path: str, peer: Object) -> Iterator[Cause]:
    for key in ("podSelector", "namespaceSelector"):
        if peer.get(key) is not None:
            yield from selectors.validate_label_selector(peer[key], f"{path}.{key}")
    block = peer.get("ipBlock")
    if block is not None:
        yield from _validate_block(f"{path}.ipBlock", block)
    chosen = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    if not chosen:
        yield field.required(path, "must specify a peer")
    elif len(chosen) > 1 and block is not None:
        yield field.forbidden(path, "may not specify both ipBlock and another peer")


def _validate_block(path: str, block: Object) -> Iterator[Cause]:
    text = block.get("cidr", "")
    if not text:
        yield field.required(f"{path}.cidr")
        return
    yield from checks.cidr(f"{path}.cidr", text)
    whole = checks.parsed_cidr(text)
    if whole is None:
        return
    for index, part in enumerate(block.get("except") or ()):
        yield from checks.cidr(f"{path}.except[{index}]", part)
        found = checks.parsed_cidr(part)
        if found is None:
            continue
        inside = found.version == whole.version and found.network_address in whole
        if not inside or whole.prefixlen >= found.prefixlen:
            yield field.invalid(f"{path}.except[{index}]", part, "must be a strict subset of `cidr`")


def validate_network_policy_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_network_policy(new)


NETWORK_POLICY = ResourceType(
    group=GROUP,
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    short_names=("netpol",),
    generation=True,
    default=default_network_policy,
    validate=validate_network_policy,
    validate_update=validate_network_policy_update,
    columns=(
        Column(
            "Pod-Selector", lambda o, now: selector_cell(o["spec"].get("podSelector")), doc="spec.podSelector"
        ),
        AGE,
    ),
)
