"""What a CertificateSigningRequest asks for, and what upstream's signers ask of it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from timonel.objects.meta import Object
from timonel.records import dataclass

CLIENT = "kubernetes.io/kube-apiserver-client"
NODE_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
NODE_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"

_SERVING_USAGES = ("digital signature", "key encipherment", "server auth")
_CLIENT_USAGES = ("client auth", "digital signature", "key encipherment")


@dataclass(frozen=True, slots=True)
class Asked:
    """The request, read."""

    name: str
    organizations: tuple[str, ...]
    dns: int = 0
    addresses: int = 0
    emails: int = 0
    uris: int = 0


def pem_of(csr: Object) -> bytes:
    try:
        return base64.b64decode(csr["spec"].get("request") or "")
    except (binascii.Error, ValueError):
        return b""


def parse(csr: Object) -> Asked | None:
    """None where it cannot be read."""
    try:
        found = x509.load_pem_x509_csr(pem_of(csr))
        names = [str(a.value) for a in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        organizations = found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        others = list(_others(found))
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return None

    def count(kind: type[x509.GeneralName]) -> int:
        return sum(isinstance(other, kind) for other in others)

    return Asked(
        names[-1] if names else "",
        tuple(str(a.value) for a in organizations),
        dns=count(x509.DNSName),
        addresses=count(x509.IPAddress),
        emails=count(x509.RFC822Name),
        uris=count(x509.UniformResourceIdentifier),
    )


def _others(found: x509.CertificateSigningRequest) -> Collection[x509.GeneralName]:
    try:
        return list(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def node_client_problem(asked: Asked, usages: Collection[str]) -> str:
    """Why it is no request of a node for its client certificate; empty where it is one."""
    if asked.organizations != ("system:nodes",):
        return "subject organization is not system:nodes"
    for count, kind in (
        (asked.dns, "DNS"),
        (asked.emails, "Email"),
        (asked.addresses, "IP"),
        (asked.uris, "URI"),
    ):
        if count:
            return f"{kind} subjectAltNames are not allowed"
    if not asked.name.startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    return _usage_problem(usages, _CLIENT_USAGES)


def node_serving_problem(asked: Asked, usages: Collection[str]) -> str:
    if asked.organizations != ("system:nodes",):
        return "subject organization is not system:nodes"
    if not asked.dns and not asked.addresses:
        return "DNS or IP subjectAltName is required"
    if asked.emails:
        return "Email subjectAltNames are not allowed"
    if asked.uris:
        return "URI subjectAltNames are not allowed"
    problem = _usage_problem(usages, _SERVING_USAGES)
    if problem:
        return problem
    if not asked.name.startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    return ""


def client_problem(usages: Collection[str]) -> str:
    for usage in usages:
        if usage not in ("digital signature", "key encipherment", "client auth"):
            return f"invalid usage for client certificate: {usage}"
    if "client auth" not in usages:
        return "missing required usage for client certificate: client auth"
    return ""


def _usage_problem(usages: Collection[str], wanted: Collection[str]) -> str:
    """Keys that encipher nothing (of no RSA) may leave key encipherment out."""
    if set(usages) in (set(wanted), set(wanted) - {"key encipherment"}):
        return ""
    return f"usages did not match [{' '.join(wanted)}]"


def problem(csr: Object, asked: Asked) -> str | None:
    """Why its signer refuses it; empty: it does not. None: no signer of this cluster."""
    usages = csr["spec"].get("usages") or ()
    match csr["spec"].get("signerName"):
        case str(signer) if signer == CLIENT:
            return client_problem(usages)
        case str(signer) if signer == NODE_CLIENT:
            return node_client_problem(asked, usages)
        case str(signer) if signer == NODE_SERVING:
            return node_serving_problem(asked, usages)
        case str(signer) if signer == LEGACY:
            return ""
    return None


def conditions_of(csr: Object) -> list[Object]:
    return list((csr.get("status") or {}).get("conditions") or ())


def has(csr: Object, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status", "True") == "True" for c in conditions_of(csr))


def certificate_of(csr: Object) -> str:
    found: str = (csr.get("status") or {}).get("certificate") or ""
    return found
