"""certificates.k8s.io/v1: CertificateSigningRequest."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

CERTIFICATE_SIGNING_REQUEST = ResourceType(
    group="certificates.k8s.io",
    version="v1",
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    namespaced=False,
    short_names=("csr",),
    status=True,
    subresources=("approval",),
)

RESOURCES = (CERTIFICATE_SIGNING_REQUEST,)
