"""The node authorizer: a node reads only what its own pods need, and writes only about itself.

What belongs to a node is kept as counts, one per pod that refers to an object: pods come and go without a walk over
all of them. Upstream: plugin/pkg/auth/authorizer/node/{graph,node_authorizer}.go.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from timonel.objects.meta import Object, nested
from timonel.server.auth import rules as rulelib
from timonel.server.auth.bootstrap_policy import NODE_RULES
from timonel.server.request import Attributes, Decision, Reader, User, Verdict

PREFIX, NODES = "system:node:", "system:nodes"

Vertex = tuple[str, str, str]  # resource, namespace, name

_ALLOW = Decision(Verdict.ALLOW)


def node_of(user: User) -> str | None:
    """The name of the node that `user` is; empty for a member of system:nodes that is none; None for others."""
    if user.name.startswith(PREFIX) and NODES in user.groups:
        return user.name[len(PREFIX) :]
    return None


def _no(reason: str = "") -> Decision:
    return Decision(Verdict.NO_OPINION, reason)


class NodeAuthorizer:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._needed: dict[str, Counter[Vertex]] = defaultdict(Counter)  # node -> what its pods refer to
        self._volumes: dict[str, tuple[str, str]] = {}  # persistent volume -> its claim
        self._volume_secrets: dict[tuple[str, str], set[str]] = defaultdict(set)  # secret -> volumes
        reader.on_change("pods", self._pod_changed)
        reader.on_change("persistentvolumes", self._volume_changed)

    def authorize(self, attributes: Attributes) -> Decision:
        node = node_of(attributes.user)
        if node is None:
            return _no()
        if not node:
            return _no(f'unknown node for user "{attributes.user.name}"')
        if attributes.is_resource:
            special = self._special(node, attributes)
            if special is not None:
                return special
        allowed = any(rulelib.allows(rule, attributes) for rule in NODE_RULES)
        return _ALLOW if allowed else _no()

    def _special(self, node: str, a: Attributes) -> Decision | None:
        match (a.group, a.resource):
            case ("", "secrets" | "configmaps"):
                return self._read(node, a)
            case ("", "persistentvolumeclaims") if a.subresource == "status":
                if a.verb not in ("update", "patch"):
                    return _no("can only get/update/patch this type")
                return self._related(node, a)
            case ("", "persistentvolumeclaims" | "persistentvolumes") | ("resource.k8s.io", "resourceclaims"):
                return self._get(node, a)
            case ("storage.k8s.io", "volumeattachments"):
                return self._attachment(node, a)
            case ("", "serviceaccounts"):
                return self._token(node, a)
            case ("coordination.k8s.io", "leases"):
                return _lease(node, a)
            case ("storage.k8s.io", "csinodes"):
                return _csi_node(node, a)
            case ("resource.k8s.io", "resourceslices"):
                return self._slice(node, a)
            case ("", "nodes"):
                return _node(node, a)
            case ("", "pods"):
                return self._pod(node, a)
        return None

    def _get(self, node: str, a: Attributes) -> Decision:
        if a.verb != "get":
            return _no("can only get individual resources of this type")
        if a.subresource:
            return _no("cannot get subresource")
        return self._related(node, a)

    def _read(self, node: str, a: Attributes) -> Decision:
        if a.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if a.subresource:
            return _no("cannot read subresource")
        if not a.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, a)

    def _related(self, node: str, a: Attributes) -> Decision:
        if not a.name:
            return _no("No Object name found")
        if self._needs(node, a.resource, a.namespace, a.name):
            return _ALLOW
        return _unrelated(node)

    def _needs(self, node: str, resource: str, namespace: str, name: str) -> bool:
        needed = self._needed.get(node)
        if needed is None:
            return False
        if resource == "persistentvolumes":
            claim = self._volumes.get(name)
            return claim is not None and needed[("persistentvolumeclaims", *claim)] > 0
        if needed[(resource, namespace, name)] > 0:
            return True
        if resource == "secrets":
            return any(
                self._needs(node, "persistentvolumes", "", volume)
                for volume in self._volume_secrets.get((namespace, name), ())
            )
        return False

    def _token(self, node: str, a: Attributes) -> Decision:
        if a.verb == "get" and not a.subresource:  # whose annotations credential providers are told
            return self._related(node, a)
        if a.verb != "create" or not a.name:
            return _no("can only create tokens for individual service accounts")
        if a.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, a)

    def _attachment(self, node: str, a: Attributes) -> Decision:
        if a.verb != "get":
            return _no("can only get individual resources of this type")
        if a.subresource:
            return _no("cannot get subresource")
        if not a.name:
            return _no("No Object name found")
        found = self._reader.get("volumeattachments.storage.k8s.io", "", a.name)
        return _ALLOW if nested(found, "spec", "nodeName") == node else _unrelated(node)

    def _pod(self, node: str, a: Attributes) -> Decision:
        if a.subresource == "":
            if a.verb == "get":
                return self._own_pod(node, a)
            if a.verb in ("list", "watch"):
                if _selects(a.field_selector, "spec.nodeName", node):
                    return _ALLOW
                if a.name:
                    return self._own_pod(node, a)
                return _no("can only list/watch pods with spec.nodeName field selector")
            return _ALLOW if a.verb in ("create", "delete") else _no()
        if a.subresource == "status" and a.verb in ("update", "patch"):
            return _ALLOW
        if a.subresource == "eviction" and a.verb == "create":
            return _ALLOW
        return _no()

    def _own_pod(self, node: str, a: Attributes) -> Decision:
        found = self._reader.get("pods", a.namespace, a.name)
        return _ALLOW if nested(found, "spec", "nodeName") == node else _unrelated(node)

    def _slice(self, node: str, a: Attributes) -> Decision:
        if a.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        match a.verb:
            case "create":
                return _ALLOW
            case "get" | "update" | "patch" | "delete":
                if not a.name:
                    return _no("No Object name found")
                found = self._reader.get("resourceslices.resource.k8s.io", "", a.name)
                return _ALLOW if nested(found, "spec", "nodeName") == node else _unrelated(node)
            case "watch" | "list" | "deletecollection":
                if _selects(a.field_selector, "spec.nodeName", node) or _selects(
                    a.field_selector, "nodeName", node
                ):
                    return _ALLOW
                return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
        verbs = "get, watch, list, create, update, patch, delete, deletecollection"
        return _no(f"only the following verbs are allowed for a ResourceSlice: {verbs}")

    # ---- following the cluster

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if (
            old is not None
            and new is not None
            and old["spec"] == new["spec"]
            and _claim_statuses(old) == _claim_statuses(new)
        ):
            return
        for pod, step in ((old, -1), (new, 1)):
            node = nested(pod, "spec", "nodeName")
            if pod is None or not node:
                continue
            needed = self._needed[node]
            for vertex in references_of(pod):
                needed[vertex] += step
                if needed[vertex] <= 0:
                    del needed[vertex]
            if not needed:
                del self._needed[node]

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._volumes.pop(old["metadata"]["name"], None)
            for secret in _secrets_of_volume(old):
                self._volume_secrets[secret].discard(old["metadata"]["name"])
        if new is not None:
            claim = nested(new, "spec", "claimRef")
            if claim:
                self._volumes[new["metadata"]["name"]] = (claim.get("namespace", ""), claim.get("name", ""))
            for secret in _secrets_of_volume(new):
                self._volume_secrets[secret].add(new["metadata"]["name"])


def _unrelated(node: str) -> Decision:
    return _no(f"no relationship found between node '{node}' and this object")


def _selects(field_selector: str, field: str, value: str) -> bool:
    """Whether a field selector pins `field` to `value`."""
    return f"{field}={value}" in field_selector.replace("==", "=").split(",")


def _lease(node: str, a: Attributes) -> Decision:
    if a.verb not in ("get", "create", "update", "patch", "delete"):
        return _no("can only get, create, update, patch, or delete a node lease")
    if a.namespace != "kube-node-lease":
        return _no('can only access leases in the "kube-node-lease" system namespace')
    if a.verb != "create" and a.name != node:
        return _no("can only access node lease with the same name as the requesting node")
    return _ALLOW


def _csi_node(node: str, a: Attributes) -> Decision:
    if a.verb not in ("get", "create", "update", "patch", "delete"):
        return _no("can only get, create, update, patch, or delete a CSINode")
    if a.subresource:
        return _no("cannot authorize CSINode subresources")
    if a.verb != "create" and a.name != node:
        return _no("can only access CSINode with the same name as the requesting node")
    return _ALLOW


def _node(node: str, a: Attributes) -> Decision:
    if a.subresource == "":
        if a.verb in ("create", "update", "patch"):
            return _ALLOW
        if a.verb in ("get", "list", "watch"):
            if a.name == node:
                return _ALLOW
            what = f"'{a.name}'" if a.name else "all nodes"
            return _no(f"node '{node}' cannot read {what}, only its own Node object")
        return _no()
    if a.subresource == "status" and a.verb in ("update", "patch"):
        return _ALLOW
    # other subresources (proxy, stats, log…) belong to whoever talks to nodes, and a node may be asked about itself
    return _no()


def references_of(pod: Object) -> Iterator[Vertex]:
    """The objects that a pod's node must read to run it. Upstream: pkg/api/pod/util.go."""
    namespace = pod["metadata"]["namespace"]
    spec = pod["spec"]
    if spec.get("serviceAccountName"):
        yield ("serviceaccounts", namespace, spec["serviceAccountName"])
    for ref in spec.get("imagePullSecrets") or ():
        if ref.get("name"):
            yield ("secrets", namespace, ref["name"])
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for resource, name in _environment(container):
                yield (resource, namespace, name)
    for name in _claims(pod):
        yield ("resourceclaims", namespace, name)
    for volume in spec.get("volumes") or ():
        for resource, name in _volume(volume, pod["metadata"]["name"]):
            yield (resource, namespace, name)


