"""NodeRestriction: what a node may write, where the authorizer cannot tell because it does not see the object.

Upstream: plugin/pkg/admission/noderestriction/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.objects.meta import Object, annotations_of, labels_of, nested
from timonel.server.admission.attributes import MIRROR, forbidden
from timonel.server.admission.certificates import common_name
from timonel.server.auth.node import node_of, references_of
from timonel.server.request import (
    AdmissionCall,
    Attributes,
    Authorizer,
    OnlyMutates,
    Operation,
    Reader,
    Verdict,
)

_RESOURCES = frozenset(
    (
        "csinodes.storage.k8s.io",
        "certificatesigningrequests.certificates.k8s.io",
        "leases.coordination.k8s.io",
        "nodes",
        "persistentvolumeclaims",
        "pods",
        "resourceslices.resource.k8s.io",
        "serviceaccounts",
    )
)
# labels that a node may set on itself, beside all that are outside of Kubernetes' own domains
_OWN_LABELS = frozenset(
    (
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    )
)
AUDIENCE_VERB = "request-serviceaccounts-token-audience"
DRIVERS = "csidrivers.storage.k8s.io"
NODE_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(OnlyMutates):
    name = "NodeRestriction"

    def __init__(self, reader: Reader, authorizer: Authorizer) -> None:
        self._reader = reader
        self._authorizer = authorizer

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return resource.qualified in _RESOURCES and operation is not Operation.CONNECT

    async def admit(self, call: AdmissionCall) -> None:
        node = node_of(call.user)
        if node is None:
            return
        if not node:
            raise forbidden(call, f"could not determine node from user {quote(call.user.name)}")
        match call.resource.qualified:
            case "pods":
                self._pod(call, node)
            case "nodes":
                _check_node(call, node)
            case "persistentvolumeclaims":
                if call.subresource != "status" or call.operation is not Operation.UPDATE:
                    raise forbidden(call, "may only update PVC status")
            case "serviceaccounts":
                self._token(call, node)
            case "leases.coordination.k8s.io":
                _check_lease(call, node)
            case "resourceslices.resource.k8s.io":
                _check_slice(call, node)
            case "certificatesigningrequests.certificates.k8s.io":
                _check_request(call)
            case _:
                if (call.name or _name(call.obj)) != node:
                    raise forbidden(call, "can only access CSINode with the same name as the requesting node")

    def _pod(self, call: AdmissionCall, node: str) -> None:
        match call.subresource:
            case "status":
                self._pod_status(call, node)
            case "eviction":
                self._own_pod(call, node, f"node {node} can only evict pods with spec.nodeName set to itself")
            case "":
                if call.operation is Operation.CREATE:
                    self._mirror(call, node)
                elif call.operation is Operation.DELETE:
                    why = f"node {quote(node)} can only delete pods with spec.nodeName set to itself"
                    self._own_pod(call, node, why)
                else:
                    why = f"node {quote(node)} can only create and delete mirror pods"
                    raise forbidden(call, f"unexpected operation {quote(call.operation.value)}, {why}")
            case other:
                only = "only 'status' and 'eviction' are allowed"
                raise forbidden(call, f"unexpected pod subresource {quote(other)}, {only}")

    def _own_pod(self, call: AdmissionCall, node: str, why: str) -> None:
        found = call.old or self._reader.get("pods", call.namespace, call.name)
        if found is None:
            raise errors.not_found("pods", call.name)
        if nested(found, "spec", "nodeName") != node:
            raise forbidden(call, why)

    def _pod_status(self, call: AdmissionCall, node: str) -> None:
        if call.operation is not Operation.UPDATE or call.old is None or call.obj is None:
            raise forbidden(call, f"unexpected operation {quote(call.operation.value)}")
        if nested(call.old, "spec", "nodeName") != node:
            why = f"node {quote(node)} can only update pod status for pods with spec.nodeName set to itself"
            raise forbidden(call, why)
        if labels_of(call.old) != labels_of(call.obj):
            raise forbidden(call, f"node {quote(node)} cannot update labels through pod status")

    def _mirror(self, call: AdmissionCall, node: str) -> None:
        """A node makes pods only to show what it runs of its own accord."""
        pod = call.obj
        assert pod is not None
        who = f"node {quote(node)}"
        if MIRROR not in annotations_of(pod):
            why = f"pod does not have {quote(MIRROR)} annotation, {who} can only create mirror pods"
            raise forbidden(call, why)
        if pod["spec"].get("nodeName") != node:
            raise forbidden(call, f"{who} can only create pods with spec.nodeName set to itself")
        owners: list[dict[str, Any]] = pod["metadata"].get("ownerReferences") or []
        if len(owners) > 1:
            raise forbidden(call, f"{who} can only create pods with a single owner reference set to itself")
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise forbidden(call, f"{who} can only create pods with an owner reference set to itself")
        if not owner.get("controller"):
            raise forbidden(
                call, f"{who} can only create pods with a controller owner reference set to itself"
            )
        if owner.get("blockOwnerDeletion"):
            raise forbidden(call, f"{who} must not set blockOwnerDeletion on an owner reference")
        self._check_uid(call, node, owner)
        names = {
            "serviceaccounts": "a service account",
            "secrets": "secrets",
            "configmaps": "configmaps",
            "persistentvolumeclaims": "persistentvolumeclaims",
        }
        pod["metadata"].setdefault("namespace", call.namespace)
        referred = {resource for resource, _, _ in references_of(pod)}
        for resource, text in names.items():
            if resource in referred:
                raise forbidden(call, f"{who} can not create pods that reference {text}")

    def _check_uid(self, call: AdmissionCall, node: str, owner: dict[str, Any]) -> None:
        found = self._reader.get("nodes", "", node)
        if found is None:
            raise errors.not_found("nodes", node)
        if owner.get("uid") != found["metadata"]["uid"]:
            why = f"UID mismatch: expected {owner.get('uid', '')} got {found['metadata']['uid']}"
            raise forbidden(call, f"node {node} {why}")

    def _token(self, call: AdmissionCall, node: str) -> None:
        if call.subresource != "token" or call.obj is None:
            return
        ref = nested(call.obj, "spec", "boundObjectRef") or {}
        if ref.get("kind") != "Pod" or not ref.get("name"):
            raise forbidden(call, "node requested token not bound to a pod")
        if not ref.get("uid"):
            raise forbidden(call, "node requested token with a pod binding without a uid")
        pod = self._reader.get("pods", call.namespace, ref["name"])
        if pod is None:
            raise errors.not_found("pods", ref["name"])
        if pod["metadata"]["uid"] != ref["uid"]:
            why = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record"
            raise errors.conflict(
                "pods", ref["name"], f"{why}. The object might have been deleted and then recreated"
            )
        if nested(pod, "spec", "nodeName") != node:
            raise forbidden(call, "node requested token bound to a pod scheduled on a different node")
        if nested(pod, "spec", "serviceAccountName") != call.name:
            raise forbidden(call, "node requested token for a service account that its pod does not use")
        self._check_audience(call, pod)

    def _check_audience(self, call: AdmissionCall, pod: Object) -> None:
        """A token is for whom the pod's volumes say, unless the node may ask for others' tokens."""
        audiences = nested(call.obj, "spec", "audiences") or []
        if len(audiences) > 1:
            raise forbidden(call, "node may only request 0 or 1 audiences")
        audience = audiences[0] if audiences else ""
        if audience in self._audiences(pod):
            return
        asked = Attributes(
            call.user,
            AUDIENCE_VERB,
            version="v1",
            resource=audience,
            namespace=call.namespace,
            name=call.name,
        )
        if audience and self._authorizer.authorize(asked).verdict is Verdict.ALLOW:
            return
        why = f"audience {quote(audience)} not found in pod spec volume"
        raise forbidden(
            call, f"{why}, {call.user.name} is not authorized to request tokens for this audience"
        )

    def _audiences(self, pod: Object) -> Iterator[str]:
        for volume in pod["spec"].get("volumes") or ():
            for source in nested(volume, "projected", "sources") or ():
                if source.get("serviceAccountToken") is not None:
                    yield source["serviceAccountToken"].get("audience") or ""
            driver = nested(volume, "csi", "driver") or self._driver_of_claim(pod, volume)
            if driver:
                found = self._reader.get(DRIVERS, "", driver)
                for request in nested(found, "spec", "tokenRequests") or ():
                    yield request.get("audience") or ""

    def _driver_of_claim(self, pod: Object, volume: Object) -> str:
        name = nested(volume, "persistentVolumeClaim", "claimName") or ""
        if "ephemeral" in volume:
            name = f"{pod['metadata']['name']}-{volume['name']}"
        if not name:
            return ""
        claim = self._reader.get("persistentvolumeclaims", pod["metadata"]["namespace"], name)
        bound = self._reader.get("persistentvolumes", "", nested(claim, "spec", "volumeName") or "")
        found: str = nested(bound, "spec", "csi", "driver") or ""
        return found


def _name(obj: Object | None) -> str:
    found: str = ((obj or {}).get("metadata") or {}).get("name", "")
    return found


def _check_lease(call: AdmissionCall, node: str) -> None:
    if call.namespace != "kube-node-lease":
        raise forbidden(call, 'can only access leases in the "kube-node-lease" system namespace')
    if (call.name or _name(call.obj)) != node:
        raise forbidden(call, "can only access node lease with the same name as the requesting node")


def _check_slice(call: AdmissionCall, node: str) -> None:
    """Whose a slice is never changes, so that updates need no look."""
    if call.operation is Operation.CREATE and nested(call.obj, "spec", "nodeName") != node:
        raise forbidden(call, "can only create ResourceSlice with the same NodeName as the requesting node")
    if call.operation is Operation.DELETE and nested(call.old, "spec", "nodeName") != node:
        raise forbidden(call, "can only delete ResourceSlice with the same NodeName as the requesting node")


def _check_request(call: AdmissionCall) -> None:
    """A node asks for certificates in its own name only."""
    if call.operation is not Operation.CREATE or call.subresource or call.obj is None:
        return
    spec = call.obj.get("spec") or {}
    if spec.get("signerName") not in NODE_SIGNERS:
        return
    name = common_name(spec.get("request") or "")
    if name is None:
        raise forbidden(call, "unable to parse csr: PEM block type must be CERTIFICATE REQUEST")
    if name != call.user.name:
        raise forbidden(call, f"can only create a node CSR with CN={call.user.name}")


def _check_node(call: AdmissionCall, node: str) -> None:
    name = call.name or _name(call.obj)
    who = f"node {quote(node)} is not allowed to"
    if name != node:
        raise forbidden(call, f"{who} modify node {quote(name)}")
    if call.obj is None:
        return
    before = labels_of(call.old) if call.old is not None else {}
    after = labels_of(call.obj)
    changed = {key for key in (*before, *after) if before.get(key) != after.get(key)}
    bad = sorted(key for key in changed if _is_reserved(key))
    if bad and call.old is None:
        raise forbidden(call, f"{who} set the following labels: {', '.join(bad)}")
    if call.old is None:
        return
    if (nested(call.old, "spec", "taints") or []) != (nested(call.obj, "spec", "taints") or []):
        raise forbidden(call, f"{who} modify taints")
    if bad:
        raise forbidden(call, f"{who} modify labels: {', '.join(bad)}")
    if call.old["metadata"].get("ownerReferences") != call.obj["metadata"].get("ownerReferences"):
        raise forbidden(call, f"{who} modify ownerReferences")


def _is_reserved(label: str) -> bool:
    """Whether a label is in Kubernetes' domains and not one of those that a node says about itself."""
    domain, _, rest = label.partition("/")
    if not rest or label in _OWN_LABELS:
        return False
    if any(domain == own or domain.endswith(f".{own}") for own in _OWN_DOMAINS):
        return False
    return any(domain == d or domain.endswith(f".{d}") for d in ("kubernetes.io", "k8s.io"))
