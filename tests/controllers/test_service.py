from __future__ import annotations

from typing import Any

import pytest

from timonel.control.actions import Outcome, Record
from timonel.controllers.service import Observed, observe, reconcile, status
from timonel.objects.meta import Object


def balancer(name: str, port: int = 80, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Object:
    return {
        "metadata": {"namespace": "shop", "name": name, "creationTimestamp": created},
        "spec": {"type": "LoadBalancer", "ports": [{"protocol": "TCP", "port": port}], **spec},
        "status": {"loadBalancer": {}},
    }


def node(name: str, ip: str, *, ready: bool = True, labels: dict[str, str] | None = None) -> Object:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
        },
    }


class World:
    def __init__(self, services: list[Object], nodes: list[Object]) -> None:
        self._found = {"services": services, "nodes": nodes}

    def list(self, resource: str, namespace: str | None = None) -> list[Object]:
        return self._found[resource]


def seen(desired: Object, *others: Object, nodes: list[Object] | None = None) -> Observed:
    found = nodes if nodes is not None else [node("n2", "10.0.0.2"), node("n1", "10.0.0.1")]
    return observe(desired, World([desired, *others], found))  # type: ignore[arg-type]


def given(desired: Object, observed: Observed) -> list[str] | None:
    found = status(desired, observed, Outcome())
    return None if found is None else [i["ip"] for i in found["loadBalancer"].get("ingress", [])]


def test_a_load_balancer_has_the_addresses_of_ready_nodes() -> None:
    excluded = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    nodes = [
        node("c", "10.0.0.3", ready=False),
        node("b", "10.0.0.2"),
        node("a", "10.0.0.1"),
        node("d", "10.0.0.4", labels=excluded),
    ]
    it = balancer("web")

    assert given(it, seen(it, nodes=nodes)) == ["10.0.0.1", "10.0.0.2"]


def test_what_is_right_is_left_alone() -> None:
    it = balancer("web")
    it["status"] = status(it, seen(it), Outcome())

    assert status(it, seen(it), Outcome()) is None


def test_a_port_goes_to_the_oldest_and_the_other_is_told() -> None:
    first, second = balancer("b"), balancer("a", created="2026-01-02T00:00:00Z")

    assert given(first, seen(first, second)) == ["10.0.0.1", "10.0.0.2"]
    assert given(second, seen(second, first)) is None
    (event,) = reconcile(second, seen(second, first)).actions
    assert isinstance(event, Record)
    assert (
        event.message
        == "Error syncing load balancer: port 80/TCP of the nodes is already used by Service shop/b"
    )
    third = balancer("c", 81, created="2026-01-03T00:00:00Z")
    assert given(third, seen(third, first, second)) == ["10.0.0.1", "10.0.0.2"]


def test_one_that_waits_itself_keeps_nothing_from_others() -> None:
    first, second = balancer("a"), balancer("b", created="2026-01-02T00:00:00Z")
    second["spec"]["ports"].append({"protocol": "TCP", "port": 90})
    third = balancer("c", 90, created="2026-01-03T00:00:00Z")

    assert given(third, seen(third, first, second)) == ["10.0.0.1", "10.0.0.2"]


def test_the_agents_own_port_is_not_given_out() -> None:
    it = balancer("evil", 10250)

    assert given(it, seen(it)) is None
    assert len(reconcile(it, seen(it)).actions) == 1


@pytest.mark.parametrize("spec", [{"loadBalancerClass": "example.com/lb"}, {"type": "ClusterIP"}])
def test_what_other_controllers_have_written_stays_and_our_own_goes(spec: Object) -> None:
    it = balancer("web", **spec)
    it["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
    assert status(it, seen(it), Outcome()) is None

    it["status"] = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1", "ipMode": "VIP"}]}}
    assert status(it, seen(it), Outcome()) == {"loadBalancer": {}}


def test_addresses_are_of_the_services_family() -> None:
    it = balancer("web", ipFamilies=["IPv6"])

    assert given(it, seen(it, nodes=[node("a", "10.0.0.1"), node("b", "fd00::1")])) == ["fd00::1"]
