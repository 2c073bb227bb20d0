"""What clusters have beside upstream's own: metrics.k8s.io, the default StorageClass, the Service of cluster DNS."""

from __future__ import annotations

from timonel.client.rest import Client
from timonel.distro.cluster import ADMIN, METRICS, Cluster
from timonel.distro.config import ClusterConfig
from timonel.node.localpath import PROVISIONER
from timonel.objects.meta import Object, key_of


async def install(cluster: Cluster) -> None:
    """Creates what is missing; what is there, perhaps changed by its user, stays as it is."""
    client = Client(cluster.transport_for(ADMIN), cluster.index)
    for resource, obj in objects(cluster.config):
        if await client.find(resource, key_of(obj)) is None:
            await client.create(resource, obj)


def objects(config: ClusterConfig) -> list[tuple[str, Object]]:
    found: list[tuple[str, Object]] = []
    if "controllers" in config.components:
        found.append(("apiservices.apiregistration.k8s.io", _metrics_service()))
        found.append(("clusterroles.rbac.authorization.k8s.io", _metrics_reader()))
    if "node" in config.components:
        found.append(("storageclasses.storage.k8s.io", _storage_class()))
        found.append(("services", _dns_service(config)))
    return found


def _metrics_service() -> Object:
    """The Service that it names does not exist, for the server is in our process; one that a user makes is asked."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": METRICS, "labels": {"k8s-app": "metrics-server"}},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "service": {"namespace": "kube-system", "name": "metrics-server"},
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
        },
    }


def _metrics_reader() -> Object:
    """So that who may view pods may see what they use."""
    to = "rbac.authorization.k8s.io/aggregate-to-"
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": "system:aggregated-metrics-reader",
            "labels": {to + role: "true" for role in ("admin", "edit", "view")},
        },
        "rules": [
            {
                "apiGroups": ["metrics.k8s.io"],
                "resources": ["pods", "nodes"],
                "verbs": ["get", "list", "watch"],
            }
        ],
    }


def _storage_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _dns_service(config: ClusterConfig) -> Object:
    """Without a selector: each node's DNS server adds an EndpointSlice, and each node uses its own."""
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {"clusterIP": config.dns_address, "internalTrafficPolicy": "Local", "ports": ports},
    }
