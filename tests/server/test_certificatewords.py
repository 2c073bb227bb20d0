"""What is wrong with a certificate, in the words of Go's client."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from timonel.distro import pki
from timonel.server import certificatewords

NOW = 1_800_000_000.0
DAY = 86400.0


def certificate(folder: Path, *hosts: str) -> x509.Certificate:
    files = pki.Authority(folder, now=NOW).server("s", user="s", hosts=list(hosts))
    return x509.load_pem_x509_certificate(Path(files.certificate).read_bytes())


@pytest.mark.parametrize(
    ("hosts", "wanted", "words"),
    [
        (
            ("a.svc", "b.svc", "10.0.0.1"),
            "c.svc",
            "certificate is valid for a.svc, b.svc, not c.svc",
        ),
        (("a.svc", "10.0.0.1"), "10.0.0.2", "certificate is valid for 10.0.0.1, not 10.0.0.2"),
        (
            ("a.svc",),
            "10.0.0.2",
            "cannot validate certificate for 10.0.0.2 because it doesn't contain any IP SANs",
        ),
        (
            ("10.0.0.1",),
            "a.svc",
            "certificate is not valid for any names, but wanted to match a.svc",
        ),
    ],
)
def test_for_whom_it_is_instead(tmp_path: Path, hosts: tuple[str, ...], wanted: str, words: str) -> None:
    der = certificate(tmp_path, *hosts).public_bytes(Encoding.DER)

    assert certificatewords.wrong_name(der, wanted) == words


def test_when_it_was_good(tmp_path: Path) -> None:
    found = certificate(tmp_path, "a.svc")
    der = found.public_bytes(Encoding.DER)
    begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()

    assert certificatewords.expired(der, NOW) == certificatewords.EXPIRED
    assert " is after 20" in certificatewords.expired(der, ends + DAY)
    assert " is before 20" in certificatewords.expired(der, begins - DAY)


def test_what_cannot_be_read_is_said_without_details() -> None:
    assert certificatewords.expired(b"?", NOW) == certificatewords.EXPIRED
    assert certificatewords.wrong_name(b"?", "a").startswith("certificate is not valid for any names")
