"""The built-in plugins of a server, in upstream's order (pkg/kubeapiserver/options/plugins.go)."""

from __future__ import annotations

from collections.abc import Sequence

from timonel.aio.clock import Clock
from timonel.server.admission.certificates import (
    CertificateApproval,
    CertificateConditionTimes,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from timonel.server.admission.configuration import Configuration
from timonel.server.admission.defaults import (
    DefaultIngressClass,
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
    TaintNodesByCondition,
)
from timonel.server.admission.limits import LimitRanger
from timonel.server.admission.namespaces import NamespaceLifecycle
from timonel.server.admission.node_restriction import NodeRestriction
from timonel.server.admission.pods import DefaultTolerationSeconds, Priority, RuntimeClass
from timonel.server.admission.podsecurity.plugin import PodSecurity
from timonel.server.admission.quota import ResourceQuota
from timonel.server.admission.service_accounts import ServiceAccount
from timonel.server.admission.unsafe_delete import UnsafeDelete
from timonel.server.allocators import ServiceAllocators
from timonel.server.auth.escalation import EscalationCheck
from timonel.server.auth.rbac import RbacAuthorizer
from timonel.server.request import AdmissionPlugin, Authorizer, Objects, Reader


def built_in(
    *,
    reader: Reader,
    objects: Objects,
    clock: Clock,
    authorizer: Authorizer,
    rbac: RbacAuthorizer,
    allocators: ServiceAllocators,
    dynamic: Sequence[AdmissionPlugin] = (),
    configuration: Configuration | None = None,
) -> tuple[AdmissionPlugin, ...]:
    """`dynamic` are those of policies and webhooks. Quota counts last of the plugins; escalation and allocation
    follow as parts of storing, as upstream's do."""
    configured = configuration or Configuration()
    return (
        NamespaceLifecycle(reader, objects),
        LimitRanger(reader),
        ServiceAccount(reader),
        NodeRestriction(reader, authorizer),
        TaintNodesByCondition(),
        PodSecurity(reader, configured.pod_security),
        Priority(reader),
        DefaultTolerationSeconds(*configured.tolerated),
        DefaultStorageClass(reader),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(reader),
        RuntimeClass(reader),
        CertificateApproval(authorizer),
        CertificateSigning(authorizer),
        CertificateSubjectRestriction(),
        DefaultIngressClass(reader),
        *dynamic,
        ResourceQuota(reader, objects, configured.limited),
        UnsafeDelete(authorizer),
        CertificateRequester(),
        CertificateConditionTimes(clock),
        EscalationCheck(rbac, authorizer),
        allocators,
    )
