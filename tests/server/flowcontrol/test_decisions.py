"""The pure parts of flow control: which schema, which queues, how many seats, how long to wait."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.server.chain.info import parse
from timonel.server.flowcontrol import defaults, matching
from timonel.server.flowcontrol.concurrency import Demand, allocate, limits, widest
from timonel.server.flowcontrol.retry import LONGEST, RetryAfter
from timonel.server.flowcontrol.sharding import hand, hashed
from timonel.server.request import User

EVERYBODY = "system:authenticated"
SPECS = {d.name: dict(d.spec) for d in defaults.FLOW_SCHEMAS}


def classified(user: User, method: str, path: str) -> str:
    info = parse(method, path, "")
    for name in sorted(SPECS, key=lambda n: (SPECS[n]["matchingPrecedence"], n)):
        if matching.compiled(SPECS[name])(user, info):
            return name
    return ""


def account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", EVERYBODY)
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


NODE = User("system:node:a", ("system:nodes", EVERYBODY))


@pytest.mark.parametrize(
    ("user", "method", "path", "schema"),
    [
        (User("admin", ("system:masters", EVERYBODY)), "GET", "/api/v1/pods", "exempt"),
        (User("system:anonymous", ("system:unauthenticated",)), "GET", "/readyz", "probes"),
        (User("bob", (EVERYBODY,)), "GET", "/readyz/etcd", "global-default"),
        (NODE, "PATCH", "/api/v1/nodes/a/status", "system-node-high"),
        (NODE, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a", "system-node-high"),
        (NODE, "GET", "/api/v1/namespaces/x/pods/a", "system-nodes"),
        (
            User("system:kube-scheduler", (EVERYBODY,)),
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/s",
            "system-leader-election",
        ),
        (User("system:kube-scheduler", (EVERYBODY,)), "GET", "/api/v1/pods", "kube-scheduler"),
        (
            User("system:kube-controller-manager", (EVERYBODY,)),
            "GET",
            "/api/v1/pods",
            "kube-controller-manager",
        ),
        (
            account("kube-system", "endpoint-controller"),
            "PUT",
            "/api/v1/namespaces/a/endpoints/b",
            "endpoint-controller",
        ),
        (account("kube-system", "x"), "GET", "/api/v1/pods", "kube-system-service-accounts"),
        (account("a", "x"), "GET", "/api/v1/pods", "service-accounts"),
        (User("bob", (EVERYBODY,)), "GET", "/api/v1/pods", "global-default"),
        (User("nobody"), "GET", "/api/v1/pods", ""),
    ],
)
def test_requests_belong_to_the_schema_that_upstream_gives_them(
    user: User, method: str, path: str, schema: str
) -> None:
    assert classified(user, method, path) == schema


@pytest.mark.parametrize(
    ("rule", "path", "fits"),
    [
        ({"clusterScope": True}, "/api/v1/nodes", True),
        ({"namespaces": ["*"]}, "/api/v1/nodes", False),
        ({"namespaces": ["a"]}, "/api/v1/namespaces/a/pods", True),
        ({"namespaces": ["b"], "clusterScope": True}, "/api/v1/namespaces/a/pods", False),
        ({"namespaces": ["*"], "resources": ["pods"]}, "/api/v1/namespaces/a/pods/x/log", False),
        ({"namespaces": ["*"], "resources": ["pods/log"]}, "/api/v1/namespaces/a/pods/x/log", True),
        ({"namespaces": ["*"], "apiGroups": ["apps"]}, "/api/v1/namespaces/a/pods", False),
        ({"namespaces": ["*"], "verbs": ["create"]}, "/api/v1/namespaces/a/pods", False),
    ],
)
def test_a_resource_rule_fits(rule: dict[str, Any], path: str, fits: bool) -> None:
    whole = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], **rule}
    subjects = [{"kind": "User", "user": {"name": "*"}}]
    matches = matching.compiled({"rules": [{"subjects": subjects, "resourceRules": [whole]}]})

    assert matches(User("bob"), parse("GET", path, "")) is fits


@given(value=st.integers(0, 2**64 - 1), deck=st.integers(1, 512), size=st.integers(1, 10))
def test_a_hand_holds_different_queues_of_the_deck(value: int, deck: int, size: int) -> None:
    size = min(size, deck)
    dealt = hand(value, deck, size)

    assert len(set(dealt)) == size
    assert all(0 <= card < deck for card in dealt)


def test_flows_rarely_hold_the_same_hand() -> None:
    hands = [frozenset(hand(hashed("schema", f"user-{n}"), 128, 6)) for n in range(300)]

    assert len(set(hands)) == 300


def test_seats_are_shared_as_upstream_shares_them() -> None:
    specs = {d.name: dict(d.spec) for d in defaults.PRIORITY_LEVELS}
    found = limits(specs, 600)

    nominal = {name: each.nominal for name, each in found.items()}
    assert nominal == {
        "exempt": 0, "catch-all": 13, "system": 74, "node-high": 98, "leader-election": 25, "workload-high": 98,
        "workload-low": 245, "global-default": 49,
    }  # fmt: skip
    assert (found["workload-low"].lowest, found["workload-low"].highest(600)) == (25, 845)
    assert widest(specs["workload-low"], 245) == 37
    assert widest(specs["catch-all"], 13) == 0


demands = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 400), st.floats(0, 1000)).map(
        lambda d: Demand(d[0], d[0] + d[1], max(d[0], d[2]))
    ),
    min_size=1,
    max_size=10,
)


@given(asked=demands, total=st.integers(1, 1000))
def test_what_is_given_out_is_within_bounds_and_about_the_total(asked: list[Demand], total: int) -> None:
    given_out = allocate(asked, total)

    assert all(d.low - 1 <= seats <= d.high + 1 for d, seats in zip(asked, given_out, strict=True))
    lowest, highest = sum(d.low for d in asked), sum(d.high for d in asked)
    assert abs(sum(given_out) - min(max(total, lowest), highest)) <= len(asked)


def test_the_wait_doubles_under_pressure_and_shrinks_afterwards() -> None:
    retry = RetryAfter()
    seen = []
    for second in range(1, 40):
        for _ in range(200):
            retry.dropped(second)
        seen.append(retry.seconds)
    assert max(seen) == LONGEST
    assert seen == sorted(seen)

    for second in range(200, 600, 40):
        retry.dropped(second)
    assert retry.seconds < LONGEST