def _claim_statuses(pod: Object) -> tuple[object, object]:
    status = pod.get("status") or {}
    return status.get("resourceClaimStatuses"), status.get("extendedResourceClaimStatus")


def _claims(pod: Object) -> Iterator[str]:
    """Claims that the pod names, and those that were made for it from templates."""
    made = {
        s.get("name"): s.get("resourceClaimName")
        for s in nested(pod, "status", "resourceClaimStatuses") or ()
    }
    for claim in pod["spec"].get("resourceClaims") or ():
        name = claim.get("resourceClaimName") or made.get(claim.get("name"))
        if name:
            yield name
    extended = nested(pod, "status", "extendedResourceClaimStatus", "resourceClaimName")
    if extended:
        yield extended


def _environment(container: Object) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        for key, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if nested(source, key, "name"):
                yield resource, source[key]["name"]
    for variable in container.get("env") or ():
        for key, resource in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            name = nested(variable, "valueFrom", key, "name")
            if name:
                yield resource, name


def _volume(volume: Object, pod: str) -> Iterator[tuple[str, str]]:
    if nested(volume, "secret", "secretName"):
        yield "secrets", volume["secret"]["secretName"]
    if nested(volume, "configMap", "name"):
        yield "configmaps", volume["configMap"]["name"]
    if nested(volume, "persistentVolumeClaim", "claimName"):
        yield "persistentvolumeclaims", volume["persistentVolumeClaim"]["claimName"]
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", f"{pod}-{volume['name']}"
    for source in nested(volume, "projected", "sources") or ():
        if nested(source, "secret", "name"):
            yield "secrets", source["secret"]["name"]
        if nested(source, "configMap", "name"):
            yield "configmaps", source["configMap"]["name"]
    for source in ("cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"):
        if nested(volume, source, "secretRef", "name"):
            yield "secrets", volume[source]["secretRef"]["name"]
    if nested(volume, "azureFile", "secretName"):
        yield "secrets", volume["azureFile"]["secretName"]
    if nested(volume, "csi", "nodePublishSecretRef", "name"):
        yield "secrets", volume["csi"]["nodePublishSecretRef"]["name"]


def _secrets_of_volume(volume: Object) -> Iterator[tuple[str, str]]:
    spec = volume["spec"]
    default = nested(spec, "claimRef", "namespace") or ""
    csi = spec.get("csi") or {}
    for key in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
        if csi.get(key):
            yield csi[key].get("namespace") or default, csi[key].get("name", "")
    for source in ("cephfs", "flexVolume", "rbd", "scaleIO", "iscsi"):
        ref = nested(spec, source, "secretRef")
        if ref:
            yield ref.get("namespace") or default, ref.get("name", "")
    if nested(spec, "azureFile", "secretName"):
        yield spec["azureFile"].get("secretNamespace") or default, spec["azureFile"]["secretName"]
