from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.objects.meta import Object
from timonel.proxy.model import (
    SERVICE_NAME_LABEL,
    Place,
    ServicePort,
    Target,
    health_port,
    service_ports,
    stable,
)


def service(**spec: Any) -> Object:
    return {
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {
            "clusterIPs": ["10.96.0.7"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
            **spec,
        },
    }


def slices(*endpoints: Object) -> list[Object]:
    return [
        {
            "metadata": {"namespace": "shop", "name": "web-x", "labels": {SERVICE_NAME_LABEL: "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }
    ]


def endpoint(ip: str, node: str = "n1", **conditions: Any) -> Object:
    hints = {"hints": conditions.pop("hints")} if "hints" in conditions else {}
    return {"addresses": [ip], "nodeName": node, "conditions": conditions, **hints}


def route(service: Object, found: list[Object], node: str = "n1", zone: str = "") -> list[ServicePort]:
    return list(service_ports(service, found, Place(node, zone)))


def only(*arguments: Any, **keywords: Any) -> ServicePort:
    (port,) = route(*arguments, **keywords)
    return port


def ips(targets: tuple[Target, ...]) -> list[str]:
    return [t.ip for t in targets]


def test_ready_endpoints_are_used() -> None:
    port = only(service(), slices(endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=False)))

    assert port.targets == port.cluster_targets == (Target("10.0.0.1", 8080, True),)
    assert (port.port, port.node_port, port.protocol) == (80, 30080, "tcp")


def test_serving_terminating_endpoints_are_the_last_resort() -> None:
    leaving = endpoint("10.0.0.2", ready=False, serving=True, terminating=True)

    assert ips(only(service(), slices(leaving)).targets) == ["10.0.0.2"]
    assert ips(only(service(), slices(leaving, endpoint("10.0.0.1"))).targets) == ["10.0.0.1"]
    local = only(service(externalTrafficPolicy="Local"), slices(leaving, endpoint("10.0.0.1", "n2")))
    assert ips(local.local_targets) == ["10.0.0.2"]


def test_an_external_local_policy_knows_this_node_alone_and_the_cluster_too() -> None:
    found = slices(endpoint("10.0.0.1", "n1"), endpoint("10.0.0.2", "n2"))

    port = only(service(externalTrafficPolicy="Local"), found)
    assert ips(port.local_targets) == ["10.0.0.1"]
    assert ips(port.targets) == ips(port.cluster_targets) == ["10.0.0.1", "10.0.0.2"]
    assert port.external_local


def test_an_internal_local_policy_keeps_to_this_node() -> None:
    found = slices(endpoint("10.0.0.1", "n1"), endpoint("10.0.0.2", "n2"))

    assert ips(only(service(internalTrafficPolicy="Local"), found).targets) == ["10.0.0.1"]
    assert ips(only(service(internalTrafficPolicy="Local"), found, "n3").targets) == []


def test_headless_and_external_name_services_are_not_routed() -> None:
    assert not route(service(clusterIPs=["None"]), [])
    assert not route(service(type="ExternalName", externalName="x"), [])


def test_a_service_of_another_proxy_is_not_routed() -> None:
    other = service()
    other["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "mine"}

    assert not route(other, slices(endpoint("10.0.0.1")))


def test_client_affinity_has_the_default_timeout() -> None:
    assert only(service(sessionAffinity="ClientIP"), []).affinity_seconds == 10_800


def hinted(ip: str, zone: str = "", node: str = "") -> Object:
    hints: Object = {}
    if zone:
        hints["forZones"] = [{"name": zone}]
    if node:
        hints["forNodes"] = [{"name": node}]
    return endpoint(ip, "elsewhere", hints=hints)


@pytest.mark.parametrize(
    ("endpoints", "used"),
    [
        ([hinted("10.0.0.1", "a"), hinted("10.0.0.2", "b")], ["10.0.0.1"]),
        ([hinted("10.0.0.1", "a"), hinted("10.0.0.2")], ["10.0.0.1", "10.0.0.2"]),
        ([hinted("10.0.0.1", "b"), hinted("10.0.0.2", "b")], ["10.0.0.1", "10.0.0.2"]),
        ([hinted("10.0.0.1", "a", "n1"), hinted("10.0.0.2", "a", "n2")], ["10.0.0.1"]),
        ([hinted("10.0.0.1", "a", "n3"), hinted("10.0.0.2", "b", "n2")], ["10.0.0.1"]),
    ],
)
def test_hints_count_only_where_all_endpoints_have_them(endpoints: list[Object], used: list[str]) -> None:
    assert ips(only(service(), slices(*endpoints), zone="a").targets) == used


def test_both_families_are_routed_each_with_its_own_slices() -> None:
    second = {**slices(endpoint("fd00::1"))[0], "addressType": "IPv6"}
    both = service(clusterIPs=["10.96.0.7", "fd96::7"], externalIPs=["1.2.3.4", "fd01::4"])
    four, six = route(both, [*slices(endpoint("10.0.0.1")), second])

    assert (four.family, ips(four.targets), four.external_ips) == (4, ["10.0.0.1"], ("1.2.3.4",))
    assert (six.family, ips(six.targets), six.external_ips) == (6, ["fd00::1"], ("fd01::4",))


def test_source_ranges_guard_the_load_balancers_addresses_alone() -> None:
    it = service(externalIPs=["1.1.1.1"], loadBalancerSourceRanges=["10.0.0.0/9", "10.128.0.0/9", "fd00::/8"])
    it["status"] = {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"ip": "3.3.3.3", "ipMode": "Proxy"}]}}
    port = only(it, [])

    assert port.external_ips == ("1.1.1.1", "2.2.2.2")
    assert (port.guarded_ips, port.source_ranges) == (("2.2.2.2",), ("10.0.0.0/8",))


def test_the_health_port_counts_ready_endpoints_of_this_node() -> None:
    it = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=31000)
    found = slices(endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False), endpoint("10.0.0.3", "n2"))

    health = health_port(it, found, "n1")
    assert health is not None
    assert (health.port, health.local_endpoints) == (31000, 1)
    assert health_port(service(), found, "n1") is None


some = st.lists(st.sampled_from("abcdef"), unique=True).map(lambda found: [Target(x, 80) for x in found])


@given(some, some)
def test_targets_that_stay_keep_their_place(old: list[Target], new: list[Target]) -> None:
    found = stable(old, new)

    assert sorted(found, key=lambda t: t.ip) == sorted(new, key=lambda t: t.ip)
    for n, target in enumerate(old[: len(new)]):
        assert target not in new or found[n] == target
