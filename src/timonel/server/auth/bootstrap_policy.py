"""The roles and bindings that every cluster starts with, written compactly; `objects()` spells them out.

Names and permissions are upstream's (plugin/pkg/auth/authorizer/rbac/bootstrappolicy). A rule reads
`(verbs, groups, resources[, names])`, words separated by spaces, `core` being the legacy group, or `(verbs, urls)`.
Controllers run as service accounts of their own and watch with their own credentials, so where upstream's rely on the
shared informers of kube-controller-manager, `_OWN_WATCHES` adds what each of them reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from timonel.objects.meta import Object

_Spec = tuple[str, ...]

GROUP = "rbac.authorization.k8s.io"
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = f"{_READ} {_WRITE}"
_EVENTS: _Spec = ("create patch update", "core events.k8s.io", "events")
_BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"

_NODE: tuple[_Spec, ...] = (
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    (_READ, "core", "services"),
    ("create get list watch", "core", "nodes"),
    ("patch update", "core", "nodes/status"),
    ("patch update", "core", "nodes"),
    ("create patch update", "core", "events"),
    (_READ, "core", "pods"),
    ("create delete", "core", "pods"),
    ("patch update", "core", "pods/status"),
    ("create", "core", "pods/eviction"),
    (_READ, "core", "configmaps secrets"),
    ("get", "core", "persistentvolumeclaims persistentvolumes"),
    ("get", "core", "endpoints"),
    ("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ("create delete get patch update", "coordination.k8s.io", "leases"),
    ("get", "storage.k8s.io", "volumeattachments"),
    ("create", "core", "serviceaccounts/token"),
    ("get patch update", "core", "persistentvolumeclaims/status"),
    (_READ, "storage.k8s.io", "csidrivers"),
    ("create delete get patch update", "storage.k8s.io", "csinodes"),
    (_READ, "node.k8s.io", "runtimeclasses"),
    ("get", "resource.k8s.io", "resourceclaims"),
    ("create delete deletecollection get list patch update watch", "resource.k8s.io", "resourceslices"),
)

_SCHEDULER: tuple[_Spec, ...] = (
    _EVENTS,
    ("create", "coordination.k8s.io", "leases"),
    ("get list watch update", "coordination.k8s.io", "leases", "kube-scheduler"),
    (_READ, "core", "nodes"),
    (f"{_READ} delete", "core", "pods"),
    ("create", "core", "bindings pods/binding"),
    ("patch update", "core", "pods/status"),
    (_READ, "core", "replicationcontrollers services"),
    (_READ, "apps extensions", "replicasets"),
    (_READ, "apps", "statefulsets"),
    (_READ, "policy", "poddisruptionbudgets"),
    (_READ, "core", "persistentvolumeclaims persistentvolumes"),
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
    (_READ, "storage.k8s.io", "csinodes"),
    (_READ, "core", "namespaces"),
    (_READ, "storage.k8s.io", "csidrivers"),
    (_READ, "storage.k8s.io", "csistoragecapacities"),
    (_READ, "resource.k8s.io", "deviceclasses"),
    (f"{_READ} patch update", "resource.k8s.io", "resourceclaims"),
    ("patch update", "resource.k8s.io", "resourceclaims/status"),
    ("update", "core", "pods/finalizers"),
    (_READ, "resource.k8s.io", "resourceslices"),
    (_READ, "storage.k8s.io", "volumeattachments"),
    ("create delete", "resource.k8s.io", "resourceclaims"),
)

_SCALABLE = "daemonsets deployments deployments/scale replicasets replicasets/scale"
_CLUSTER_ROLES: dict[str, tuple[_Spec, ...]] = {
    "cluster-admin": (("*", "*", "*"), ("*", "*")),
    "system:discovery": (
        ("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"),
    ),
    "system:monitoring": (
        ("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),
    ),
    "system:basic-user": (
        ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ("get", "/.well-known /.well-known/*"),  # the reference server lets all users discover the issuer
    ),
    "system:public-info-viewer": (("get", "/healthz /livez /readyz /version /version/"),),
    "system:aggregate-to-admin": (
        ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
        (_ALL, "rbac.authorization.k8s.io", "rolebindings roles"),
    ),
    "system:aggregate-to-edit": (
        (_READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        ("impersonate", "core", "serviceaccounts"),
        (_WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        ("create", "core", "pods/eviction"),
        (
            _WRITE,
            "core",
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets"
            " serviceaccounts services services/proxy",
        ),
        ("create", "core", "serviceaccounts/token"),
        (_WRITE, "apps", f"{_SCALABLE} deployments/rollback statefulsets statefulsets/scale"),
        (_WRITE, "autoscaling", "horizontalpodautoscalers"),
        (_WRITE, "batch", "cronjobs jobs"),
        (
            _WRITE,
            "extensions",
            f"{_SCALABLE} deployments/rollback ingresses networkpolicies replicationcontrollers/scale",
        ),
        (_WRITE, "policy", "poddisruptionbudgets"),
        (_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        (_ALL, "coordination.k8s.io", "leases"),
        (_WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
    ),
    "system:aggregate-to-view": (
        (
            _READ,
            "core",
            "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers"
            " replicationcontrollers/scale serviceaccounts services services/status",
        ),
        (
            _READ,
            "core",
            "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status"
            " resourcequotas resourcequotas/status",
        ),
        (_READ, "core", "namespaces"),
        (_READ, "discovery.k8s.io", "endpointslices"),
        (
            _READ,
            "apps",
            f"{_SCALABLE} controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets"
            " statefulsets/scale statefulsets/status",
        ),
        (_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        (_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        (
            _READ,
            "extensions",
            f"{_SCALABLE} daemonsets/status deployments/status ingresses ingresses/status networkpolicies"
            " replicasets/status replicationcontrollers/scale",
        ),
        (_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        (_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        (_READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
    ),
    "system:heapster": (
        (_READ, "core", "events namespaces nodes pods"),
        (_READ, "extensions", "deployments"),
    ),
    "system:node": _NODE,
    "system:node-problem-detector": (
        ("get", "core", "nodes"),
        ("patch", "core", "nodes/status"),
        _EVENTS,
    ),
    "system:kubelet-api-admin": (
        (_READ, "core", "nodes"),
        ("proxy", "core", "nodes"),
        (
            "*",
            "core",
            "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats",
        ),
    ),
    "system:node-bootstrapper": (
        ("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ),
    "system:auth-delegator": (
        ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:kube-aggregator": ((_READ, "core", "endpoints services"),),
    "system:kube-controller-manager": (
        _EVENTS,
        ("create", "coordination.k8s.io", "leases"),
        ("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
        ("create", "core", "secrets serviceaccounts"),
        ("delete", "core", "secrets"),
        ("get", "core", "configmaps namespaces secrets serviceaccounts"),
        ("update", "core", "secrets serviceaccounts"),
        ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ("list watch", "*", "*"),
        ("create", "core", "serviceaccounts/token"),
    ),
    "system:kube-dns": (
        ("list watch", "core", "endpoints services"),
        ("list watch", "discovery.k8s.io", "endpointslices"),
        ("list watch", "core", "namespaces pods"),
    ),
    "system:persistent-volume-provisioner": (
        (f"{_READ} create delete", "core", "persistentvolumes"),
        (f"{_READ} update", "core", "persistentvolumeclaims"),
        (_READ, "storage.k8s.io", "storageclasses"),
        ("watch", "core", "events"),
        _EVENTS,
    ),
    "system:volume-scheduler": (
        (f"{_READ} patch update", "core", "persistentvolumes"),
        (_READ, "storage.k8s.io", "storageclasses"),
        (f"{_READ} patch update", "core", "persistentvolumeclaims"),
    ),
    "system:node-proxier": (
        ("list watch", "core", "endpoints services"),
        (_READ, "core", "nodes"),
        _EVENTS,
        ("list watch", "discovery.k8s.io", "endpointslices"),
        ("list watch", "networking.k8s.io", "servicecidrs"),
    ),
    "system:kube-scheduler": _SCHEDULER,
    "system:service-account-issuer-discovery": (
        ("get", "/.well-known/openid-configuration /openid/v1/jwks"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        ("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        ("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    ),
    **{
        f"system:certificates.k8s.io:{signer}-approver": (
            ("approve", "certificates.k8s.io", "signers", f"kubernetes.io/{signer}"),
        )
        for signer in (
            "legacy-unknown",
            "kubelet-serving",
            "kube-apiserver-client",
            "kube-apiserver-client-kubelet",
        )
    },
    # what a built-in provisioner of volumes on a node's disk needs beside upstream's role for provisioners
    "timonel:network-policy": (
        ("list watch", "core", "namespaces pods"),
        ("list watch", "networking.k8s.io", "networkpolicies"),
    ),
    "timonel:local-path-provisioner": (
        (_READ, "core", "nodes pods"),
        ("patch update", "core", "persistentvolumes"),
        ("create delete", "core", "pods"),
    ),
    # what asks the agents of nodes for metrics.k8s.io
    "timonel:metrics-server": (
        (_READ, "core", "nodes pods"),
        ("get", "core", "nodes/proxy"),
    ),
    # what stands in for the agents of all simulated nodes
    "timonel:node-simulator": (
        (f"{_READ} create patch update", "core", "nodes"),
        ("patch update", "core", "nodes/status"),
        (f"{_READ} delete patch update", "core", "pods"),
        ("patch update", "core", "pods/status"),
        ("create get patch update", "coordination.k8s.io", "leases"),
        _EVENTS,
    ),
}

_AGGREGATED = {"admin": "admin", "edit": "edit", "view": "view"}  # role -> the label it gathers
_LABELS = {
    "edit": "admin",
    "view": "edit",
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
}

_CSRS = "certificatesigningrequests"
_CONTROLLERS: dict[str, tuple[_Spec, ...]] = {
    "attachdetach-controller": (
        ("list watch", "core", "persistentvolumeclaims persistentvolumes"),
        (_READ, "core", "nodes"),
        ("patch update", "core", "nodes/status"),
        ("list watch", "core", "pods"),
        _EVENTS,
        (f"{_READ} create delete", "storage.k8s.io", "volumeattachments"),
        (_READ, "storage.k8s.io", "csidrivers"),
        (_READ, "storage.k8s.io", "csinodes"),
    ),
    "clusterrole-aggregation-controller": ((f"{_READ} escalate patch update", GROUP, "clusterroles"),),
    "cronjob-controller": (
        (f"{_READ} update", "batch", "cronjobs"),
        (f"{_READ} create delete patch update", "batch", "jobs"),
        ("update", "batch", "cronjobs/status"),
        ("update", "batch", "cronjobs/finalizers"),
        ("delete list watch", "core", "pods"),
        _EVENTS,
    ),
    "daemon-set-controller": (
        (_READ, "apps extensions", "daemonsets"),
        ("update", "apps extensions", "daemonsets/status"),
        ("update", "apps extensions", "daemonsets/finalizers"),
        ("list watch", "core", "nodes"),
        ("create delete list patch watch", "core", "pods"),
        ("create", "core", "pods/binding"),
        (f"{_READ} create delete patch update", "apps", "controllerrevisions"),
        _EVENTS,
    ),
    "deployment-controller": (
        (f"{_READ} update", "apps extensions", "deployments"),
        ("update", "apps extensions", "deployments/status"),
        ("update", "apps extensions", "deployments/finalizers"),
        (f"{_READ} create delete patch update", "apps extensions", "replicasets"),
        (f"{_READ} update", "core", "pods"),
        _EVENTS,
    ),
    "device-taint-eviction-controller": (
        (f"{_READ} delete", "core", "pods"),
        ("patch update", "core", "pods/status"),
        (_READ, "resource.k8s.io", "resourceclaims"),
        (_READ, "resource.k8s.io", "resourceslices"),
        (_READ, "resource.k8s.io", "deviceclasses"),
        (_READ, "resource.k8s.io", "devicetaintrules"),
        _EVENTS,
    ),
    "disruption-controller": (
        (_READ, "apps extensions", "deployments"),
        (_READ, "apps extensions", "replicasets"),
        (_READ, "core", "replicationcontrollers"),
        (_READ, "policy", "poddisruptionbudgets"),
        (_READ, "apps", "statefulsets"),
        ("update", "policy", "poddisruptionbudgets/status"),
        ("patch update", "core", "pods/status"),
        ("get", "*", "*/scale"),
        _EVENTS,
    ),
    "endpoint-controller": (
        (_READ, "core", "pods services"),
        (f"{_READ} create delete update", "core", "endpoints"),
        ("create", "core", "endpoints/restricted"),
        _EVENTS,
    ),
    "endpointslice-controller": (
        (_READ, "core", "nodes pods services"),
        ("update", "core", "services/finalizers"),
        (f"{_READ} create delete update", "discovery.k8s.io", "endpointslices"),
        _EVENTS,
    ),
    "endpointslicemirroring-controller": (
        (_READ, "core", "endpoints services"),
        ("update", "core", "services/finalizers"),
        ("update", "core", "endpoints/finalizers"),
        (f"{_READ} create delete update", "discovery.k8s.io", "endpointslices"),
        _EVENTS,
    ),
    "ephemeral-volume-controller": (
        (_READ, "core", "pods"),
        ("update", "core", "pods/finalizers"),
        (f"{_READ} create", "core", "persistentvolumeclaims"),
        _EVENTS,
    ),
    "expand-controller": (
        (f"{_READ} patch update", "core", "persistentvolumes"),
        ("patch update", "core", "persistentvolumeclaims/status"),
        (_READ, "core", "persistentvolumeclaims"),
        _EVENTS,
        ("get", "core", "services"),
    ),
    "generic-garbage-collector": ((f"{_READ} delete patch update", "*", "*"), _EVENTS),
    "horizontal-pod-autoscaler": (
        (_READ, "autoscaling", "horizontalpodautoscalers"),
        ("update", "autoscaling", "horizontalpodautoscalers/status"),
        ("get update", "*", "*/scale"),
        ("list watch", "core", "pods"),
        ("list watch", "metrics.k8s.io", "pods"),
        (_READ, "custom.metrics.k8s.io", "*"),
        (_READ, "external.metrics.k8s.io", "*"),
        _EVENTS,
    ),
    "job-controller": (
        (f"{_READ} patch update", "batch", "jobs"),
        ("update", "batch", "jobs/status"),
        ("update", "batch", "jobs/finalizers"),
        ("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        ("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
        ("delete patch", "core", "secrets"),
    ),
    "namespace-controller": (
        (f"{_READ} delete", "core", "namespaces"),
        ("update", "core", "namespaces/finalize namespaces/status"),
        (f"{_READ} delete deletecollection", "*", "*"),
    ),
    "node-controller": (
        (f"{_READ} delete patch update", "core", "nodes"),
        ("patch update", "core", "nodes/status"),
        ("patch update", "core", "pods/status"),
        (f"{_READ} delete", "core", "pods"),
        _EVENTS,
    ),
    "persistent-volume-binder": (
        (f"{_READ} create delete update", "core", "persistentvolumes"),
        ("update", "core", "persistentvolumes/status"),
        (f"{_READ} update", "core", "persistentvolumeclaims"),
        ("update", "core", "persistentvolumeclaims/status"),
        (f"{_READ} create delete", "core", "pods"),
        (_READ, "storage.k8s.io", "storageclasses"),
        ("list watch", "core", "nodes"),
        _EVENTS,
        ("watch", "core", "events"),
        ("get", "core", "services"),
    ),
    "pod-garbage-collector": (
        ("delete list watch", "core", "pods"),
        (_READ, "core", "nodes"),
        ("patch", "core", "pods/status"),
    ),
    "replicaset-controller": (
        (f"{_READ} update", "apps extensions", "replicasets"),
        ("update", "apps extensions", "replicasets/status"),
        ("update", "apps extensions", "replicasets/finalizers"),
        ("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "replication-controller": (
        (f"{_READ} update", "core", "replicationcontrollers"),
        ("update", "core", "replicationcontrollers/status"),
        ("update", "core", "replicationcontrollers/finalizers"),
        ("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "resource-claim-controller": (
        (_READ, "core", "pods"),
        ("update", "core", "pods/finalizers"),
        (f"{_READ} create delete", "resource.k8s.io", "resourceclaims"),
        ("patch update", "resource.k8s.io", "resourceclaims resourceclaims/status"),
        ("patch update", "core", "pods/status"),
        _EVENTS,
    ),
    "resourcequota-controller": (
        ("list watch", "*", "*"),
        ("update", "core", "resourcequotas/status"),
        _EVENTS,
    ),
    "root-ca-cert-publisher": (("create update", "core", "configmaps"), _EVENTS),
    "route-controller": (
        ("list watch", "core", "nodes"),
        ("patch", "core", "nodes/status"),
        _EVENTS,
    ),
    "selinux-warning-controller": (
        _EVENTS,
        (_READ, "core", "persistentvolumes"),
        (_READ, "core", "persistentvolumeclaims"),
        (_READ, "core", "pods"),
        (_READ, "storage.k8s.io", "csidrivers"),
    ),
    "service-account-controller": (("create", "core", "serviceaccounts"), _EVENTS),
    "service-cidrs-controller": (
        (f"{_READ} patch update", "networking.k8s.io", "servicecidrs"),
        ("patch update", "networking.k8s.io", "servicecidrs/finalizers"),
        ("patch update", "networking.k8s.io", "servicecidrs/status"),
        (_READ, "networking.k8s.io", "ipaddresses"),
        _EVENTS,
    ),
    "service-controller": (
        (_READ, "core", "services"),
        ("patch update", "core", "services/status"),
        ("list watch", "core", "nodes"),
        _EVENTS,
    ),
    "statefulset-controller": (
        ("list watch", "core", "pods"),
        (_READ, "apps", "statefulsets"),
        ("update", "apps", "statefulsets/status"),
        ("update", "apps", "statefulsets/finalizers"),
        ("create delete get patch update", "core", "pods"),
        (f"{_READ} create delete patch update", "apps", "controllerrevisions"),
        (f"{_READ} create", "core", "persistentvolumeclaims"),
        ("delete update", "core", "persistentvolumeclaims"),
        ("update", "core", "pods/finalizers"),
        _EVENTS,
    ),
    "ttl-after-finished-controller": ((f"{_READ} delete", "batch", "jobs"), _EVENTS),
    "ttl-controller": (("list patch update watch", "core", "nodes"), _EVENTS),
    "certificate-controller": (
        (f"{_READ} delete", "certificates.k8s.io", _CSRS),
        ("update", "certificates.k8s.io", f"{_CSRS}/approval {_CSRS}/status"),
        ("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
        (
            "sign",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet"
            " kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
        ),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
        _EVENTS,
    ),
    "pvc-protection-controller": (
        (f"{_READ} update", "core", "persistentvolumeclaims"),
        (_READ, "core", "pods"),
        _EVENTS,
    ),
    "pv-protection-controller": ((f"{_READ} update", "core", "persistentvolumes"), _EVENTS),
    "validatingadmissionpolicy-status-controller": (
        (_READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
        _EVENTS,
    ),
    "volumeattributesclass-protection-controller": (
        (_READ, "core", "persistentvolumeclaims"),
        (_READ, "core", "persistentvolumes"),
        (f"{_READ} update", "storage.k8s.io", "volumeattributesclasses"),
        _EVENTS,
    ),
}

_OWN_WATCHES: dict[str, tuple[_Spec, ...]] = {
    "service-account-controller": ((_READ, "core", "namespaces serviceaccounts"),),
    "serviceaccount-token-controller": (
        (f"{_READ} create delete patch update", "core", "secrets"),
        (f"{_READ} patch update", "core", "serviceaccounts"),
        ("create", "core", "serviceaccounts/token"),
        _EVENTS,
    ),
    "root-ca-cert-publisher": ((_READ, "core", "configmaps namespaces"),),
    "node-ipam-controller": (
        (f"{_READ} patch update", "core", "nodes"),
        ("patch update", "core", "nodes/status"),
        _EVENTS,
    ),
    "token-cleaner": (("list watch", "core", "secrets"),),
    "bootstrap-signer": (("list watch", "core", "configmaps secrets"),),
    "resource-claim-controller": (("list watch", "resource.k8s.io", "resourceclaimtemplates"),),
    "taint-eviction-controller": (
        (f"{_READ} delete", "core", "pods"),
        (_READ, "core", "nodes"),
        ("patch update", "core", "pods/status"),
        _EVENTS,
    ),
    "node-controller": (
        (_READ, "coordination.k8s.io", "leases"),
        (_READ, "core", "namespaces"),
        (_READ, "apps", "daemonsets"),
        ("create", "core", "pods/eviction"),
    ),
    "disruption-controller": ((_READ, "core", "pods"),),
    "legacy-service-account-token-cleaner": ((_READ, "core", "configmaps pods secrets serviceaccounts"),),
    "persistent-volume-binder": (("list watch", "storage.k8s.io", "csinodes"),),
    "cronjob-controller": ((_READ, "core", "pods"),),
    "job-controller": (("get", "core", "pods"),),
    "replicaset-controller": (("get", "core", "pods"),),
    "replication-controller": (("get", "core", "pods"),),
    "daemon-set-controller": (("get", "core", "nodes pods"),),
    "pod-garbage-collector": (("get", "core", "pods"), ("list watch", "core", "namespaces")),
    "ttl-after-finished-controller": (("list watch", "core", "pods"),),
}

# binding -> (role, subjects); a subject is `g:GROUP`, `u:USER` or `s:SERVICEACCOUNT` in kube-system
_CLUSTER_BINDINGS: dict[str, tuple[str, str]] = {
    "cluster-admin": ("cluster-admin", "g:system:masters"),
    "system:monitoring": ("system:monitoring", "g:system:monitoring"),
    "system:discovery": ("system:discovery", "g:system:authenticated"),
    "system:basic-user": ("system:basic-user", "g:system:authenticated"),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        "g:system:authenticated g:system:unauthenticated",
    ),
    "system:node-proxier": ("system:node-proxier", "u:system:kube-proxy"),
    "system:kube-controller-manager": ("system:kube-controller-manager", "u:system:kube-controller-manager"),
    "system:kube-dns": ("system:kube-dns", "s:kube-dns"),
    "system:kube-scheduler": ("system:kube-scheduler", "u:system:kube-scheduler"),
    "system:volume-scheduler": ("system:volume-scheduler", "u:system:kube-scheduler"),
    "system:node": ("system:node", ""),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        "g:system:serviceaccounts",
    ),
    "timonel:local-path-provisioner": ("timonel:local-path-provisioner", "s:local-path-provisioner"),
    "timonel:network-policy": ("timonel:network-policy", "s:network-policy"),
    "timonel:metrics-server": ("timonel:metrics-server", "s:metrics-server"),
    "timonel:node-simulator": ("timonel:node-simulator", "s:node-simulator"),
    "timonel:persistent-volume-provisioner": (
        "system:persistent-volume-provisioner",
        "s:local-path-provisioner",
    ),
}

_LOCK = "get update"
_ROLES: dict[tuple[str, str], tuple[_Spec, ...]] = {
    ("kube-system", "extension-apiserver-authentication-reader"): (
        (_READ, "core", "configmaps", "extension-apiserver-authentication"),
    ),
    ("kube-system", "system:controller:bootstrap-signer"): ((_READ, "core", "secrets"),),
    ("kube-system", "system:controller:cloud-provider"): (("create get list watch", "core", "configmaps"),),
    ("kube-system", "system:controller:token-cleaner"): ((f"{_READ} delete", "core", "secrets"), _EVENTS),
    # the DNS server of a node makes itself an endpoint of the Service kube-dns, and has its settings in a ConfigMap
    ("kube-system", "timonel:kube-dns"): (
        ("create get update", "discovery.k8s.io", "endpointslices"),
        (_READ, "core", "configmaps", "kube-dns"),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        ("watch", "core", "configmaps"),
        (_LOCK, "core", "configmaps", "kube-controller-manager"),
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        ("watch", "core", "configmaps"),
        (_LOCK, "core", "configmaps", "kube-scheduler"),
    ),
    ("kube-public", "system:controller:bootstrap-signer"): (
        (_READ, "core", "configmaps"),
        ("update", "core", "configmaps", "cluster-info"),
        _EVENTS,
    ),
}
_BINDINGS: dict[tuple[str, str], tuple[str, str]] = {
    ("kube-system", "system::extension-apiserver-authentication-reader"): (
        "extension-apiserver-authentication-reader",
        "u:system:kube-controller-manager u:system:kube-scheduler",
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        "u:system:kube-controller-manager s:kube-controller-manager",
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        "u:system:kube-scheduler s:kube-scheduler",
    ),
    ("kube-system", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        "s:bootstrap-signer",
    ),
    ("kube-system", "system:controller:cloud-provider"): (
        "system:controller:cloud-provider",
        "s:cloud-provider",
    ),
    ("kube-system", "timonel:kube-dns"): ("timonel:kube-dns", "s:kube-dns"),
    ("kube-system", "system:controller:token-cleaner"): (
        "system:controller:token-cleaner",
        "s:token-cleaner",
    ),
    ("kube-public", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        "s:bootstrap-signer",
    ),
}


def objects() -> Iterator[Object]:
    """Everything above as objects, without what a server adds on create."""
    for name, specs in _CLUSTER_ROLES.items():
        yield _cluster_role(name, specs)
    for name, label in _AGGREGATED.items():
        role = _cluster_role(name, ())
        role["rules"] = None
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {_AGGREGATE + label: "true"}}]}
        yield role
    for name in sorted({*_CONTROLLERS, *_OWN_WATCHES}):
        yield _cluster_role(
            f"system:controller:{name}", (*_CONTROLLERS.get(name, ()), *_OWN_WATCHES.get(name, ()))
        )
        yield _cluster_binding(f"system:controller:{name}", f"system:controller:{name}", f"s:{name}")
    for name, (role_name, subjects) in _CLUSTER_BINDINGS.items():
        yield _cluster_binding(name, role_name, subjects)
    for (namespace, name), specs in _ROLES.items():
        yield _object("Role", name, namespace) | {"rules": _rules(specs)}
    for (namespace, name), (role_name, subjects) in _BINDINGS.items():
        yield _bound(_object("RoleBinding", name, namespace), "Role", role_name, subjects)


def controllers() -> Iterable[str]:
    """Service accounts in kube-system that controllers run as."""
    return sorted({*_CONTROLLERS, *_OWN_WATCHES})


def _object(kind: str, name: str, namespace: str = "") -> Object:
    metadata: dict[str, Any] = {
        "name": name,
        "labels": dict(_BOOTSTRAPPING),
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata}


def _cluster_role(name: str, specs: Iterable[_Spec]) -> Object:
    role = _object("ClusterRole", name)
    if name in _LABELS:
        role["metadata"]["labels"][_AGGREGATE + _LABELS[name]] = "true"
    role["rules"] = _rules(specs)
    return role


def _cluster_binding(name: str, role: str, subjects: str) -> Object:
    return _bound(_object("ClusterRoleBinding", name), "ClusterRole", role, subjects)


def _bound(binding: Object, kind: str, role: str, subjects: str) -> Object:
    binding["roleRef"] = {"apiGroup": GROUP, "kind": kind, "name": role}
    found = [_subject(text) for text in subjects.split()]
    if found:
        binding["subjects"] = found
    return binding


def _subject(text: str) -> Object:
    kind, _, name = text.partition(":")
    if kind == "s":
        return {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
    return {"apiGroup": GROUP, "kind": "Group" if kind == "g" else "User", "name": name}


def _rules(specs: Iterable[_Spec]) -> list[dict[str, Any]]:
    return [_rule(spec) for spec in specs]


def _rule(spec: _Spec) -> dict[str, Any]:
    verbs = sorted(spec[0].split())
    if len(spec) == 2:
        return {"nonResourceURLs": sorted(spec[1].split()), "verbs": verbs}
    rule: dict[str, Any] = {
        "apiGroups": sorted("" if g == "core" else g for g in spec[1].split()),
        "resources": sorted(spec[2].split()),
        "verbs": verbs,
    }
    if len(spec) == 4:
        rule["resourceNames"] = sorted(spec[3].split())
    return rule


NODE_RULES = _rules(_NODE)
