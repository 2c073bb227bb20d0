"""Nodes: what a node may read and write, by the pods that run on it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.fakes import PODS, FakeReader, admitted, creating, pod, updating
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.server.admission.node_restriction import NodeRestriction
from timonel.server.auth.node import NodeAuthorizer
from timonel.server.auth.union import Always
from timonel.server.request import AdmissionCall, Attributes, User, Verdict

NODE = User("system:node:n", ("system:nodes", "system:authenticated"))
DENIES = Always(Verdict.DENY)
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
    claims = [{"name": "a", "resourceClaimName": "named"}, {"name": "b", "resourceClaimTemplateName": "t"}]
    here = pod("here", nodeName="n", serviceAccountName="own", volumes=volumes, resourceClaims=claims)
    here["status"] = {"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "made"}]}
    reader.put("pods", here)
    for name, node in (("mine", "n"), ("theirs", "other")):
        slice_ = {"metadata": {"name": name}, "spec": {"nodeName": node}}
        reader.put("resourceslices.resource.k8s.io", slice_)
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
        (asked("get", "serviceaccounts", "own"), True),
        (asked("get", "serviceaccounts", "foreign"), False),
        (asked("get", "serviceaccounts", "own", subresource="token"), False),
        (asked("list", "serviceaccounts", ""), False),
        (asked("get", "pods", "here"), True),
        (asked("get", "pods", "there"), False),
        (asked("list", "pods", namespace=""), False),
        (asked("list", "pods", namespace="", field_selector="spec.nodeName=n"), True),
        (asked("get", "nodes", "n", ""), True),
        (asked("get", "nodes", "other", ""), False),
        (asked("update", "leases", "n", "kube-node-lease", group="coordination.k8s.io"), True),
        (asked("update", "leases", "other", "kube-node-lease", group="coordination.k8s.io"), False),
        (asked("create", "events"), True),
        (asked("list", "pods", "here", field_selector="metadata.name=here"), True),
        (asked("list", "pods", "there", field_selector="metadata.name=there"), False),
        (asked("get", "pods", "here", subresource="status"), False),
        (asked("list", "nodes", namespace=""), False),
        (asked("get", "resourceclaims", "named", group="resource.k8s.io"), True),
        (asked("get", "resourceclaims", "made", group="resource.k8s.io"), True),
        (asked("get", "resourceclaims", "foreign", group="resource.k8s.io"), False),
        (asked("get", "resourceslices", "mine", "", group="resource.k8s.io"), True),
        (asked("delete", "resourceslices", "theirs", "", group="resource.k8s.io"), False),
        (asked("create", "resourceslices", "", "", group="resource.k8s.io"), True),
        (asked("watch", "resourceslices", "", "", group="resource.k8s.io"), False),
        (
            asked(
                "watch", "resourceslices", "", "", group="resource.k8s.io", field_selector="spec.nodeName=n"
            ),
            True,
        ),
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
    plugin = NodeRestriction(FakeReader(), DENIES)

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
        await admitted(NodeRestriction(FakeReader(), DENIES), call)
    else:
        with pytest.raises(errors.Forbidden, match="is not allowed to set the following labels"):
            await admitted(NodeRestriction(FakeReader(), DENIES), call)


async def test_a_node_reports_on_its_own_pods() -> None:
    plugin = NodeRestriction(FakeReader(), DENIES)
    mine, foreign = pod(nodeName="n"), pod(nodeName="other")

    await admitted(plugin, updating(mine, mine, PODS, NODE, "status"))
    with pytest.raises(errors.Forbidden, match="can only update pod status for pods with"):
        await admitted(plugin, updating(foreign, foreign, PODS, NODE, "status"))


async def test_a_node_makes_no_pods_but_mirrors() -> None:
    with pytest.raises(errors.Forbidden, match="can only create mirror pods"):
        await admitted(NodeRestriction(FakeReader(), DENIES), creating(pod(nodeName="n"), PODS, NODE))


ACCOUNTS = ResourceType(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts")


def asking_for_a_token(*audiences: str) -> AdmissionCall:
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "here", "uid": "uid-here"}
    obj = {
        "metadata": {"name": "own", "namespace": "shop"},
        "spec": {"boundObjectRef": ref, "audiences": list(audiences)},
    }
    call = creating(obj, ACCOUNTS, NODE)
    call.subresource = "token"
    return call


def mounting(reader: FakeReader) -> FakeReader:
    sources = [
        {"serviceAccountToken": {"path": "t"}},
        {"serviceAccountToken": {"path": "v", "audience": "vault"}},
    ]
    volumes = [
        {"name": "p", "projected": {"sources": sources}},
        {"name": "c", "csi": {"driver": "inline"}},
        {"name": "b", "persistentVolumeClaim": {"claimName": "claim"}},
    ]
    reader.put("pods", pod("here", nodeName="n", serviceAccountName="own", volumes=volumes))
    claim = {"metadata": {"name": "claim", "namespace": "shop"}, "spec": {"volumeName": "pv"}}
    reader.put("persistentvolumeclaims", claim)
    reader.put("persistentvolumes", {"metadata": {"name": "pv"}, "spec": {"csi": {"driver": "bound"}}})
    for name in ("inline", "bound"):
        requests = [{"audience": f"of-{name}"}]
        driver = {"metadata": {"name": name}, "spec": {"tokenRequests": requests}}
        reader.put("csidrivers.storage.k8s.io", driver)
    return reader


@pytest.mark.parametrize("audiences", [(), ("vault",), ("of-inline",), ("of-bound",)])
async def test_a_node_gets_tokens_for_whom_its_pods_say(audiences: tuple[str, ...]) -> None:
    await admitted(NodeRestriction(mounting(FakeReader()), DENIES), asking_for_a_token(*audiences))


async def test_a_node_gets_no_tokens_for_others_unless_it_may() -> None:
    reader = mounting(FakeReader())
    text = (
        'audience "other" not found in pod spec volume, system:node:n is not authorized to request tokens for this'
        " audience"
    )

    with pytest.raises(errors.Forbidden, match=text):
        await admitted(NodeRestriction(reader, DENIES), asking_for_a_token("other"))
    with pytest.raises(errors.Forbidden, match="node may only request 0 or 1 audiences"):
        await admitted(NodeRestriction(reader, DENIES), asking_for_a_token("vault", "other"))
    await admitted(NodeRestriction(reader, Always(Verdict.ALLOW)), asking_for_a_token("other"))
