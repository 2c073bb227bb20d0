"""Clients whose certificates are signed by an authority below the trusted one, and a front proxy beside them."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from timonel.aio.clock import SystemClock
from timonel.distro import pki
from timonel.distro.servertls import ServerTls
from timonel.server.auth.certificates import Bundle, ClientCertificates
from timonel.server.clientcertificate import ClientCertificate, shown

pytestmark = pytest.mark.looptime(False)
PEM = serialization.Encoding.PEM


@dataclass
class Signer:
    name: str
    certificate: x509.Certificate
    key: pki.Key

    def sign(self, name: str, *, ca: bool) -> Signer:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(pki_key(self.key), hashes.SHA256())
        )
        return Signer(name, made, key)


def pki_key(key: pki.Key) -> ec.EllipticCurvePrivateKey:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def signer(authority: pki.Authority) -> Signer:
    return Signer(authority.name, authority.certificate, authority.key)


def client_files(folder: Path, user: Signer, *between: Signer) -> Path:
    file = folder / f"{user.name}.pem"
    private = pki_key(user.key).private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = (user, *between)
    file.write_bytes(b"".join(each.certificate.public_bytes(PEM) for each in chain) + private)
    return file


async def test_the_authority_at_the_end_of_the_chain_decides(tmp_path: Path) -> None:
    now = SystemClock().now()
    clients = pki.Authority(tmp_path / "clients", now=now)
    proxies = pki.Authority(tmp_path / "proxies", now=now, name="front-proxy-ca")
    tls = ServerTls(clients.server("server", user="s", hosts=["127.0.0.1"]), clients.pem + proxies.pem)
    seen: list[ClientCertificate | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(shown(writer.get_extra_info("ssl_object")))
        writer.write(b"x")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.context) as server:
        port = server.sockets[0].getsockname()[1]
        for authority, name in ((clients, "ann"), (proxies, "proxy")):
            between = signer(authority).sign(f"below {authority.name}", ca=True)
            context = ssl.create_default_context(cadata=clients.pem)
            context.load_cert_chain(client_files(tmp_path, between.sign(name, ca=False), between))
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            assert await reader.read(1) == b"x"
            writer.close()

    ann, proxy = seen
    assert ann is not None
    assert proxy is not None
    known = ClientCertificates(SystemClock(), Bundle(clients.pem))
    user = known.user(ann)
    assert user is not None
    assert user.name == "ann"
    with pytest.raises(ValueError, match="signed by an unknown authority"):
        known.user(proxy)
    assert Bundle(proxies.pem).issued(x509.load_der_x509_certificate(proxy), proxy)
