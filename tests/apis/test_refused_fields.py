"""One row for each rule: what is changed in the example of a kind, and the fields that are then refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.examples import RESOURCES, refused, refused_change, stored
from timonel.apis.resource import ResourceType

TYPES = {f"{t.api_version}/{t.kind}": t for t in RESOURCES}
RBAC, NET = "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1"
HPA = "autoscaling/v2/HorizontalPodAutoscaler"
HOOKS = "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration"
FLOW = "flowcontrol.apiserver.k8s.io/v1"

ROWS: list[tuple[str, str, Any, list[str]]] = [
    ("v1/ConfigMap", "data", {"a b": "c"}, ["data[a b]"]),
    ("v1/ConfigMap", "binaryData", {"k": "AAEC"}, ["data[k]"]),
    ("v1/Secret", "type", "kubernetes.io/tls", ["data[tls.crt]", "data[tls.key]"]),
    ("v1/Secret", "type", "kubernetes.io/basic-auth", ["data[username]", "data[password]"]),
    (
        "v1/Secret",
        "type",
        "kubernetes.io/service-account-token",
        ["metadata.annotations[kubernetes.io/service-account.name]"],
    ),
    ("v1/Namespace", "spec", {"finalizers": ["odd"]}, ["spec.finalizers"]),
    ("v1/Endpoints", "subsets/0/addresses/0/ip", "127.0.0.1", ["subsets[0].addresses[0].ip"]),
    ("v1/Endpoints", "subsets/0/addresses", [], ["subsets[0]"]),
    ("v1/Event", "involvedObject/namespace", "other", ["involvedObject.namespace"]),
    ("v1/LimitRange", "spec/limits/0/maxLimitRequestRatio", {"cpu": "3"}, ["spec.limits[0].maxLimitRequestRatio[cpu]"]),
    ("v1/LimitRange", "spec/limits/0/min/odd", "3",
     [f"spec.limits[0].{key}[odd]" for key in ("min", "defaultRequest")] * 2),
    ("v1/ResourceQuota", "spec/hard", {"odd": "1"}, ["spec.hard[odd]"] * 2),
    ("v1/ResourceQuota", "spec/hard/pods", "500m", ["spec.hard[pods]"]),
    ("v1/ResourceQuota", "spec/scopes", ["BestEffort", "NotBestEffort"], ["spec.scopes"]),
    ("v1/Node", "spec/taints", [{"key": "a", "effect": "Odd"}], ["metadata.taints[0].effect"]),
    ("v1/Node", "spec/podCIDRs", ["x"], ["spec.podCIDRs[0]"]),
    ("v1/Node", "status/capacity/cpu", "-1", ["status.allocatable.cpu", "status.capacity.cpu"]),
    ("v1/PersistentVolume", "spec/accessModes", [], ["spec.accessModes"]),
    ("v1/PersistentVolume", "spec/nfs", {"server": "s", "path": "/p"}, ["spec.nfs"]),
    ("v1/PersistentVolume", "spec/hostPath/path", "/a/../b", ["spec.hostPath.path"]),
    ("v1/PersistentVolume", "spec/capacity/odd", "1", ["spec.capacity"]),
    ("v1/PersistentVolumeClaim", "spec/accessModes", ["Odd"], ["spec.accessModes"]),
    ("v1/PersistentVolumeClaim", "spec/resources/requests/storage", "0", ["spec.resources[storage]"]),
    ("v1/PersistentVolumeClaim", "spec/dataSource", {"kind": "PersistentVolumeClaim"},
     ["spec.dataSource.name", "spec.dataSourceRef.name"]),
    ("v1/ReplicationController", "spec/selector", {"x": "y"}, ["spec.template.metadata.labels"]),
    (f"{NET}/Ingress", "spec/defaultBackend/service/port", {}, ["spec.defaultBackend"]),
    (f"{NET}/Ingress", "spec/rules", [{"host": "1.2.3.4"}], ["spec.rules[0].host"]),
    (f"{NET}/Ingress", "spec/tls", [{"hosts": ["*.a.b", "*"]}], ["spec.tls[0].hosts[1]"]),
    (f"{NET}/IngressClass", "spec/controller", "plain", ["spec.controller"]),
    (f"{NET}/NetworkPolicy", "spec/policyTypes", ["Odd"], ["spec.policyTypes[0]"]),
    (f"{NET}/NetworkPolicy", "spec/ingress", [{"from": [{}]}], ["spec.ingress[0].from[0]"]),
    (f"{NET}/NetworkPolicy", "spec/egress", [{"ports": [{"port": 5, "endPort": 4}]}],
     ["spec.egress[0].ports[0].endPort"]),
    (f"{NET}/IPAddress", "spec/parentRef/name", "", ["spec.parentRef.name"]),
    (f"{NET}/ServiceCIDR", "spec/cidrs", ["10.0.0.0/24", "10.1.0.0/24"], ["spec.cidrs"]),
    (f"{RBAC}/Role", "rules/0/verbs", [], ["rules[0].verbs"]),
    (f"{RBAC}/Role", "rules/0", {"verbs": ["get"], "nonResourceURLs": ["/x"]}, ["rules[0].nonResourceURLs"]),
    (f"{RBAC}/RoleBinding", "roleRef/kind", "Odd", ["roleRef.kind"]),
    (f"{RBAC}/ClusterRoleBinding", "subjects", [{"kind": "ServiceAccount", "name": "a"}], ["subjects[0].namespace"]),
    ("storage.k8s.io/v1/StorageClass", "provisioner", "", ["provisioner"]),
    ("storage.k8s.io/v1/StorageClass", "volumeBindingMode", "Odd", ["volumeBindingMode"]),
    ("storage.k8s.io/v1/CSIDriver", "spec/fsGroupPolicy", "Odd", ["spec.fsGroupPolicy"]),
    ("storage.k8s.io/v1/CSINode", "spec/drivers/0/nodeID", "", ["spec.drivers[0].nodeID"]),
    ("storage.k8s.io/v1/CSIStorageCapacity", "capacity", "-1", ["capacity"]),
    ("storage.k8s.io/v1/VolumeAttachment", "spec/source", {}, ["spec.source"]),
    ("storage.k8s.io/v1/VolumeAttributesClass", "parameters", {}, ["parameters"]),
    ("scheduling.k8s.io/v1/PriorityClass", "value", 2_000_000_000, ["value"]),
    ("scheduling.k8s.io/v1/PriorityClass", "metadata", {"name": "system-x"}, ["metadata.name"]),
    ("coordination.k8s.io/v1/Lease", "spec/leaseDurationSeconds", 0, ["spec.leaseDurationSeconds"]),
    ("discovery.k8s.io/v1/EndpointSlice", "endpoints/0/addresses", ["::1"], ["endpoints[0].addresses"]),
    ("discovery.k8s.io/v1/EndpointSlice", "ports/0/protocol", "ICMP", ["ports[0].protocol"]),
    ("events.k8s.io/v1/Event", "type", "Odd", ["type"]),
    ("events.k8s.io/v1/Event", "deprecatedCount", 2, ["count"]),
    ("events.k8s.io/v1/Event", "series", {"count": 1}, ["series.count", "series.lastObservedTime"]),
    ("policy/v1/PodDisruptionBudget", "spec/minAvailable", "101%", ["spec.minAvailable"]),
    ("policy/v1/PodDisruptionBudget", "spec/maxUnavailable", 1, ["spec"]),
    (HPA, "spec/minReplicas", 4, ["spec.maxReplicas"]),
    (HPA, "spec/scaleTargetRef/apiVersion", "v1", ["spec.scaleTargetRef.apiVersion"]),
    (HPA, "spec/metrics", [{"type": "Pods"}], ["spec.metrics[0].pods"]),
    (HPA, "spec/behavior", {"scaleUp": {"selectPolicy": "Odd"}}, ["spec.behavior.scaleUp.selectPolicy"]),
    ("node.k8s.io/v1/RuntimeClass", "handler", "Not_Valid", ["handler"]),
    ("certificates.k8s.io/v1/CertificateSigningRequest", "spec/usages", ["odd"], ["spec.usages[0]"]),
    ("certificates.k8s.io/v1/CertificateSigningRequest", "spec/request", "bm9uZQ==", ["spec.request"]),
    (HOOKS, "webhooks/0/name", "short", ["webhooks[0].name"]),
    (HOOKS, "webhooks/0/timeoutSeconds", 31, ["webhooks[0].timeoutSeconds"]),
    (HOOKS, "webhooks/0/clientConfig/url", "http://a.b", ["webhooks[0].clientConfig.url"]),
    ("admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding", "spec/validationActions",
     ["Deny", "Warn"], ["spec.validationActions"]),
    ("admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy", "spec/validations", [],
     ["spec.validations", "spec.auditAnnotations"]),
    (f"{FLOW}/FlowSchema", "spec/matchingPrecedence", 1, ["spec.matchingPrecedence"]),
    (f"{FLOW}/PriorityLevelConfiguration", "spec/type", "Exempt", ["spec.type", "spec.limited"]),
    ("apiregistration.k8s.io/v1/APIService", "spec/versionPriority", 0, ["spec.versionPriority"]),
    ("apiregistration.k8s.io/v1/APIService", "metadata", {"name": "other"}, ["metadata.name"]),
    ("authorization.k8s.io/v1/SubjectAccessReview", "spec/user", "", ["spec.user"]),
    ("resource.k8s.io/v1/ResourceClaim", "spec/devices/requests/0/exactly/allocationMode", "Odd",
     ["spec.devices.requests[0].exactly.allocationMode"]),
    ("resource.k8s.io/v1/ResourceClaim", "spec/devices/constraints", [{"requests": ["b"], "matchAttribute": "x.io/a"}],
     ["spec.devices.constraints[0].requests[0]"]),
    ("resource.k8s.io/v1/DeviceClass", "spec/config", [{}], ["spec.config[0].opaque"]),
    ("resource.k8s.io/v1/ResourceSlice", "spec/nodeName", ..., ["spec"]),
    ("resource.k8s.io/v1/ResourceSlice", "spec/devices/0/attributes", {"a": {}}, ["spec.devices[0].attributes[a]"]),
    ("resource.k8s.io/v1/ResourceSlice", "spec/devices/0/bindingConditions", ["a"],
     ["spec.devices[0].bindingFailureConditions"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "value", "fields"), ROWS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_refused(kind: str, path: str, value: Any, fields: list[str]) -> None:
    assert sorted(refused(TYPES[kind], path, value)) == sorted(fields)


IMMUTABLE: list[tuple[str, str, Any, list[str]]] = [
    ("v1/Secret", "type", "x/y", ["type"]),
    ("v1/Node", "spec/providerID", "x", []),
    ("v1/PersistentVolume", "spec/hostPath/path", "/y", ["spec.persistentvolumesource"]),
    ("v1/PersistentVolume", "spec/capacity/storage", "2Gi", []),
    ("v1/PersistentVolumeClaim", "spec/accessModes", ["ReadWriteMany"], ["spec"]),
    (f"{NET}/IngressClass", "spec/controller", "example.com/d", ["spec.controller"]),
    (f"{NET}/IPAddress", "spec/parentRef/name", "b", ["spec.parentRef"]),
    (f"{NET}/ServiceCIDR", "spec/cidrs", ["10.1.0.0/24"], ["spec.cidrs"]),
    (f"{RBAC}/RoleBinding", "roleRef/name", "other", ["roleRef"]),
    ("storage.k8s.io/v1/StorageClass", "provisioner", "x.io/z", ["provisioner"]),
    ("storage.k8s.io/v1/CSIDriver", "spec/attachRequired", False, ["spec.attachedRequired"]),
    ("storage.k8s.io/v1/VolumeAttributesClass", "driverName", "y.io", ["driverName"]),
    ("scheduling.k8s.io/v1/PriorityClass", "value", 6, ["value"]),
    ("discovery.k8s.io/v1/EndpointSlice", "addressType", "FQDN", ["addressType"]),
    ("events.k8s.io/v1/Event", "note", "changed", ["message"]),
    ("node.k8s.io/v1/RuntimeClass", "handler", "other", ["handler"]),
]


@pytest.mark.parametrize(
    ("kind", "path", "value", "fields"), IMMUTABLE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_changes(kind: str, path: str, value: Any, fields: list[str]) -> None:
    found = refused_change(TYPES[kind], path, value)
    assert [f for f in found if f in fields] == fields
    assert bool(found) is bool(fields)


def test_every_stored_kind_is_listed_once() -> None:
    served = [(t.group, t.version, t.plural) for t in RESOURCES]
    assert len(served) == len(set(served))


@pytest.mark.parametrize(
    "rtype",
    [t for t in RESOURCES if t.status and t.retired is None and t.kind != "Node"],
    ids=lambda t: t.qualified,
)
def test_a_status_sent_on_create_is_not_kept(rtype: ResourceType) -> None:
    obj = stored(rtype)
    obj["status"] = {"sent": "by the client"}
    rtype.prepare_create(obj)
    assert "sent" not in obj["status"]
