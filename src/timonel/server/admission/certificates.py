"""Plugins about certificate signing requests: who asks, who may approve and sign, what may not be asked for.

Upstream: plugin/pkg/admission/certificates/*, pkg/registry/certificates/certificates/strategy.go (PrepareForCreate,
populateConditionTimestamps).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from timonel.aio.clock import Clock
from timonel.apis.resource import ResourceType
from timonel.machinery.field import quote
from timonel.objects.meta import Object
from timonel.server.admission.attributes import creates, forbidden
from timonel.server.request import (
    AdmissionCall,
    Attributes,
    Authorizer,
    OnlyMutates,
    OnlyValidates,
    Operation,
    User,
    Verdict,
)
from timonel.server.subresources.partials import set_condition_times

if TYPE_CHECKING:
    from cryptography import x509

GROUP = "certificates.k8s.io"
REQUESTS = f"certificatesigningrequests.{GROUP}"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


class CertificateRequester(OnlyMutates):
    """A request says who made it; what the caller wrote there does not count."""

    name = "CertificateRequester"
    stores = True

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return creates(resource, subresource, operation, REQUESTS)

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj.setdefault("spec", {})
        user = call.user
        for key, value in (
            ("username", user.name),
            ("uid", user.uid),
            ("groups", list(user.groups)),
            ("extra", {k: list(v) for k, v in user.extra.items()}),
        ):
            if value:
                spec[key] = value
            else:
                spec.pop(key, None)


class CertificateConditionTimes(OnlyMutates):
    """Conditions that come without times get them, also those that a signer writes (approvals do it themselves)."""

    name = "CertificateConditionTimes"
    stores = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return resource.qualified == REQUESTS and subresource == "status" and operation is Operation.UPDATE

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        assert call.old is not None
        after, before = ((obj.get("status") or {}).get("conditions") or [] for obj in (call.obj, call.old))
        set_condition_times(after, before, self._clock.now())


class _SignerPermission(OnlyValidates):
    """The caller must hold `verb` on the signer that the request is for."""

    name = ""
    subresource = ""
    verb = ""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        is_it = resource.qualified == REQUESTS and subresource == self.subresource
        return is_it and operation is Operation.UPDATE

    async def validate(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        assert call.old is not None
        if not self._concerns(call.obj, call.old):
            return
        signer = call.old["spec"]["signerName"]
        if not is_authorized(self._authorizer, call.user, self.verb, signer):
            why = f"user not permitted to {self.verb} requests with signerName {quote(signer)}"
            raise forbidden(call, why)

    def _concerns(self, new: Object, old: Object) -> bool:
        return True


class CertificateApproval(_SignerPermission):
    name = "CertificateApproval"
    subresource = "approval"
    verb = "approve"


class CertificateSigning(_SignerPermission):
    name = "CertificateSigning"
    subresource = "status"
    verb = "sign"

    def _concerns(self, new: Object, old: Object) -> bool:
        after, before = new.get("status") or {}, old.get("status") or {}
        return any(after.get(key) != before.get(key) for key in ("certificate", "conditions"))


class CertificateSubjectRestriction(OnlyValidates):
    name = "CertificateSubjectRestriction"

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return creates(resource, subresource, operation, REQUESTS)

    async def validate(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj["spec"]
        if spec.get("signerName") == CLIENT_SIGNER and "system:masters" in organizations(
            spec.get("request", "")
        ):
            why = f"use of {CLIENT_SIGNER} signer with system:masters group is not allowed"
            raise forbidden(call, why)


def is_authorized(authorizer: Authorizer, user: User, verb: str, signer: str) -> bool:
    """Permission on the signer by name, or on all of its domain."""
    domain = signer.partition("/")[0]
    return any(
        authorizer.authorize(
            Attributes(user, verb, group=GROUP, version="*", resource="signers", name=name)
        ).verdict
        is Verdict.ALLOW
        for name in (signer, f"{domain}/*")
    )


def common_name(request: str) -> str | None:
    """Of a PEM request in base64; None where it cannot be read."""
    from cryptography.x509.oid import NameOID

    subject = _subject(request)
    if subject is None:
        return None
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[-1].value) if names else ""


def organizations(request: str) -> list[str]:
    """The organizations of a PEM request in base64; none where it cannot be read (validation says so)."""
    from cryptography.x509.oid import NameOID

    subject = _subject(request)
    found = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME) if subject is not None else ()
    return [str(a.value) for a in found]


def _subject(request: str) -> x509.Name | None:
    from cryptography import x509  # loaded by the first request: most clusters never see one

    try:
        return x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except (ValueError, TypeError, binascii.Error):
        return None
