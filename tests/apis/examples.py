"""A small valid object of each kind outside the workloads, as a client sends it, and how it looks when it is stored."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from timonel.apis import (
    admissionregistration,
    apiregistration,
    authentication,
    authorization,
    autoscaling,
    certificates,
    coordination,
    discovery,
    events,
    flowcontrol,
    networking,
    node,
    policy,
    rbac,
    resource_k8s,
    scheduling,
    storage,
)
from timonel.apis.core import (
    binding,
    configmap,
    endpoints,
    event,
    limitrange,
    namespace,
    persistentvolume,
    persistentvolumeclaim,
    replicationcontroller,
    resourcequota,
    secret,
    service,
    serviceaccount,
)
from timonel.apis.core import node as core_node
from timonel.apis.resource import ResourceType
from timonel.machinery.codec import Codecs
from timonel.objects.meta import Object
from timonel.schema import load

RESOURCES: tuple[ResourceType, ...] = tuple(
    rtype
    for module in (
        admissionregistration, apiregistration, authentication, authorization, autoscaling, binding, certificates,
        configmap, coordination, core_node, discovery, endpoints, event, events, flowcontrol, limitrange, namespace,
        networking, node, persistentvolume, persistentvolumeclaim, policy, rbac, replicationcontroller, resource_k8s,
        resourcequota, scheduling, secret, service, serviceaccount, storage,
    )
    for rtype in module.RESOURCES
)  # fmt: skip

RULE: Object = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJQgotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"
)

BODIES: dict[str, Object] = {
    "v1/ConfigMap": {"data": {"k": "v"}},
    "v1/Secret": {"stringData": {"k": "v"}},
    "v1/Namespace": {},
    "v1/ServiceAccount": {},
    "v1/Service": {"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}},
    "v1/Endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    "v1/Event": {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}},
    "v1/LimitRange": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}},
    "v1/ResourceQuota": {"spec": {"hard": {"pods": "3"}}},
    "v1/Node": {"status": {"capacity": {"cpu": "4"}}},
    "v1/Binding": {"target": {"kind": "Node", "name": "a"}},
    "v1/PersistentVolume": {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    },
    "v1/PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "v1/ReplicationController": {
        "spec": {
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }
        }
    },
    "networking.k8s.io/v1/Ingress": {
        "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}
    },
    "networking.k8s.io/v1/IngressClass": {"spec": {"controller": "example.com/c"}},
    "networking.k8s.io/v1/NetworkPolicy": {"spec": {"podSelector": {}}},
    "networking.k8s.io/v1/IPAddress": {"spec": {"parentRef": {"resource": "services", "name": "a"}}},
    "networking.k8s.io/v1/ServiceCIDR": {"spec": {"cidrs": ["10.0.0.0/24"]}},
    "rbac.authorization.k8s.io/v1/Role": {
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    },
    "rbac.authorization.k8s.io/v1/ClusterRole": {
        "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    },
    "rbac.authorization.k8s.io/v1/RoleBinding": {"roleRef": {"kind": "Role", "name": "r"}},
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": {"roleRef": {"kind": "ClusterRole", "name": "r"}},
    "storage.k8s.io/v1/StorageClass": {"provisioner": "x.io/y"},
    "storage.k8s.io/v1/CSIDriver": {"spec": {}},
    "storage.k8s.io/v1/CSINode": {"spec": {"drivers": [{"name": "x.io", "nodeID": "n", "topologyKeys": None}]}},
    "storage.k8s.io/v1/CSIStorageCapacity": {"storageClassName": "fast"},
    "storage.k8s.io/v1/VolumeAttachment": {
        "spec": {"attacher": "x.io", "nodeName": "n", "source": {"persistentVolumeName": "p"}}
    },
    "storage.k8s.io/v1/VolumeAttributesClass": {"driverName": "x.io", "parameters": {"a": "b"}},
    "scheduling.k8s.io/v1/PriorityClass": {"value": 5},
    "coordination.k8s.io/v1/Lease": {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}},
    "discovery.k8s.io/v1/EndpointSlice": {
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]
    },
    "events.k8s.io/v1/Event": {
        "eventTime": "2020-01-01T00:00:00.000000Z", "reportingController": "x.io/c", "reportingInstance": "i",
        "action": "act", "reason": "r", "type": "Normal",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    },
    "policy/v1/PodDisruptionBudget": {"spec": {"minAvailable": 1, "selector": {}}},
    "autoscaling/v1/HorizontalPodAutoscaler": {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3}
    },
    "autoscaling/v2/HorizontalPodAutoscaler": {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3}
    },
    "node.k8s.io/v1/RuntimeClass": {"handler": "runc"},
    "certificates.k8s.io/v1/CertificateSigningRequest": {
        "spec": {"request": REQUEST, "signerName": "x.io/s", "usages": ["client auth"]}
    },
    "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration": {"webhooks": []},
    "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration": {
        "webhooks": [
            {
                "name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": [RULE],
                "clientConfig": {"url": "https://hook.example.com"},
            }
        ]
    },
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy": {
        "spec": {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}]}
    },
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding": {
        "spec": {"policyName": "p", "validationActions": ["Deny"]}
    },
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": {"resourceRules": [RULE]}, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
        }
    },
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding": {"spec": {"policyName": "p"}},
    "flowcontrol.apiserver.k8s.io/v1/FlowSchema": {"spec": {"priorityLevelConfiguration": {"name": "low"}}},
    "flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration": {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    },
    "apiregistration.k8s.io/v1/APIService": {
        "metadata": {"name": "v1.x.io"},
        "spec": {"group": "x.io", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10},
    },
    "authentication.k8s.io/v1/TokenReview": {"spec": {"token": "t"}},
    "authentication.k8s.io/v1/SelfSubjectReview": {},
    "authorization.k8s.io/v1/SelfSubjectRulesReview": {"spec": {"namespace": "default"}},
    "authorization.k8s.io/v1/SubjectAccessReview": {
        "spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    },
    "authorization.k8s.io/v1/SelfSubjectAccessReview": {
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    },
    "authorization.k8s.io/v1/LocalSubjectAccessReview": {
        "spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}
    },
    "resource.k8s.io/v1/DeviceClass": {"spec": {}},
    "resource.k8s.io/v1/ResourceClaim": {
        "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu.example.com"}}]}}
    },
    "resource.k8s.io/v1/ResourceClaimTemplate": {
        "spec": {
            "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu.example.com"}}]}}
        }
    },
    "resource.k8s.io/v1/ResourceSlice": {
        "spec": {
            "driver": "x.io", "nodeName": "n", "devices": [{"name": "d"}],
            "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
        }
    },
}  # fmt: skip


@cache
def _codecs() -> tuple[Any, Codecs]:
    schema = load()
    return schema, Codecs(schema.type)


def served(rtype: ResourceType, body: Object) -> Object:
    """`body` as a client means it, through the codec."""
    schema, codecs = _codecs()
    obj = copy.deepcopy(body)
    metadata = {"name": "sample", **({"namespace": "default"} if rtype.namespaced else {})}
    if rtype.verbs == ("create",) and rtype.group:
        metadata.pop("name")  # reviews are about others and have no name
    obj["metadata"] = {**metadata, **obj.get("metadata", {})}
    obj["apiVersion"], obj["kind"] = rtype.api_version, rtype.kind
    found, unknown = codecs.codec(schema.name_of(rtype.group, rtype.version, rtype.kind)).normalize(obj)
    assert unknown == []
    return found


def stored(rtype: ResourceType, body: Object | None = None) -> Object:
    """An object as it is when it is validated: defaulted, in the stored form, prepared."""
    if body is None:
        body = BODIES[f"{rtype.api_version}/{rtype.kind}"]
    obj = served(rtype, body)
    rtype.default(obj)
    if rtype.converted is not None:
        rtype.converted.to_stored(obj)
    rtype.prepare_create(obj)
    return obj


def changed(body: Object, path: str, value: Any) -> Object:
    """A copy with the value at a dotted path (numbers are indices) replaced; `...` removes it."""
    found = copy.deepcopy(body)
    holder: Any = found
    *steps, last = path.split("/")
    for step in steps:
        holder = holder[int(step)] if isinstance(holder, list) else holder.setdefault(step, {})
    if value is ...:
        del holder[last]
    elif isinstance(holder, list):
        holder[int(last)] = value
    else:
        holder[last] = value
    return found


def example(rtype: ResourceType, path: str = "", value: Any = ...) -> Object:
    body = BODIES[f"{rtype.api_version}/{rtype.kind}"]
    return changed(body, path, value) if path else copy.deepcopy(body)


def refused(rtype: ResourceType, path: str, value: Any) -> list[str]:
    """The fields that are refused when the example is changed at a path."""
    return [cause.field for cause in rtype.validate(stored(rtype, example(rtype, path, value)))]


def refused_change(rtype: ResourceType, path: str, value: Any) -> list[str]:
    old, new = stored(rtype), stored(rtype, example(rtype, path, value))
    for obj in (old, new):
        obj["metadata"]["resourceVersion"] = "1"
    rtype.prepare_update(new, old)
    return [cause.field for cause in rtype.validate_update(new, old)]
