"""Which controllers a cluster runs: one line each, in upstream's words (cmd/kube-controller-manager/names)."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence

from timonel.control.runtime import AnyType
from timonel.controllers.attach_detach import ATTACH_DETACH
from timonel.controllers.bootstrap_signer import BOOTSTRAP_SIGNER
from timonel.controllers.certificates import CERTIFICATES
from timonel.controllers.clusterrole_aggregation import CLUSTERROLE_AGGREGATION
from timonel.controllers.cronjob import CRONJOB
from timonel.controllers.daemonset import DAEMONSET
from timonel.controllers.deployment import DEPLOYMENT
from timonel.controllers.device_taint_eviction import DEVICE_TAINT_EVICTION
from timonel.controllers.disruption import DISRUPTION
from timonel.controllers.endpoints import ENDPOINTS
from timonel.controllers.endpointslice import ENDPOINTSLICE
from timonel.controllers.endpointslice_mirroring import ENDPOINTSLICE_MIRRORING
from timonel.controllers.ephemeral_volume import EPHEMERAL_VOLUME
from timonel.controllers.garbage_collector import GARBAGE_COLLECTOR
from timonel.controllers.horizontal_pod_autoscaler import HORIZONTAL_POD_AUTOSCALER
from timonel.controllers.job import JOBS
from timonel.controllers.legacy_serviceaccount_token_cleaner import LEGACY_SERVICEACCOUNT_TOKEN_CLEANER
from timonel.controllers.namespace import NAMESPACE
from timonel.controllers.node_ipam import node_ipam
from timonel.controllers.node_lifecycle import NODE_LIFECYCLE
from timonel.controllers.persistentvolume_binder import PERSISTENTVOLUME_BINDER
from timonel.controllers.persistentvolume_expander import PERSISTENTVOLUME_EXPANDER
from timonel.controllers.pod_garbage_collector import POD_GARBAGE_COLLECTOR
from timonel.controllers.pv_protection import PV_PROTECTION
from timonel.controllers.pvc_protection import PVC_PROTECTION
from timonel.controllers.replicaset import REPLICASET, REPLICATIONCONTROLLER
from timonel.controllers.resourceclaim import RESOURCECLAIM
from timonel.controllers.resourcequota import RESOURCEQUOTA
from timonel.controllers.root_ca_publisher import root_ca_publisher
from timonel.controllers.service import SERVICE
from timonel.controllers.service_cidr import SERVICE_CIDR
from timonel.controllers.serviceaccount import SERVICEACCOUNT
from timonel.controllers.serviceaccount_token import serviceaccount_token
from timonel.controllers.statefulset import STATEFULSET
from timonel.controllers.taint_eviction import TAINT_EVICTION
from timonel.controllers.token_cleaner import TOKEN_CLEANER
from timonel.controllers.ttl import TTL
from timonel.controllers.ttl_after_finished import TTL_AFTER_FINISHED
from timonel.controllers.volumeattributesclass_protection import VOLUMEATTRIBUTESCLASS_PROTECTION
from timonel.distro.config import ClusterConfig


def all_of(config: ClusterConfig, ca_pem: str) -> Sequence[AnyType]:
    return (
        ATTACH_DETACH,
        *CERTIFICATES,
        BOOTSTRAP_SIGNER,
        CLUSTERROLE_AGGREGATION,
        CRONJOB,
        DAEMONSET,
        DEPLOYMENT,
        DEVICE_TAINT_EVICTION,
        *DISRUPTION,
        ENDPOINTS,
        ENDPOINTSLICE,
        ENDPOINTSLICE_MIRRORING,
        EPHEMERAL_VOLUME,
        GARBAGE_COLLECTOR,
        HORIZONTAL_POD_AUTOSCALER,
        *JOBS,
        LEGACY_SERVICEACCOUNT_TOKEN_CLEANER,
        NAMESPACE,
        node_ipam([config.cluster_cidr], reserved=_ranges_of_own_nodes(config)),
        NODE_LIFECYCLE,
        *PERSISTENTVOLUME_BINDER,
        PERSISTENTVOLUME_EXPANDER,
        *POD_GARBAGE_COLLECTOR,
        PV_PROTECTION,
        PVC_PROTECTION,
        REPLICASET,
        REPLICATIONCONTROLLER,
        *RESOURCECLAIM,
        RESOURCEQUOTA,
        root_ca_publisher(ca_pem),
        *((SERVICE,) if _balances(config) else ()),
        SERVICE_CIDR,
        SERVICEACCOUNT,
        serviceaccount_token(ca_pem),
        STATEFULSET,
        TAINT_EVICTION,
        TOKEN_CLEANER,
        TTL,
        TTL_AFTER_FINISHED,
        VOLUMEATTRIBUTESCLASS_PROTECTION,
    )


def _balances(config: ClusterConfig) -> bool:
    """Only nodes that route can be load balancers; elsewhere that is a cloud provider's."""
    return config.runtime == "containerd" and "node" in config.components


def _ranges_of_own_nodes(config: ClusterConfig) -> list[str]:
    """The nodes that belong to the cluster have their ranges by their number, whoever comes before them."""
    if "node" not in config.components:
        return []
    ranges = ipaddress.ip_network(config.cluster_cidr).subnets(new_prefix=24)
    return [str(each) for each in itertools.islice(ranges, config.nodes)]
