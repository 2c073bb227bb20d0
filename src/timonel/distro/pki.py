"""Keys and certificates of a cluster: one CA, ECDSA P-256 keys, files that only their owner can read.

    ca.crt, ca.key            signs everything below, and node and client certificates later
    server.crt, server.key    the API server's port
    front-proxy-ca.crt, .key  signs front-proxy-client: as which the server speaks to other API servers behind it
    NAME.crt, NAME.key        a client: its user name is the common name, its groups the organisations
    sa.key                    signs service-account tokens
    encryption.key            32 bytes: secrets at rest

The CA is valid for ten years, what it signs for one; what is about to expire is made anew at each start. Where the
clock of the cluster is virtual, a turn could outlive any such time: there they have no end (RFC 5280, 4.1.2.5).
Upstream: kubeadm's phases/certs, cfssl's defaults.
"""

from __future__ import annotations

import copy
import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from timonel.distro.config import write_private
from timonel.records import dataclass

CA_DAYS, LEAF_DAYS = 3650, 365
RENEW_BEFORE_DAYS = 30
ENCRYPTION_KEY_LENGTH = 32
NO_END = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
BACKDATE = datetime.timedelta(minutes=5)  # clocks of clients may be a little behind

Key = ec.EllipticCurvePrivateKey


class Damaged(Exception):
    """A key or certificate that cannot be made anew without losing something cannot be read."""


@dataclass(frozen=True, slots=True)
class Files:
    certificate: Path
    key: Path


class Authority:
    """A CA of the cluster, read from or made in a folder. `now` is seconds since the epoch.

    An `unending` one makes certificates that do not expire, and makes what does expire anew: its own certificate with
    the key that it has, so that everything it signed and everybody who trusts it remain as they were.
    """

    def __init__(self, folder: Path, *, now: float, name: str = "ca", unending: bool = False) -> None:
        self.folder = folder  # where issued certificates go
        self._unending = unending
        self._now = datetime.datetime.fromtimestamp(now, datetime.UTC)
        self.name = name
        self.certificate_file = folder / f"{name}.crt"
        key_file = folder / f"{name}.key"
        if self.certificate_file.exists() and key_file.exists():
            try:
                self.certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
                self._key = load_key(key_file)
            except ValueError as exc:
                raise Damaged(f"the cluster's CA in {folder} ({name}.crt, {name}.key) is damaged") from exc
            if self._lasts(self.certificate):
                return
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
            write_private(key_file, key_pem(self._key))
        self.certificate = self._make_ca()
        write_private(self.certificate_file, certificate_pem(self.certificate), 0o644)

    def _lasts(self, certificate: x509.Certificate) -> bool:
        return not self._unending or certificate.not_valid_after_utc == NO_END

    def below(self, folder: Path) -> Authority:
        """The same CA, whose certificate (not its key) and what it issues go to another folder."""
        other = copy.copy(self)
        other.folder = folder
        other.certificate_file = folder / "ca.crt"
        write_private(other.certificate_file, certificate_pem(self.certificate), 0o644)
        return other

    @property
    def key(self) -> Key:
        return self._key

    @property
    def pem(self) -> str:
        return certificate_pem(self.certificate).decode()

    def _make_ca(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"timonel-{self.name}")])
        usage = x509.KeyUsage(True, False, True, False, False, True, True, False, False)
        builder = (
            self._builder(name, name, self._key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - BACKDATE)
            .not_valid_after(NO_END if self._unending else self._now + datetime.timedelta(days=days))
        )

    def client(self, name: str, *, user: str, groups: Iterable[str] = ()) -> Files:
        """A client certificate in NAME.crt and NAME.key, kept while it is good."""
        return self._issue(name, user, tuple(groups), (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def server(self, name: str, *, user: str, hosts: Iterable[str], groups: Iterable[str] = ()) -> Files:
        """A serving certificate for host names and addresses, made anew when one of them is not in it."""
        return self._issue(name, user, tuple(groups), tuple(hosts), ExtendedKeyUsageOID.SERVER_AUTH)

    def _issue(
        self,
        name: str,
        user: str,
        groups: tuple[str, ...],
        hosts: tuple[str, ...],
        purpose: x509.ObjectIdentifier,
    ) -> Files:
        files = Files(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, user),
            ]
        )
        if self._is_good(files, subject, hosts):
            return files
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(subject, self.certificate.subject, key.public_key(), LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(map(_general_name, hosts)), critical=False
            )
        write_private(files.key, key_pem(key))
        write_private(files.certificate, certificate_pem(builder.sign(self._key, hashes.SHA256())), 0o644)
        return files

    def _is_good(self, files: Files, subject: x509.Name, hosts: tuple[str, ...]) -> bool:
        if not (files.certificate.exists() and files.key.exists()):
            return False
        try:
            found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            found.verify_directly_issued_by(self.certificate)
            if found.public_key() != load_key(files.key).public_key():
                return False
        except (ValueError, TypeError, InvalidSignature):  # damaged, or left from before the CA was made anew
            return False
        if found.subject != subject:  # issued by a version that named it otherwise
            return False
        if found.not_valid_after_utc - self._now < datetime.timedelta(days=RENEW_BEFORE_DAYS):
            return False
        if not self._lasts(found):
            return False
        if not hosts:
            return True
        try:
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return all(_general_name(host) in names for host in hosts)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def signing_key(folder: Path) -> Path:
    """The key of service-account tokens."""
    file = folder / "sa.key"
    if not file.exists():
        write_private(file, key_pem(ec.generate_private_key(ec.SECP256R1())))
    try:
        load_key(file)
    except ValueError as exc:
        raise Damaged(f"the key of service-account tokens {file} is damaged") from exc
    return file


def encryption_key(folder: Path) -> bytes:
    """32 random bytes that encrypt secrets at rest; losing them loses the secrets."""
    file = folder / "encryption.key"
    if not file.exists():
        write_private(file, os.urandom(ENCRYPTION_KEY_LENGTH))
        for directory in (folder, folder.parent):  # the key must not be less durable than what it encrypts
            sync(directory)
    key = file.read_bytes()
    if len(key) != ENCRYPTION_KEY_LENGTH:
        raise Damaged(f"the key of secrets at rest {file} is damaged")
    return key


def sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load_key(file: Path) -> Key:
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file} does not hold an elliptic-curve key")
    return key


def key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
