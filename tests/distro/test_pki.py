from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from timonel.distro import pki

NOW = 1_750_000_000.0


def groups_of(files: pki.Files) -> list[str]:
    subject = x509.load_pem_x509_certificate(files.certificate.read_bytes()).subject
    return [str(found.value) for found in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def test_a_certificate_is_kept_while_it_names_who_is_meant(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path, now=NOW)
    first = authority.client("a", user="alice", groups=["one"]).certificate.read_bytes()

    assert authority.client("a", user="alice", groups=["one"]).certificate.read_bytes() == first
    assert groups_of(authority.client("a", user="alice")) == []
    assert groups_of(authority.client("a", user="alice", groups=["x", "y"])) == ["x", "y"]


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path / "pki", now=NOW)
    authority.client("a", user="alice")
    pki.encryption_key(tmp_path / "pki")
    pki.signing_key(tmp_path / "pki")

    private = [f for f in (tmp_path / "pki").iterdir() if f.suffix == ".key"]
    assert len(private) == 4
    assert {f.stat().st_mode & 0o777 for f in private} == {0o600}


def test_a_new_key_is_durable_with_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[str]()
    sync = os.fsync

    def noted(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    key = pki.encryption_key(tmp_path / "pki")

    assert synced[-2:] == [str(tmp_path / "pki"), str(tmp_path)]
    assert pki.encryption_key(tmp_path / "pki") == key


def test_what_a_turn_of_time_must_not_outlive_has_no_end(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path, now=NOW, unending=True)
    files = authority.client("admin", user="admin")

    assert authority.certificate.not_valid_after_utc == pki.NO_END
    assert loaded(files).not_valid_after_utc == pki.NO_END
    again = pki.Authority(tmp_path, now=NOW + 900 * 365 * 86_400, unending=True)
    assert again.certificate == authority.certificate
    assert again.client("admin", user="admin").certificate.read_bytes() == certificate_bytes(files)


def test_what_ends_is_made_anew_by_the_same_authority(tmp_path: Path) -> None:
    before = pki.Authority(tmp_path, now=NOW)
    admin, other = before.client("admin", user="admin"), before.client("other", user="other")
    short = loaded(other)

    after = pki.Authority(tmp_path, now=NOW - 3600, unending=True)  # cluster time is behind
    renewed = loaded(after.client("admin", user="admin"))

    assert after.key.public_key() == before.key.public_key()
    assert x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()) == after.certificate
    assert after.certificate.not_valid_after_utc == renewed.not_valid_after_utc == pki.NO_END
    assert renewed.not_valid_before_utc.timestamp() <= NOW - 3600
    renewed.verify_directly_issued_by(before.certificate)  # who trusts the old one
    short.verify_directly_issued_by(after.certificate)  # what was signed before
    assert loaded(admin) == renewed


def loaded(files: pki.Files) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate_bytes(files))


def certificate_bytes(files: pki.Files) -> bytes:
    return files.certificate.read_bytes()
