"""The controllers that do one thing each."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.controllers.world import START, World, pod, workload
from timonel.controllers.clusterrole_aggregation import CLUSTERROLE_AGGREGATION
from timonel.controllers.deployment import DEPLOYMENT
from timonel.controllers.disruption import DISRUPTION
from timonel.controllers.replicaset import REPLICASET
from timonel.controllers.root_ca_publisher import root_ca_publisher
from timonel.controllers.serviceaccount import SERVICEACCOUNT
from timonel.controllers.serviceaccount_token import serviceaccount_token
from timonel.controllers.token_cleaner import TOKEN_CLEANER
from timonel.controllers.ttl_after_finished import TTL_AFTER_FINISHED
from timonel.objects.meta import Key, Object, format_time

ROLES, PDB = "clusterroles.rbac.authorization.k8s.io", "poddisruptionbudgets.policy"


def namespace(name: str, phase: str = "Active") -> Object:
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "status": {"phase": phase}}


def test_active_namespaces_get_an_account_and_the_root_ca() -> None:
    world = World(("namespaces", namespace("shop")), ("namespaces", namespace("old", "Terminating")))
    world.settle(SERVICEACCOUNT, root_ca_publisher("PEM"))

    assert [(a["metadata"]["namespace"], a["metadata"]["name"]) for a in world.list("serviceaccounts")] == [
        ("shop", "default")
    ]
    (config,) = world.list("configmaps")
    assert (config["metadata"]["name"], config["data"]) == ("kube-root-ca.crt", {"ca.crt": "PEM"})

    world.put("configmaps", {**config, "data": {"ca.crt": "forged"}})
    world.settle(SERVICEACCOUNT, root_ca_publisher("PEM"))
    assert world.list("configmaps")[0]["data"] == {"ca.crt": "PEM"}


@pytest.mark.parametrize(("uid", "kept"), [("uid-sa", True), ("", True), ("another", False)])
def test_tokens_go_with_their_account(uid: str, kept: bool) -> None:
    noted = {"kubernetes.io/service-account.name": "sa", "kubernetes.io/service-account.uid": uid}
    secret = {
        "metadata": {"name": "t", "namespace": "shop", "uid": "uid-t", "annotations": noted},
        "type": "kubernetes.io/service-account-token",
    }
    account = {"metadata": {"name": "sa", "namespace": "shop", "uid": "uid-sa"}}
    world = World(("secrets", secret), ("serviceaccounts", account))
    world.time = START + 60
    world.settle(serviceaccount_token("CA"))
    assert bool(world.list("secrets")) == kept

    world.remove("serviceaccounts", Key("shop", "sa"))
    world.settle(serviceaccount_token("CA"))
    assert world.list("secrets") == []


def test_token_secrets_are_filled() -> None:
    noted = {"kubernetes.io/service-account.name": "sa"}
    secret = {
        "metadata": {"name": "t", "namespace": "shop", "uid": "uid-t", "annotations": noted},
        "type": "kubernetes.io/service-account-token",
        "data": {"own": "eA=="},
    }
    account = {"metadata": {"name": "sa", "namespace": "shop", "uid": "uid-sa"}}
    world = World(("secrets", secret), ("serviceaccounts", account))

    world.settle(serviceaccount_token("CA"))

    (found,) = world.list("secrets")
    assert found["data"] == {"own": "eA==", "token": "signed", "ca.crt": "Q0E=", "namespace": "c2hvcA=="}
    assert found["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == "uid-sa"
    world.settle(serviceaccount_token("NEW"))
    assert world.list("secrets")[0]["data"] == {**found["data"], "ca.crt": "TkVX"}


@pytest.mark.parametrize(
    ("age", "type_", "text", "kept"),
    [
        (59, "bootstrap.kubernetes.io/token", "2027-01-15T08:01:00Z", True),
        (60, "bootstrap.kubernetes.io/token", "2027-01-15T08:01:00Z", False),
        (0, "bootstrap.kubernetes.io/token", "soon", False),
        (60, "Opaque", "2027-01-15T08:01:00Z", True),
    ],
)
def test_bootstrap_tokens_go_when_their_time_is_up(age: float, type_: str, text: str, kept: bool) -> None:
    secret = {
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system", "uid": "u"},
        "type": type_,
        "data": {"expiration": base64.b64encode(text.encode()).decode()},
    }
    world = World(("secrets", secret))
    world.time = START + age

    world.settle(TOKEN_CLEANER)

    assert bool(world.list("secrets")) == kept


def test_a_finished_job_lives_for_its_ttl() -> None:
    job = workload("Job", api="batch/v1", ttlSecondsAfterFinished=60)
    done = {"type": "Complete", "status": "True", "lastTransitionTime": format_time(START)}
    world = World(("jobs.batch", {**job, "status": {"conditions": [done]}}))
    world.time = START + 59
    desired = world.list("jobs.batch")[0]
    assert TTL_AFTER_FINISHED.reconcile(desired, world.now()).requeue_after == 1.0
    world.time = START + 60
    world.settle(TTL_AFTER_FINISHED)

    assert world.list("jobs.batch") == []


def test_aggregated_roles_gather_each_rule_once() -> None:
    def role(name: str, *rules: str, **parts: Any) -> Object:
        made = [{"verbs": ["get"], "resources": [r]} for r in rules]
        return {
            "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"to": "view"}},
            "rules": made,
            **parts,
        }

    whole = role("view", aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]})
    world = World((ROLES, whole), (ROLES, role("b", "pods", "nodes")), (ROLES, role("a", "pods")))
    world.settle(CLUSTERROLE_AGGREGATION)

    found = world.get(ROLES, Key("", "view"))
    assert found is not None
    assert [r["resources"] for r in found["rules"]] == [["pods"], ["nodes"]]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (1, 2, 3)),
        ({"minAvailable": "50%"}, (1, 2, 4)),
        ({"maxUnavailable": 1}, (0, 3, 4)),
        ({"maxUnavailable": "50%"}, (1, 2, 4)),
        ({"minAvailable": 5}, (0, 5, 3)),
    ],
)
def test_a_budget_tells_what_may_be_disrupted(spec: Object, expected: tuple[int, int, int]) -> None:
    rs = workload("ReplicaSet", replicas=4)
    budget = workload("PodDisruptionBudget", api="policy/v1", name="b", **spec)
    some = [pod("a", owner=rs), pod("b", owner=rs), pod("c", owner=rs)]
    world = World(("replicasets.apps", rs), (PDB, budget), *(("pods", p) for p in some))
    world.settle(*DISRUPTION)

    status = world.list(PDB)[0]["status"]
    counts = (status["disruptionsAllowed"], status["desiredHealthy"], status["expectedPods"])
    assert counts == expected
    assert status["currentHealthy"] == 3
    reason = "SufficientPods" if expected[0] else "InsufficientPods"
    assert status["conditions"][0]["reason"] == reason


def test_a_deployments_scale_counts_for_its_pods() -> None:
    obj = workload("Deployment", replicas=4, strategy={"type": "Recreate"})
    budget = workload("PodDisruptionBudget", api="policy/v1", name="b", maxUnavailable="25%")
    world = World(("deployments.apps", obj), (PDB, budget))
    world.settle(DEPLOYMENT, REPLICASET, *DISRUPTION)

    assert world.list(PDB)[0]["status"]["desiredHealthy"] == 3
