from __future__ import annotations

from typing import Any

from tests.policy.test_model import labels, pod, policy
from timonel.policy.model import EGRESS, INGRESS, policy_of, rules_of
from timonel.policy.rules import Chain, base, chain_of, isolation, membership


def chain(direction: str = INGRESS, **spec: Any) -> Chain:
    it = pod("a")
    found = rules_of(it, [policy_of(policy(policyTypes=["Ingress", "Egress"], **spec))], direction)
    assert found is not None
    return chain_of(it, found, direction)


def test_nothing_allowed_is_a_chain_that_drops() -> None:
    assert chain().rules == ("drop",)


def test_blocks_and_ports_are_in_the_rules_themselves() -> None:
    found = chain(
        ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80, "endPort": 90}]}]
    )

    assert found.rules == ("ip saddr 10.0.0.0/8 tcp dport 80-90 return", "drop")


def test_peers_are_named_by_their_set_in_both_families() -> None:
    found = chain(EGRESS, egress=[{"to": [{"podSelector": labels(app="db")}]}])
    (peers,) = found.peers

    assert f"ip daddr @pods-{peers.id}-4 return" in found.rules
    assert f"ip6 daddr @pods-{peers.id}-6 return" in found.rules


def test_a_named_port_is_the_pods_own_for_ingress_and_the_others_for_egress() -> None:
    rule = {"ports": [{"port": "http"}, {"port": "nosuch"}]}

    assert chain(ingress=[rule]).rules == ("tcp dport 8080 return", "drop")
    found = chain(EGRESS, egress=[rule])
    http, _ = found.peers
    assert f"ip daddr . meta l4proto . th dport @ports-{http.id}-4 return" in found.rules
    ((_, name, key),) = membership(pod("b", "10.244.0.9"), http)
    assert name == f"ports-{http.id}-4"
    assert key == bytes([10, 244, 0, 9, 6, 0, 0, 0, 0x1F, 0x90, 0, 0])


def test_pods_that_are_allowed_the_same_share_a_chain() -> None:
    rules_ = [policy_of(policy(ingress=[{"ports": [{"port": 80}]}]))]
    chains = {
        chain_of(p, rules_of(p, rules_, INGRESS) or (), INGRESS).name
        for p in (pod("a"), pod("b", "10.0.0.9"))
    }

    assert len(chains) == 1


def test_an_isolated_pod_may_speak_with_itself() -> None:
    found = isolation(pod("a"), {INGRESS: "in-x"})

    assert {name: value for (_, name, _), value in found.items()} == {
        "isolated-in-4": "jump in-x",
        "self-4": b"",
    }
    assert isolation(pod("a"), {}) == {}


def test_the_base_table_replaces_an_older_one() -> None:
    assert base("t").startswith("table inet t {}\ndelete table inet t\n")
