from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.apis.examples import refused, stored
from timonel.apis.core.service import SERVICE
from timonel.objects.meta import Object


def service(**spec: Any) -> Object:
    return stored(SERVICE, {"spec": {"ports": [{"port": 80}], **spec}})


def updated(old: Object, **spec: Any) -> Object:
    new = copy.deepcopy(old)
    for key, value in spec.items():
        if value is None:
            new["spec"].pop(key, None)
        else:
            new["spec"][key] = value
    SERVICE.default(new)
    SERVICE.prepare_update(new, old)
    return new


def fields(new: Object, old: Object) -> list[str]:
    return [cause.field for cause in SERVICE.validate_update(new, old)]


def test_defaults() -> None:
    spec = service()["spec"]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"], spec["internalTrafficPolicy"]) == (
        "ClusterIP",
        "None",
        "Cluster",
    )


@pytest.mark.parametrize(
    ("spec", "key", "value"),
    [
        ({"type": "NodePort"}, "externalTrafficPolicy", "Cluster"),
        ({"externalIPs": ["1.2.3.4"]}, "externalTrafficPolicy", "Cluster"),
        ({"type": "LoadBalancer"}, "allocateLoadBalancerNodePorts", True),
        ({"sessionAffinity": "ClientIP"}, "sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}}),
        ({"clusterIP": "None"}, "clusterIPs", ["None"]),
    ],
)
def test_defaults_that_depend_on_the_rest(spec: Object, key: str, value: Any) -> None:
    assert service(**spec)["spec"][key] == value


@pytest.mark.parametrize(
    ("path", "value", "fields"),
    [
        ("spec/ports", [], ["spec.ports"]),
        ("spec/type", "Odd", ["spec.type"]),
        ("spec/sessionAffinity", "Odd", ["spec.sessionAffinity"]),
        ("spec/ports/0/port", 70000, ["spec.ports[0].port", "spec.ports[0].targetPort"]),
        ("spec/ports/0/protocol", "ICMP", ["spec.ports[0].protocol"]),
        ("spec/ports/0/targetPort", "-", ["spec.ports[0].targetPort"] * 2),
        ("spec/ports/0/nodePort", 30000, ["spec.ports[0].nodePort"]),
        ("spec/clusterIPs", ["10.0.0.1"], ["spec.clusterIPs"]),
        ("spec/clusterIP", "nowhere", ["spec.clusterIPs[0]"]),
        ("spec/externalIPs", ["127.0.0.1"], ["spec.externalIPs[0]"]),
        ("spec/externalIPs", ["010.0.0.1"], ["spec.externalIPs[0]"]),
        ("spec/loadBalancerClass", "x.io/y", ["spec.loadBalancerClass"]),
        ("spec/externalTrafficPolicy", "Local", ["spec.externalTrafficPolicy"]),
        ("spec/healthCheckNodePort", 30000, ["spec.healthCheckNodePort"]),
        ("spec/trafficDistribution", "Far", ["spec.trafficDistribution"]),
        ("spec/ipFamilies", ["IPv4", "IPv4"], ["spec.ipFamilies[1]"]),
        ("spec/selector", {"a": "!"}, ["spec.selector"]),
        (
            "spec/ports",
            [{"port": 1}, {"port": 1}],
            ["spec.ports[0].name", "spec.ports[1].name", "spec.ports[1]"],
        ),
    ],
)
def test_refused(path: str, value: Any, fields: list[str]) -> None:
    assert refused(SERVICE, path, value) == fields


def test_a_manifest_without_addresses_keeps_the_allocated_ones() -> None:
    old = service(type="NodePort", clusterIP="10.0.0.9")
    old["spec"]["ports"][0]["nodePort"] = 31000
    new = service(type="NodePort")
    SERVICE.prepare_update(new, old)
    assert (new["spec"]["clusterIP"], new["spec"]["ports"][0]["nodePort"]) == ("10.0.0.9", 31000)


def test_the_first_address_never_changes() -> None:
    old = service(clusterIP="10.0.0.9")
    assert fields(updated(old, clusterIP="10.0.0.10"), old) == ["spec.clusterIPs[0]"]


def test_a_service_that_becomes_a_name_gives_its_addresses_back() -> None:
    old = service(clusterIP="10.0.0.9", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    new = updated(old, type="ExternalName", externalName="x.example")
    assert fields(new, old) == []
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "internalTrafficPolicy"} & new["spec"].keys()


def test_the_class_of_a_load_balancer_is_fixed() -> None:
    old = service(type="LoadBalancer", loadBalancerClass="x.io/a")
    assert fields(updated(old, loadBalancerClass="x.io/b"), old) == ["spec.loadBalancerClass"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"externalIPs": ["1.2.3.4"]}, "spec.externalIPs is deprecated"),
        ({"trafficDistribution": "PreferClose"}, "PreferSameZone"),
        ({"clusterIP": "None", "sessionAffinity": "ClientIP"}, "ignored for headless"),
    ],
)
def test_warnings(spec: Object, said: str) -> None:
    assert any(said in warning for warning in SERVICE.warnings(service(**spec)))


@pytest.mark.parametrize(
    ("spec", "status", "cells"),
    [
        ({}, {}, ("<none>", "80/TCP")),
        ({"type": "ExternalName", "externalName": "x.example"}, {}, ("x.example", "80/TCP")),
        ({"type": "LoadBalancer"}, {}, ("<pending>", "80/TCP")),
        (
            {"type": "LoadBalancer"},
            {"ingress": [{"hostname": "h"}, {"ip": "1.1.1.1"}]},
            ("1.1.1.1,h", "80/TCP"),
        ),
    ],
)
def test_columns(spec: Object, status: Object, cells: tuple[str, str]) -> None:
    obj = service(**spec)
    obj["status"] = {"loadBalancer": status}
    shown = {column.name: column.value(obj, 0.0) for column in SERVICE.columns}
    assert (shown["External-IP"], shown["Port(s)"]) == cells
