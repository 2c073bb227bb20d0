"""What every cluster has beside upstream's own: the default StorageClass and the Service of cluster DNS."""

from __future__ import annotations

from timonel.client.rest import Client
from timonel.distro.cluster import ADMIN, Cluster
from timonel.distro.config import ClusterConfig
from timonel.node.localpath import PROVISIONER
from timonel.objects.meta import Object, key_of


async def install(cluster: Cluster) -> None:
    """Creates what is missing; what is there, perhaps changed by its user, stays as it is."""
    if "node" not in cluster.config.components:
        return
    client = Client(cluster.transport_for(ADMIN), cluster.index)
    for resource, obj in objects(cluster.config):
        if await client.find(resource, key_of(obj)) is None:
            await client.create(resource, obj)


def objects(config: ClusterConfig) -> list[tuple[str, Object]]:
    return [("storageclasses.storage.k8s.io", _storage_class()), ("services", _dns_service(config))]


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
