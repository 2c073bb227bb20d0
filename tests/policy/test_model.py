from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.selectors import from_map
from timonel.objects.meta import Key, Object
from timonel.policy.model import EGRESS, INGRESS, Matcher, Peers, Pod, Port, pod_of, policy_of, rules_of


def policy(namespace: str = "shop", name: str = "p", **spec: Any) -> Object:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"podSelector": {}, **spec}}


def pod(name: str, ip: str = "10.244.0.2", namespace: str = "shop", local: bool = True, **labels: str) -> Pod:
    return Pod(Key(namespace, name), labels, (ip,), {("http", "tcp"): 8080}, local)


def labels(**found: str) -> Object:
    return {"matchLabels": found}


def test_a_policy_without_rules_isolates_and_allows_nothing() -> None:
    found = policy_of(policy(policyTypes=["Ingress"]))

    assert rules_of(pod("a"), [found], INGRESS) == ()
    assert rules_of(pod("a"), [found], EGRESS) is None


def test_only_selected_pods_are_isolated() -> None:
    found = policy_of(policy(podSelector=labels(app="db"), policyTypes=["Egress"]))

    assert found.selector == from_map({"app": "db"})
    assert rules_of(pod("a", app="db"), [found], EGRESS) == ()
    assert rules_of(pod("a", app="web"), [found], EGRESS) is None


def test_types_are_guessed_where_they_are_not_given() -> None:
    assert set(policy_of(policy()).rules) == {INGRESS}
    assert set(policy_of(policy(egress=[{}])).rules) == {INGRESS, EGRESS}


def test_an_empty_rule_allows_everything() -> None:
    (rule,) = policy_of(policy(ingress=[{}])).rules[INGRESS]

    assert (rule.anyone, rule.peers, rule.ports) == (True, None, ())


def test_ports_are_numbers_ranges_names_or_all_of_a_protocol() -> None:
    ports = [
        {"port": 80},
        {"port": 100, "endPort": 200, "protocol": "UDP"},
        {"port": "http"},
        {"protocol": "SCTP"},
    ]
    (rule,) = policy_of(policy(ingress=[{"ports": ports}])).rules[INGRESS]

    assert rule.ports == (
        Port("tcp", 80, 80), Port("udp", 100, 200), Port("tcp", name="http"), Port("sctp"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("block", "networks"),
    [
        ({"cidr": "10.0.0.0/30"}, {"10.0.0.0/30"}),
        ({"cidr": "10.0.0.0/30", "except": ["10.0.0.1/32"]}, {"10.0.0.0/32", "10.0.0.2/31"}),
        ({"cidr": "10.0.0.0/30", "except": ["10.0.0.0/24"]}, set()),
        ({"cidr": "10.0.0.0/30", "except": ["10.0.1.0/24"]}, {"10.0.0.0/30"}),
        ({"cidr": "fd00::/127", "except": ["fd00::1/128"]}, {"fd00::/128"}),
    ],
)
def test_exceptions_are_cut_out_of_a_block(block: Object, networks: set[str]) -> None:
    (rule,) = policy_of(policy(ingress=[{"from": [{"ipBlock": block}]}])).rules[INGRESS]

    assert set(rule.blocks) == networks
    assert not rule.anyone


NAMESPACES = {"shop": {"team": "a"}, "bank": {"team": "b"}}


@pytest.mark.parametrize(
    ("peer", "matching"),
    [
        ({"podSelector": {}}, ["shop/web", "shop/db"]),
        ({"podSelector": labels(app="web")}, ["shop/web"]),
        ({"namespaceSelector": {}}, ["shop/web", "shop/db", "bank/web"]),
        ({"namespaceSelector": labels(team="b")}, ["bank/web"]),
        ({"namespaceSelector": labels(team="b"), "podSelector": labels(app="db")}, []),
        ({"namespaceSelector": labels(team="b"), "podSelector": labels(app="web")}, ["bank/web"]),
    ],
)
def test_peers_are_pods_by_label_and_namespace(peer: Object, matching: list[str]) -> None:
    (rule,) = policy_of(policy(ingress=[{"from": [peer]}])).rules[INGRESS]
    assert rule.peers is not None
    pods = [pod("web", app="web"), pod("db", app="db"), pod("web", namespace="bank", app="web")]

    matcher = Matcher(rule.peers)
    assert [f"{p.key.namespace}/{p.key.name}" for p in pods if matcher.matches(p, NAMESPACES)] == matching


def test_the_same_selectors_are_the_same_group_whoever_writes_them() -> None:
    first = policy_of(policy(ingress=[{"from": [{"podSelector": labels(a="1")}]}])).rules[INGRESS][0]
    second = policy_of(
        policy(name="q", ingress=[{"from": [{"podSelector": labels(a="1")}], "ports": [{"port": 1}]}])
    )

    assert first.peers == second.rules[INGRESS][0].peers
    assert Peers("other", "[]").id != Peers("shop", "[]").id


@pytest.mark.parametrize(
    ("spec", "status", "counts"),
    [
        ({}, {"podIPs": [{"ip": "10.0.0.1"}]}, True),
        ({}, {"podIP": "10.0.0.1"}, True),
        ({}, {}, False),
        ({"hostNetwork": True}, {"podIP": "10.0.0.1"}, False),
        ({}, {"podIP": "10.0.0.1", "phase": "Succeeded"}, False),
    ],
)
def test_pods_without_an_address_of_their_own_do_not_count(
    spec: Object, status: Object, counts: bool
) -> None:
    obj = {
        "metadata": {"namespace": "shop", "name": "a"},
        "spec": {"containers": [], **spec},
        "status": status,
    }

    assert (pod_of(obj, "n1") is not None) == counts
