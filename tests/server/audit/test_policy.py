"""Which rule of an audit policy a request falls under, and which policies are refused."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.server.audit.policy import PolicyError, read
from timonel.server.chain.info import parse
from timonel.server.request import User

BOB = User("bob", ("staff", "system:authenticated"))


def policy(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}


def level(rule: dict[str, Any], path: str, method: str = "GET", user: User | None = BOB) -> str:
    return read(policy({"level": "Metadata", **rule})).judge(user, parse(method, path, "")).level


PODS = "/api/v1/namespaces/a/pods"


@pytest.mark.parametrize(
    ("rule", "path", "fits"),
    [
        ({}, PODS, True),
        ({"users": ["bob"]}, PODS, True),
        ({"users": ["alice"]}, PODS, False),
        ({"userGroups": ["staff"]}, PODS, True),
        ({"userGroups": ["others"]}, PODS, False),
        ({"verbs": ["list"]}, PODS, True),
        ({"verbs": ["get"]}, PODS, False),
        ({"namespaces": ["a"]}, PODS, True),
        ({"namespaces": ["b"]}, PODS, False),
        ({"namespaces": [""]}, "/api/v1/nodes", True),
        ({"resources": [{"group": ""}]}, PODS, True),
        ({"resources": [{"group": "apps"}]}, PODS, False),
        ({"resources": [{"resources": ["pods"]}]}, PODS, True),
        ({"resources": [{"resources": ["pods"]}]}, f"{PODS}/x/log", False),
        ({"resources": [{"resources": ["pods/log"]}]}, f"{PODS}/x/log", True),
        ({"resources": [{"resources": ["pods/*"]}]}, f"{PODS}/x/log", True),
        ({"resources": [{"resources": ["*/log"]}]}, f"{PODS}/x/log", True),
        ({"resources": [{"resources": ["*"]}]}, f"{PODS}/x/log", True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["x"]}]}, f"{PODS}/x", True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["y"]}]}, f"{PODS}/x", False),
        ({"nonResourceURLs": ["/healthz*"]}, "/healthz/ping", True),
        ({"nonResourceURLs": ["/healthz"]}, "/healthz/ping", False),
        ({"nonResourceURLs": ["*"]}, PODS, False),
        ({"resources": [{"group": ""}]}, "/healthz", False),
    ],
)
def test_a_rule_fits(rule: dict[str, Any], path: str, fits: bool) -> None:
    assert level(rule, path) == ("Metadata" if fits else "None")


def test_the_first_rule_that_fits_decides() -> None:
    found = read(policy({"level": "None", "users": ["bob"]}, {"level": "Request"}))

    assert found.judge(BOB, parse("GET", PODS, "")).level == "None"
    assert found.judge(User("alice"), parse("GET", PODS, "")).level == "Request"


def test_stages_of_the_policy_and_of_the_rule_are_left_out() -> None:
    rule = {"level": "Metadata", "omitStages": ["ResponseStarted"], "omitManagedFields": False}
    found = read(policy(rule, omitStages=["RequestReceived"], omitManagedFields=True))
    verdict = found.judge(BOB, parse("GET", PODS, ""))

    assert verdict.omit_stages == {"RequestReceived", "ResponseStarted"}
    assert not verdict.omit_managed_fields


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "failed decoding"),
        ({"kind": "Policy", "apiVersion": "audit.k8s.io/v1beta1", "rules": []}, "expected audit.k8s.io/v1"),
        (policy(), "loaded illegal policy with 0 rules"),
        (policy({"level": "All"}), 'rules[0].level: Unsupported value: "All"'),
        (policy({}), "rules[0].level: Required value"),
        (policy({"level": "None"}, more=1), 'unknown field "more"'),
        (
            policy({"level": "None", "nonResourceURLs": ["/x"], "namespaces": ["a"]}),
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        (policy({"level": "None", "nonResourceURLs": ["x"]}), "must begin with a '/' character"),
        (policy({"level": "None", "nonResourceURLs": ["/*/x"]}), "must be the final character of the rule"),
        (
            policy({"level": "None", "resources": [{"resourceNames": ["x"]}]}),
            "using resourceNames requires at least one resource",
        ),
        (policy({"level": "None", "omitStages": ["Never"]}), "rules[0].omitStages: Invalid value"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused(tree: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message.replace("[", r"\[").replace("*", r"\*")):
        read(tree)
