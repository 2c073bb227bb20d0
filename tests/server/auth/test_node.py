"""Nodes: what a node may read and write, by the pods that run on it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.fakes import PODS, FakeReader, admitted, creating, pod, updating
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.server.admission.node_restriction import NodeRestriction
from timonel.server.auth.node import NodeAuthorizer
from timonel.server.request import Attributes, User, Verdict

NODE = User("system:node:n", ("system:nodes", "system:authenticated"))
NODES = ResourceType(group="", version="v1", kind="Node", plural="nodes", namespaced=False)


def asked(verb: str, resource: str, name: str = "", namespace: str = "shop", **more: Any) -> Attributes:
    return Attributes(NODE, verb, resource=resource, name=name, namespace=namespace, **more)


def busy() -> FakeReader:
    """A node with one pod that refers to one of everything."""
    reader = FakeReader()
    volumes = [
        {"name": "s", "secret": {"secretName": "own"}},
        {"name": "m", "configMap": {"name": "own"}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "own"}},
    ]
    reader.put("pods", pod("here", nodeName="n", serviceAccountName="own", volumes=volumes))
    reader.put("pods", pod("there", nodeName="other", serviceAccountName="foreign"))
    claim = {"namespace": "shop", "name": "own"}
    reader.put("persistentvolumes", {"metadata": {"name": "pv"}, "spec": {"claimRef": claim}})
    return reader


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        (asked("get", "secrets", "own"), True),
        (asked("get", "secrets", "foreign"), False),
        (asked("list", "secrets"), False),
        (asked("watch", "configmaps", "own"), True),
        (asked("get", "persistentvolumeclaims", "own"), True),
        (asked("get", "persistentvolumes", "pv", ""), True),
        (asked("get", "persistentvolumes", "other", ""), False),
        (asked("create", "serviceaccounts", "own", subresource="token"), True),
        (asked("create", "serviceaccounts", "foreign", subresource="token"), False),
        (asked("get", "pods", "here"), True),
        (asked("get", "pods", "there"), False),
        (asked("list", "pods", namespace=""), False),
        (asked("list", "pods", namespace="", field_selector="spec.nodeName=n"), True),
        (asked("get", "nodes", "n", ""), True),
        (asked("get", "nodes", "other", ""), False),
        (asked("update", "leases", "n", "kube-node-lease", group="coordination.k8s.io"), True),
        (asked("update", "leases", "other", "kube-node-lease", group="coordination.k8s.io"), False),
        (asked("create", "events"), True),
        (asked("delete", "deployments", "d", group="apps"), False),
    ],
)
def test_what_a_node_may(question: Attributes, allowed: bool) -> None:
    verdict = NodeAuthorizer(busy()).authorize(question).verdict

    assert (verdict is Verdict.ALLOW) is allowed


def test_what_a_pod_needed_is_closed_when_it_goes() -> None:
    reader = busy()
    authorizer = NodeAuthorizer(reader)

    reader.remove("pods", "shop", "here")

    decision = authorizer.authorize(asked("get", "secrets", "own"))
    assert decision.reason == "no relationship found between node 'n' and this object"


def test_two_pods_may_need_the_same() -> None:
    reader = busy()
    authorizer = NodeAuthorizer(reader)
    reader.put("pods", pod("too", nodeName="n", serviceAccountName="own"))

    reader.remove("pods", "shop", "here")

    question = asked("create", "serviceaccounts", "own", subresource="token")
    assert authorizer.authorize(question).verdict is Verdict.ALLOW


async def test_a_node_makes_itself_but_not_others() -> None:
    plugin = NodeRestriction(FakeReader())

    await admitted(plugin, creating({"metadata": {"name": "n"}}, NODES, NODE))
    with pytest.raises(errors.Forbidden, match='node "n" is not allowed to modify node "other"'):
        await admitted(plugin, creating({"metadata": {"name": "other"}}, NODES, NODE))


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ("example.com/own", True),
        ("kubernetes.io/hostname", True),
        ("node.kubernetes.io/own", True),
        ("node-restriction.kubernetes.io/own", False),
        ("node-role.kubernetes.io/master", False),
    ],
)
async def test_labels_that_a_node_may_give_itself(label: str, allowed: bool) -> None:
    obj = {"metadata": {"name": "n", "labels": {label: "x"}}}
    call = creating(obj, NODES, NODE)

    if allowed:
        await admitted(NodeRestriction(FakeReader()), call)
    else:
        with pytest.raises(errors.Forbidden, match="is not allowed to set the following labels"):
            await admitted(NodeRestriction(FakeReader()), call)


async def test_a_node_reports_on_its_own_pods() -> None:
    plugin = NodeRestriction(FakeReader())
    mine, foreign = pod(nodeName="n"), pod(nodeName="other")

    await admitted(plugin, updating(mine, mine, PODS, NODE, "status"))
    with pytest.raises(errors.Forbidden, match="can only update pod status for pods with"):
        await admitted(plugin, updating(foreign, foreign, PODS, NODE, "status"))


async def test_a_node_makes_no_pods_but_mirrors() -> None:
    with pytest.raises(errors.Forbidden, match="can only create mirror pods"):
        await admitted(NodeRestriction(FakeReader()), creating(pod(nodeName="n"), PODS, NODE))
