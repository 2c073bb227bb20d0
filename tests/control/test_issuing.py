"""Certificates that the cluster's CA signs."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from timonel.control.issuing import BACKDATE, LONGEST, Issuer, usage_extensions
from timonel.distro import pki

NOW = 1_800_000_000.0
START = datetime.datetime.fromtimestamp(NOW, datetime.UTC)


def issuer(folder: Path) -> Issuer:
    authority = pki.Authority(folder, now=NOW)
    return Issuer(authority.pem, authority.key)


def request(*names: x509.GeneralName) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    # a wish that is not granted
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issued(folder: Path, *names: x509.GeneralName, seconds: int | None = None) -> x509.Certificate:
    usages = ("client auth", "digital signature")
    pem = issuer(folder).issue(request(*names), usages=usages, seconds=seconds, now=NOW)
    return x509.load_pem_x509_certificate(pem)


def test_a_certificate_is_what_was_asked_for_and_no_more(tmp_path: Path) -> None:
    found = issued(tmp_path, x509.DNSName("a.example.com"), x509.RegisteredID(x509.ObjectIdentifier("1.2.3")))

    found.verify_directly_issued_by(pki.Authority(tmp_path, now=NOW).certificate)
    assert found.subject.rfc4514_string() == "CN=jane"
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("a.example.com")]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize(
    ("seconds", "life"),
    [
        (None, LONGEST - BACKDATE),
        (10 * LONGEST, LONGEST - BACKDATE),
        (3600, 3600),
        (1, 600),
        (36000, 36000 - BACKDATE),
    ],
)
def test_how_long_it_lives(tmp_path: Path, seconds: int | None, life: int) -> None:
    found = issued(tmp_path, seconds=seconds)

    assert found.not_valid_before_utc == START - datetime.timedelta(seconds=BACKDATE)
    assert found.not_valid_after_utc == START + datetime.timedelta(seconds=life)


def test_nothing_outlives_the_authority(tmp_path: Path) -> None:
    made = issuer(tmp_path)
    end = pki.Authority(tmp_path, now=NOW).certificate.not_valid_after_utc

    late = made.issue(request(), usages=("any",), seconds=None, now=end.timestamp() - 3600)

    assert x509.load_pem_x509_certificate(late).not_valid_after_utc == end
    with pytest.raises(ValueError, match="the signer has expired: NotAfter="):
        made.issue(request(), usages=("any",), seconds=None, now=end.timestamp())


def test_usages() -> None:
    ((usage, critical),) = usage_extensions(("cert sign", "encipher only"))
    assert critical
    assert isinstance(usage, x509.KeyUsage)
    assert usage.key_cert_sign
    with pytest.raises(ValueError, match=r'unrecognized usage values: \["flying"\]'):
        usage_extensions(("any", "flying"))


def test_a_request_with_a_wrong_signature_is_refused(tmp_path: Path) -> None:
    honest = x509.load_pem_x509_csr(request())
    der = honest.public_bytes(serialization.Encoding.DER)
    forged = der[:-8] + bytes(8)

    made = issuer(tmp_path)
    text = base64.encodebytes(forged).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n".encode()
    with pytest.raises(ValueError, match=r"signature|request|parsing"):
        made.issue(pem, usages=("any",), seconds=None, now=NOW)
