"""Decisions of RBAC: who may do what, with which reason, and when a decision is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.fakes import FakeReader
from timonel.objects.meta import Object
from timonel.server.auth import bootstrap_policy, rules
from timonel.server.auth.rbac import RbacAuthorizer
from timonel.server.auth.union import PrivilegedGroup, UnionAuthorizer
from timonel.server.request import Attributes, User, Verdict

GROUP = "rbac.authorization.k8s.io"
FRANK = User("frank", ("team",))


def get(
    resource: str, *, user: User = FRANK, verb: str = "get", namespace: str = "shop", **more: str
) -> Attributes:
    return Attributes(user, verb, resource=resource, version="v1", namespace=namespace, **more)


def role(name: str, *rule: Object, namespace: str = "shop") -> Object:
    return {"kind": "Role", "metadata": {"name": name, "namespace": namespace}, "rules": list(rule)}


def binding(name: str, *, to: str, subject: Object, kind: str = "Role", namespace: str = "shop") -> Object:
    metadata: dict[str, Any] = {"name": name, **({"namespace": namespace} if namespace else {})}
    ref = {"apiGroup": GROUP, "kind": kind, "name": to}
    return {"metadata": metadata, "roleRef": ref, "subjects": [subject]}


PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
USER = {"kind": "User", "apiGroup": GROUP, "name": "frank"}


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


def test_a_bound_role_allows_and_says_why(reader: FakeReader) -> None:
    rbac = RbacAuthorizer(reader)
    reader.put(f"roles.{GROUP}", role("r", PODS))
    reader.put(f"rolebindings.{GROUP}", binding("b", to="r", subject=USER))

    decision = rbac.authorize(get("pods"))

    assert decision.verdict is Verdict.ALLOW
    assert decision.reason == 'RBAC: allowed by RoleBinding "b/shop" of Role "r" to User "frank"'


def test_a_role_holds_in_its_namespace_only(reader: FakeReader) -> None:
    reader.put(f"roles.{GROUP}", role("r", PODS))
    reader.put(f"rolebindings.{GROUP}", binding("b", to="r", subject=USER))

    decision = RbacAuthorizer(reader).authorize(get("pods", namespace="other"))

    assert decision.verdict is Verdict.NO_OPINION
    assert decision.reason == ""


def test_a_binding_to_a_role_that_is_not_there_is_a_reason(reader: FakeReader) -> None:
    reader.put(f"rolebindings.{GROUP}", binding("b", to="later", subject=USER))

    decision = RbacAuthorizer(reader).authorize(get("pods"))

    assert decision.reason == f'RBAC: role.{GROUP} "later" not found'


def test_a_remembered_decision_is_forgotten_when_the_policy_changes(reader: FakeReader) -> None:
    rbac = RbacAuthorizer(reader)
    assert rbac.authorize(get("pods")).verdict is Verdict.NO_OPINION
    reader.put(f"roles.{GROUP}", role("r", PODS))
    reader.put(f"rolebindings.{GROUP}", binding("b", to="r", subject=USER))
    assert rbac.authorize(get("pods")).verdict is Verdict.ALLOW

    reader.remove(f"rolebindings.{GROUP}", "shop", "b")

    assert rbac.authorize(get("pods")).verdict is Verdict.NO_OPINION


def test_what_is_remembered_of_one_name_holds_for_others_only_where_no_rule_asks_for_names(
    reader: FakeReader,
) -> None:
    rbac = RbacAuthorizer(reader)
    named = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"]}
    reader.put(f"roles.{GROUP}", role("r", PODS, named))
    reader.put(f"rolebindings.{GROUP}", binding("b", to="r", subject=USER))

    def may(resource: str, name: str = "") -> bool:
        return rbac.authorize(get(resource, name=name)).verdict is Verdict.ALLOW

    for _ in range(2):
        assert [may("pods", name) for name in ("", "a", "b")] == [True, True, True]
        assert [may("secrets", name) for name in ("", "mine", "other", "mine")] == [False, True, False, True]

    reader.put(f"roles.{GROUP}", role("r", {**PODS, "resourceNames": ["b"]}))

    assert [may("pods", name) for name in ("", "a", "b")] == [False, False, True]


def test_a_service_account_is_named_with_its_namespace(reader: FakeReader) -> None:
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": "ci"}
    reader.put(f"clusterroles.{GROUP}", {"metadata": {"name": "r"}, "rules": [PODS]})
    reader.put(
        f"clusterrolebindings.{GROUP}",
        binding("b", to="r", subject=account, kind="ClusterRole", namespace=""),
    )

    decision = RbacAuthorizer(reader).authorize(get("pods", user=User("system:serviceaccount:ci:robot")))

    expected = 'allowed by ClusterRoleBinding "b" of ClusterRole "r" to ServiceAccount "robot/ci"'
    assert decision.reason == f"RBAC: {expected}"


@pytest.mark.parametrize(
    ("rule", "asked", "allowed"),
    [
        ({"resources": ["*"]}, {"resource": "pods", "subresource": "log"}, True),
        ({"resources": ["pods"]}, {"resource": "pods", "subresource": "log"}, False),
        ({"resources": ["pods/log"]}, {"resource": "pods", "subresource": "log"}, True),
        ({"resources": ["*/scale"]}, {"resource": "deployments", "subresource": "scale"}, True),
        ({"resources": ["*/scale"]}, {"resource": "deployments"}, False),
        ({"resources": ["pods"], "resourceNames": ["a"]}, {"resource": "pods", "name": "a"}, True),
        ({"resources": ["pods"], "resourceNames": ["a"]}, {"resource": "pods", "name": "b"}, False),
        ({"resources": ["pods"], "resourceNames": ["a"]}, {"resource": "pods"}, False),
        ({"resources": ["pods"], "apiGroups": ["apps"]}, {"resource": "pods"}, False),
        ({"resources": ["pods"], "verbs": ["list"]}, {"resource": "pods"}, False),
        ({"nonResourceURLs": ["/healthz/*"]}, {"path": "/healthz/ping"}, True),
        ({"nonResourceURLs": ["/healthz/*"]}, {"path": "/livez"}, False),
        ({"nonResourceURLs": ["*"]}, {"resource": "pods"}, False),
    ],
)
def test_what_a_rule_permits(rule: Object, asked: dict[str, str], allowed: bool) -> None:
    full = {"verbs": ["get"], "apiGroups": [""], **rule}

    assert rules.allows(full, Attributes(FRANK, "get", **asked)) is allowed


def test_default_roles_gather_what_aggregates_to_them() -> None:
    reader = FakeReader()
    for obj in bootstrap_policy.objects():
        reader.put(f"{obj['kind'].lower()}s.{GROUP}", obj)
    reader.put(f"rolebindings.{GROUP}", binding("b", to="edit", subject=USER, kind="ClusterRole"))
    rbac = RbacAuthorizer(reader)

    assert rbac.authorize(get("pods", verb="create")).verdict is Verdict.ALLOW
    assert rbac.authorize(get("configmaps", verb="watch")).verdict is Verdict.ALLOW
    assert rbac.authorize(get("nodes")).verdict is Verdict.NO_OPINION


def test_masters_may_do_all_without_any_policy(reader: FakeReader) -> None:
    union = UnionAuthorizer((PrivilegedGroup(), RbacAuthorizer(reader)))

    assert union.authorize(get("pods", user=User("a", ("system:masters",)))).verdict is Verdict.ALLOW


def test_what_is_not_covered_is_told_thing_by_thing() -> None:
    wanted = [{"apiGroups": ["", "apps"], "resources": ["secrets", "pods"], "verbs": ["get", "list"]}]

    missing = rules.uncovered([PODS], wanted)

    assert sorted(map(rules.describe, rules.compact(missing))) == [
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}',
        '{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list"]}',
        '{APIGroups:["apps"], Resources:["secrets"], Verbs:["get" "list"]}',
    ]


def test_everything_covers_everything() -> None:
    for obj in bootstrap_policy.objects():
        assert not rules.uncovered(rules.EVERYTHING, obj.get("rules") or ())
