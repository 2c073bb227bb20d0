from __future__ import annotations

from typing import Any

from timonel.objects.meta import Object
from timonel.proxy.model import SERVICE_NAME_LABEL, ServicePort, Target, build


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


def endpoint(ip: str, node: str = "n1", **conditions: bool) -> Object:
    return {"addresses": [ip], "nodeName": node, "conditions": conditions}


def only(routed: Any) -> ServicePort:
    (port,) = routed.ports.values()
    found: ServicePort = port
    return found


def test_ready_endpoints_are_used() -> None:
    port = only(
        build([service()], slices(endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=False)), "n1")
    )

    assert port.targets == port.external_targets == (Target("10.0.0.1", 8080),)
    assert (port.port, port.node_port, port.protocol) == (80, 30080, "tcp")


def test_serving_terminating_endpoints_are_the_last_resort() -> None:
    leaving = endpoint("10.0.0.2", ready=False, serving=True, terminating=True)

    assert only(build([service()], slices(leaving), "n1")).targets == (Target("10.0.0.2", 8080),)
    both = only(build([service()], slices(leaving, endpoint("10.0.0.1", ready=True)), "n1"))
    assert both.targets == (Target("10.0.0.1", 8080),)


def test_a_local_policy_uses_this_node_alone_and_keeps_the_source() -> None:
    found = slices(endpoint("10.0.0.1", "n1", ready=True), endpoint("10.0.0.2", "n2", ready=True))

    port = only(build([service(externalTrafficPolicy="Local")], found, "n1"))
    assert port.external_targets == (Target("10.0.0.1", 8080),)
    assert len(port.targets) == 2
    assert not port.masquerade_external
    elsewhere = only(build([service(externalTrafficPolicy="Local")], found, "n3"))
    assert (elsewhere.external_targets, elsewhere.drop_external) == ((), True)


def test_headless_and_external_name_services_are_not_routed() -> None:
    assert not build([service(clusterIPs=["None"])], [], "n1").ports
    assert not build([service(type="ExternalName", externalName="x")], [], "n1").ports


def test_client_affinity_has_the_default_timeout() -> None:
    assert only(build([service(sessionAffinity="ClientIP")], [], "n1")).affinity_seconds == 10_800
