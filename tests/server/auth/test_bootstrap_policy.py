"""The default policy: every controller may watch what it watches, with its own account."""

from __future__ import annotations

import pytest

from tests.server.fakes import FakeReader
from timonel.control.declare import AnyControllerType
from timonel.distro import controllers as roster
from timonel.distro.config import ClusterConfig
from timonel.server.auth import bootstrap_policy
from timonel.server.auth.rbac import RbacAuthorizer
from timonel.server.request import Attributes, User, Verdict

GROUP = "rbac.authorization.k8s.io"
WATCHING = [c for c in roster.all_of(ClusterConfig(name="test"), "PEM") if hasattr(c, "watches")]


@pytest.fixture(scope="module")
def rbac() -> RbacAuthorizer:
    reader = FakeReader()
    for obj in bootstrap_policy.objects():
        reader.put(f"{obj['kind'].lower()}s.{GROUP}", obj)
    return RbacAuthorizer(reader)


def may(rbac: RbacAuthorizer, user: str, verb: str, qualified: str, namespace: str = "") -> bool:
    resource, _, group = qualified.partition(".")
    resource, _, subresource = resource.partition("/")
    who = User(user, ("system:serviceaccounts", "system:authenticated"))
    asked = Attributes(
        who, verb, group=group, resource=resource, subresource=subresource, namespace=namespace
    )
    return rbac.authorize(asked).verdict is Verdict.ALLOW


@pytest.mark.parametrize("controller", WATCHING, ids=lambda c: c.name)
def test_a_controller_may_watch_what_it_declares(controller: AnyControllerType, rbac: RbacAuthorizer) -> None:
    user = f"system:serviceaccount:kube-system:{controller.name}"

    refused = [
        (verb, watch.resource)
        for watch in controller.watches
        for verb in ("list", "watch")
        if not may(rbac, user, verb, watch.resource)
    ]

    assert refused == []


@pytest.mark.parametrize(
    ("user", "verb", "resource", "allowed"),
    [
        ("system:kube-scheduler", "create", "pods/binding", True),
        ("system:kube-scheduler", "create", "pods", False),
        ("system:kube-proxy", "watch", "services", True),
        ("system:kube-proxy", "get", "secrets", False),
        ("system:serviceaccount:kube-system:kube-dns", "watch", "endpointslices.discovery.k8s.io", True),
        ("system:serviceaccount:kube-system:deployment-controller", "create", "pods", False),
        ("system:serviceaccount:kube-system:deployment-controller", "create", "replicasets.apps", True),
        ("system:serviceaccount:shop:default", "create", "selfsubjectreviews.authentication.k8s.io", True),
        ("system:serviceaccount:shop:default", "list", "pods", False),
    ],
)
def test_who_may_do_what(rbac: RbacAuthorizer, user: str, verb: str, resource: str, allowed: bool) -> None:
    assert may(rbac, user, verb, resource) is allowed
