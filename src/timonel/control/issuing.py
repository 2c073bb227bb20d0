"""Signs certificates for requests that have been approved: the one place beside a CA's key.

What a request may ask for has been decided before (`controllers.certificates`); here its wishes become a certificate
that cannot be told from one of upstream's signer. Serial numbers are random, and the CA's own end is nobody's beyond.

Upstream: pkg/controller/certificates/authority/{authority,policies}.go.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

LONGEST = 365 * 24 * 3600  # seconds; --cluster-signing-duration
SHORTEST = 600
BACKDATE = 300  # clocks of others may be a little behind
SHORT = 8 * 3600  # a certificate that lives no longer than this is not shortened by the backdating

_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_PURPOSES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
}


class Issuer:
    """A CA with its key. `longest` bounds, and is, the life of what nobody asked to live shorter."""

    def __init__(self, ca_pem: str, key: CertificateIssuerPrivateKeyTypes, *, longest: int = LONGEST) -> None:
        self._ca = x509.load_pem_x509_certificate(ca_pem.encode())
        self._key = key
        self._longest = longest

    def issue(
        self,
        request: bytes,
        *,
        usages: Sequence[str],
        seconds: int | None,
        now: float,
        earliest: float | None = None,
    ) -> bytes:
        """A certificate for a request, both as PEM. Raises ValueError.

        With `earliest`, it is valid from then on already: for who lives in another time than `now`.
        """
        asked = x509.load_pem_x509_csr(request)
        if not asked.is_signature_valid:
            raise ValueError("unable to verify certificate request signature: the signature is wrong")
        since, until = self._period(life(seconds, self._longest), now)
        if earliest is not None:
            since = min(since, datetime.datetime.fromtimestamp(int(earliest) - BACKDATE, datetime.UTC))
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(self._ca.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        for extension, critical in (*self._authority(), *usage_extensions(usages), *_names(asked)):
            builder = builder.add_extension(extension, critical=critical)
        algorithm = None if isinstance(self._key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return builder.sign(self._key, algorithm).public_bytes(serialization.Encoding.PEM)

    def _authority(self) -> list[tuple[x509.ExtensionType, bool]]:
        try:
            key = self._ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return []
        return [(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key), False)]

    def _period(self, seconds: int, now: float) -> tuple[datetime.datetime, datetime.datetime]:
        begin = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
        if begin >= self._ca.not_valid_after_utc:
            end = f"{self._ca.not_valid_after_utc:%Y-%m-%d %H:%M:%S} +0000 UTC"
            raise ValueError(f"the signer has expired: NotAfter={end}")
        since = begin - datetime.timedelta(seconds=BACKDATE)
        until = (begin if seconds < SHORT else since) + datetime.timedelta(seconds=seconds)
        return since, min(until, self._ca.not_valid_after_utc)


def life(seconds: int | None, longest: int) -> int:
    if seconds is None or seconds > longest:
        return longest
    return max(seconds, SHORTEST)


def usage_extensions(usages: Iterable[str]) -> list[tuple[x509.ExtensionType, bool]]:
    """Key usage and extended key usage with whether they are critical. Raises ValueError for a usage that is none."""
    wanted = list(usages)
    unknown = [u for u in wanted if u not in _USAGES and u not in _PURPOSES]
    if unknown:
        shown = " ".join(f'"{u}"' for u in unknown)
        raise ValueError(f"unrecognized usage values: [{shown}]")
    names = {_USAGES[u] for u in wanted if u in _USAGES}
    found: list[tuple[x509.ExtensionType, bool]] = []
    if names:
        flags = {name: name in names for name in _USAGES.values()}
        if not flags["key_agreement"]:  # these two say something of it only
            flags["encipher_only"] = flags["decipher_only"] = False
        found.append((x509.KeyUsage(**flags), True))
    purposes = list(dict.fromkeys(_PURPOSES[u] for u in sorted(wanted) if u in _PURPOSES))
    if purposes:
        found.append((x509.ExtendedKeyUsage(purposes), False))
    return found


def _names(asked: x509.CertificateSigningRequest) -> list[tuple[x509.ExtensionType, bool]]:
    """The subject's other names, without those of kinds that are not taken over."""
    try:
        extension = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
    names = [name for name in extension.value if isinstance(name, kinds)]
    return [(x509.SubjectAlternativeName(names), not asked.subject.rdns)] if names else []
