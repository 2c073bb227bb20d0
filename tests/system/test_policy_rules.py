"""What the kernel does with the rules of NetworkPolicies: real packets between network namespaces."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.policy.test_model import labels, policy
from tests.proxy.test_shell import FakeInformer
from tests.system.namespaces import CLIENT, PODS, NodeKernel, World, world
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.objects.meta import Object
from timonel.policy.shell import PolicyAgent

pytestmark = pytest.mark.looptime(False)
A, B, C = PODS.values()
TABLE = "timonel-policies"


@pytest.fixture(scope="module")
def net() -> Iterator[World]:
    with world("tntp") as made:
        for pod, address in PODS.items():
            made.serve(pod, address, 8080)
            made.serve(pod, address, 9090)
            made.serve(pod, address, 5353, "udp")
        made.serve("a", "fd00::2", 8080)
        yield made


class Factory:
    def __init__(self) -> None:
        self.informers = {
            name: FakeInformer() for name in ("networkpolicies.networking.k8s.io", "pods", "namespaces")
        }

    def get(self, resource: str) -> FakeInformer:
        return self.informers[resource]

    metadata = get


class Enforced:
    def __init__(self, net: World) -> None:
        self.net, self.factory = net, Factory()
        self.agent = PolicyAgent(
            informers=self.factory,  # type: ignore[arg-type]
            table=TABLE,
            node="n1",
            clock=SystemClock(),
            kernel=NodeKernel(net),
        )
        self.namespace("shop", team="a")
        self.namespace("bank", team="b")
        self.pod("a", A, six="fd00::2")
        self.pod("b", B, six="fd00::3")
        self.pod("c", C, namespace="bank", six="fd00::4")

    def namespace(self, name: str, **found: str) -> None:
        self.factory.informers["namespaces"].put(
            {"metadata": {"name": name, "namespace": "", "labels": found}}
        )

    def pod(self, name: str, ip: str, namespace: str = "shop", six: str = "", **found: str) -> None:
        self.factory.informers["pods"].put(
            {
                "metadata": {"namespace": namespace, "name": name, "labels": {"app": name, **found}},
                "spec": {
                    "nodeName": "n1",
                    "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}],
                },
                "status": {"podIPs": [{"ip": ip}, *([{"ip": six}] if six else [])], "phase": "Running"},
            }
        )

    async def apply(self, *policies: Object) -> None:
        for obj in policies:
            self.factory.informers["networkpolicies.networking.k8s.io"].put(obj)
        await asyncio.sleep(0.08)

    def allowed(self, source: str, target: str, port: int = 8080, kind: str = "tcp") -> bool:
        (found,) = self.net.ask(source, target, port, kind=kind)
        assert found == "timeout" or found.split()[0] in PODS, found
        return found != "timeout"


@pytest.fixture
def it(net: World) -> Enforced:
    return Enforced(net)


async def test_default_deny_isolates_all_pods_of_its_namespace_but_not_from_the_node(it: Enforced) -> None:
    async with running(it.agent):
        assert it.allowed("b", A)
        await it.apply(policy(policyTypes=["Ingress"]))
        assert not it.allowed("b", A)
        assert not it.allowed("client", A)
        assert not it.allowed("b", A, 5353, "udp")
        assert not it.allowed("b", "fd00::2")
        assert it.allowed("a", C)  # another namespace
        assert it.allowed("node", A)  # probes
        assert it.allowed("a", A)  # itself


async def test_pods_are_let_in_by_label_namespace_and_port(it: Enforced) -> None:
    peer = {"namespaceSelector": labels(team="b"), "podSelector": labels(app="c")}
    rule = {"from": [peer], "ports": [{"port": 8080}]}
    async with running(it.agent):
        await it.apply(policy(podSelector=labels(app="a"), ingress=[rule]))
        assert it.allowed("c", A)
        assert not it.allowed("c", A, 9090)
        assert not it.allowed("b", A)
        assert it.allowed("b", "10.244.0.4")
        it.namespace("bank", team="other")  # labels of a namespace change
        await it.apply()
        assert not it.allowed("c", A)
        it.namespace("bank", team="b")
        it.pod("c", C, namespace="bank", app="elsewise")  # and those of a pod
        await it.apply()
        assert not it.allowed("c", A)


async def test_egress_is_bound_too_and_named_ports_are_the_targets(it: Enforced) -> None:
    rule = {"to": [{"podSelector": labels(app="a")}], "ports": [{"port": "web"}]}
    async with running(it.agent):
        await it.apply(policy(podSelector=labels(app="b"), policyTypes=["Egress"], egress=[rule]))
        assert it.allowed("b", A)
        assert not it.allowed("b", A, 9090)
        assert not it.allowed("b", C)
        assert it.allowed("c", "10.244.0.3")  # what comes in is free


async def test_blocks_have_exceptions_and_ports_ranges(it: Enforced) -> None:
    block = {"cidr": "10.244.0.0/24", "except": [f"{C}/32"]}
    rule = {"from": [{"ipBlock": block}], "ports": [{"port": 8000, "endPort": 8100}]}
    async with running(it.agent):
        await it.apply(policy(podSelector=labels(app="a"), ingress=[rule]))
        assert it.allowed("b", A)
        assert not it.allowed("b", A, 9090)
        assert not it.allowed("c", A)
        assert not it.allowed("client", A)
        await it.apply(policy(name="q", ingress=[{"from": [{"ipBlock": {"cidr": f"{CLIENT}/32"}}]}]))
        assert it.allowed("client", A)  # policies add up
        assert it.allowed("b", A)


async def test_a_connection_that_was_allowed_goes_on(it: Enforced, net: World) -> None:
    async with running(it.agent):
        assert net.ask("b", A, 5353, kind="udp", source_port=4545) == [f"a {B}"]
        await it.apply(policy(policyTypes=["Ingress"]))
        assert net.ask("b", A, 5353, kind="udp", source_port=4545) == [f"a {B}"]
        assert not it.allowed("b", A, 5353, "udp")


async def test_nothing_is_left_of_policies_that_are_gone(it: Enforced, net: World) -> None:
    informer = it.factory.informers["networkpolicies.networking.k8s.io"]
    async with running(it.agent):
        empty = net.run("node", ["nft", "list", "table", "inet", TABLE])
        found = [random_policy(seed) for seed in range(12)]
        for obj in found:
            await it.apply(obj)
        assert it.agent.healthy
        assert net.run("node", ["nft", "list", "table", "inet", TABLE]) != empty
        for obj in found:
            informer.remove(obj)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert it.agent.healthy
        assert net.run("node", ["nft", "list", "table", "inet", TABLE]) == empty


def random_policy(seed: int) -> Object:
    rng = random.Random(seed)
    peers: list[Any] = [
        {"podSelector": labels(app=rng.choice("abc"))},
        {"namespaceSelector": labels(team=rng.choice("ab"))},
        {"ipBlock": {"cidr": f"10.{seed}.0.0/16"}},
    ]
    ports: list[Any] = [{"port": 80 + seed}, {"port": "web"}, {"protocol": "UDP"}, {"port": 1, "endPort": 9}]
    return policy(
        name=f"p{seed}",
        podSelector=rng.choice([{}, labels(app="a")]),
        policyTypes=["Ingress", "Egress"],
        ingress=[{"from": rng.sample(peers, 2), "ports": rng.sample(ports, 2)}],
        egress=[{"to": rng.sample(peers, 1), "ports": rng.sample(ports, 3)}],
    )
