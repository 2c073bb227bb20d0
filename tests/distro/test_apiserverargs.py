"""kube-apiserver's flags on the command line, and TLS that follows the authorities of clients."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from timonel.aio.clock import SystemClock
from timonel.distro import apiserverargs, pki
from timonel.distro.commands.up import up
from timonel.distro.config import ConfigError
from timonel.distro.servertls import ServerTls
from timonel.server.auth import jwt
from timonel.server.security import Settings

BASE = Settings(keys=jwt.Keys(jwt.new_key()))


def test_files_are_named_by_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    found = apiserverargs.parse(
        ["--client-ca-file=ca.pem", "anonymous-auth", "service-account-key-file=a,/b"]
    )

    here = str(tmp_path)
    assert found == {
        "client-ca-file": f"{here}/ca.pem",
        "anonymous-auth": "true",
        "service-account-key-file": f"{here}/a,/b",
    }


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown flag --nothing of the API server"):
        apiserverargs.parse(["nothing=1"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("enable-admission-plugin", "--enable-admission-plugins"),
        ("oidc-isuer-url", "--oidc-issuer-url"),
        ("jwks", "--service-account-jwks-uri"),
        ("zzz", "There are: admission-control-config-file, "),
    ],
)
def test_an_unknown_flag_is_told_what_may_have_been_meant(given: str, meant: str) -> None:
    with pytest.raises(ConfigError) as error:
        apiserverargs.parse([f"--{given}=1"])

    assert meant in (error.value.hint or "")


def test_the_shell_completes_flags_of_the_api_server() -> None:
    found = ShellComplete(up, {}, "timonel", "_TIMONEL_COMPLETE").get_completions(
        ["--apiserver-arg"], "oidc-u"
    )

    assert [item.value for item in found] == ["oidc-username-claim=", "oidc-username-prefix="]


def test_keys_and_issuers_can_be_rotated(tmp_path: Path) -> None:
    old, new = jwt.new_key(), rsa.generate_private_key(65537, 2048)
    private = serialization.PrivateFormat.PKCS8
    (tmp_path / "new").write_bytes(
        new.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )
    (tmp_path / "old").write_bytes(
        old.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    made = apiserverargs.apply(
        BASE,
        {
            "service-account-signing-key-file": str(tmp_path / "new"),
            "service-account-key-file": str(tmp_path / "old"),
            "service-account-issuer": "https://new,https://old",
            "service-account-max-token-expiration": "24h",
            "api-audiences": "api,other",
        },
    )

    assert (made.issuer, made.other_issuers, made.audiences) == (
        "https://new",
        ("https://old",),
        ("api", "other"),
    )
    assert made.longest_token == 86400
    assert made.keys.algorithms() == ["ES256", "RS256"]
    assert made.keys.verify(jwt.Keys(old).sign({"a": 1})) == {"a": 1}


@pytest.mark.parametrize(
    "args",
    [
        {"service-account-max-token-expiration": "5m"},
        {"service-account-max-token-expiration": "soon"},
        {"service-account-key-file": __file__},
        {"service-account-signing-key-file": "/does/not/exist"},
        {"oidc-client-id": "me"},
    ],
)
def test_flags_that_cannot_be_used_are_told_before_anything_starts(args: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="the API server's flags cannot be used"):
        apiserverargs.check(args)


@pytest.mark.looptime(False)
async def test_connections_are_verified_by_the_authorities_of_now(tmp_path: Path) -> None:
    now = SystemClock().now()
    one, two = (pki.Authority(tmp_path / name, now=now) for name in ("one", "two"))
    tls = ServerTls(one.server("server", user="s", hosts=["127.0.0.1"]), one.pem)
    seen: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True) is not None)
        writer.write(b"x")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.context)
    port = server.sockets[0].getsockname()[1]

    async def connects(authority: pki.Authority | None) -> bool:
        context = ssl.create_default_context(cadata=one.pem)
        if authority is not None:
            files = authority.client("client", user="c")
            context.load_cert_chain(files.certificate, files.key)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            answer = await reader.read(1)
            writer.close()
        except (ssl.SSLError, OSError):
            return False
        return answer == b"x"

    assert (await connects(one), await connects(two), await connects(None)) == (True, False, True)
    tls.trust(one.pem + two.pem)
    assert (await connects(one), await connects(two)) == (True, True)
    tls.trust(two.pem)
    assert (await connects(one), await connects(two)) == (False, True)
    assert seen == [True, False, True, True, True]
    server.close()


def test_admission_is_set_by_flags(tmp_path: Path) -> None:
    file = tmp_path / "admission.yaml"
    plugin = "{name: PodSecurity, configuration: {exemptions: {usernames: [root]}}}"
    file.write_text(f"{{kind: AdmissionConfiguration, plugins: [{plugin}]}}")

    made = apiserverargs.apply(
        BASE,
        {
            "enable-admission-plugins": "NodeRestriction,AlwaysPullImages",
            "disable-admission-plugins": "ResourceQuota",
            "admission-control-config-file": str(file),
            "default-unreachable-toleration-seconds": "60",
        },
    )

    assert made.admission.is_on("AlwaysPullImages")
    assert not made.admission.is_on("ResourceQuota")
    assert made.admission_configuration.pod_security.users == {"root"}
    assert made.admission_configuration.tolerated == (300, 60)


@pytest.mark.parametrize(
    "args",
    [
        {"enable-admission-plugins": "Nonsense"},
        {"admission-control-config-file": "/nowhere"},
        {"default-not-ready-toleration-seconds": "long"},
    ],
)
def test_admission_that_cannot_be_meant_is_refused_before_the_start(args: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="the API server's flags cannot be used"):
        apiserverargs.check(args)
