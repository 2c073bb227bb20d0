"""Client certificates: the common name is the user, the organizations are its groups.

TLS has verified what is shown against all authorities that the server trusts. Which of them speaks for clients is said
here: a certificate of the front proxy's authority makes nobody a user.

Upstream: apiserver/pkg/authentication/request/x509/x509.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from timonel.aio.clock import Clock
from timonel.server.clientcertificate import ClientCertificate
from timonel.server.request import User

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")  # Kubernetes' own, of a user's uid

_REMEMBERED = 1000


class Bundle:
    """The certificates of one or several authorities, in PEM form; replaced as a whole when its file changes."""

    def __init__(self, pem: str = "") -> None:
        self.pem = ""
        self.authorities: tuple[x509.Certificate, ...] = ()
        self._anchors: set[bytes] = set()
        self.replace(pem)

    def replace(self, pem: str) -> None:
        """Raises ValueError, and nothing is changed."""
        self.authorities = tuple(x509.load_pem_x509_certificates(pem.encode())) if pem else ()
        self._anchors = {authority.public_bytes(Encoding.DER) for authority in self.authorities}
        self.pem = pem

    def issued(self, certificate: x509.Certificate, der: bytes) -> bool:
        """By one of the authorities itself, or by one below it that TLS has followed up to it."""
        if isinstance(der, ClientCertificate) and der.anchor in self._anchors:
            return True
        return any(_is_from(certificate, authority) for authority in self.authorities)


def _is_from(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    if certificate.issuer != authority.subject:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


class Known(NamedTuple):
    user: User | None
    since: float
    until: float


def load(der: bytes) -> x509.Certificate:
    """Raises ValueError for what is no certificate."""
    try:
        return x509.load_der_x509_certificate(der)
    except (TypeError, UnsupportedAlgorithm) as e:
        raise ValueError("the certificate cannot be read") from e


class ClientCertificates:
    """`authorities` is empty where TLS trusts nobody else: then what it has verified is good.

    Certificates are remembered until `forget`, which is called when the authorities have changed.
    """

    def __init__(self, clock: Clock, authorities: Bundle) -> None:
        self._clock = clock
        self._authorities = authorities
        self._known: dict[bytes, Known] = {}

    def user(self, der: bytes) -> User | None:
        """None for a certificate that names nobody. Raises ValueError for one that is not good (any more)."""
        known = self._known.get(der)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[der] = self._look_at(der)
        if not known.since <= self._clock.now() < known.until:
            raise ValueError("the certificate has expired or is not valid yet")
        return known.user

    def forget(self) -> None:
        self._known.clear()

    def _look_at(self, der: bytes) -> Known:
        found = load(der)
        if self._authorities.authorities and not self._authorities.issued(found, der):
            raise ValueError("the certificate is signed by an unknown authority")
        period = (found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp())
        return Known(user_of(found, der), *period)


def user_of(found: x509.Certificate, der: bytes) -> User | None:
    subject = found.subject
    names = list(_texts(subject, NameOID.COMMON_NAME))
    if not names or not names[-1]:
        return None
    uids = list(_texts(subject, UID))
    if len(uids) > 1:
        raise ValueError("expected a single uid in the certificate")
    extra = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)}
    groups = tuple(_texts(subject, NameOID.ORGANIZATION_NAME))
    return User(names[-1], groups, uids[0] if uids else "", extra)


def _texts(subject: x509.Name, oid: x509.ObjectIdentifier) -> Iterable[str]:
    for attribute in subject.get_attributes_for_oid(oid):
        value = attribute.value
        yield value if isinstance(value, str) else value.decode(errors="replace")
