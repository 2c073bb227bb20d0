"""Calls to webhooks that answer, that do not, and that answer what nobody asked for."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.fakes import FakeReader
from tests.server.webhookserver import Answer, Object, WebhookServer, server_context, webhook_server
from timonel.aio.clock import SystemClock
from timonel.distro.pki import Authority
from timonel.server.outbound import CallFailed, ClientAuth, Outbound, Reply

pytestmark = pytest.mark.looptime(False)


async def _echo(path: str, body: Object) -> Answer:
    match path.partition("?")[0]:
        case "/slow":
            await asyncio.sleep(5)
        case "/huge":
            return 200, b"x" * 4096
        case "/broken":
            return 500, b"it broke\n"
    return {"got": body}


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path, _echo, ("localhost", "hook.shop.svc")) as server:
        yield server


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
async def outbound(reader: FakeReader) -> AsyncIterator[Outbound]:
    made = Outbound(reader, SystemClock())
    yield made
    made.close()


async def failure(outbound: Outbound, config: Object, timeout: float = 5, most: int = 2000) -> str:
    with pytest.raises(CallFailed) as caught:
        (await outbound.post(config, "", b"{}", timeout=timeout, most=most)).tree()
    return str(caught.value)


def serve(reader: FakeReader, port: int, **endpoint: Any) -> Object:
    """Service shop/hook, port 8443 of which leads to `port` of the loopback."""
    spec = {"type": "ClusterIP", "ports": [{"name": "web", "port": 8443}]}
    reader.put("services", {"metadata": {"namespace": "shop", "name": "hook"}, "spec": spec})
    reader.put(
        "endpointslices.discovery.k8s.io",
        {
            "metadata": {
                "namespace": "shop",
                "name": "hook-1",
                "labels": {"kubernetes.io/service-name": "hook"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"], **endpoint}],
        },
    )
    return {"namespace": "shop", "name": "hook", "port": 8443, "path": "/check"}


async def test_a_url_is_called_with_its_timeout_and_the_connection_kept(
    webhook: WebhookServer, outbound: Outbound
) -> None:
    for _ in range(3):
        reply = await outbound.post(webhook.client_config("/check"), "", b'{"a":1}', timeout=10)

    assert reply.tree() == {"got": {"a": 1}}
    assert [path for path, _ in webhook.requests] == ["/check?timeout=10s"] * 3
    assert webhook.connections == 1


async def test_a_service_is_called_at_an_endpoint_under_its_own_name(
    webhook: WebhookServer, outbound: Outbound, reader: FakeReader
) -> None:
    config = {"service": serve(reader, webhook.port), "caBundle": webhook.bundle}

    reply = await outbound.post(config, "", b"{}", timeout=10)

    assert reply.status == 200
    assert webhook.headers[0]["host"] == "hook.shop.svc:8443"


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    webhook: WebhookServer, outbound: Outbound, tmp_path: Path
) -> None:
    async with webhook_server(tmp_path / "b", _echo) as other:
        await outbound.post(other.client_config(), "", b"{}", timeout=5)
    await asyncio.sleep(0)

    text = await failure(outbound, other.client_config())

    assert text.endswith(f"dial tcp localhost:{other.port}: connect: connection refused")


async def test_a_call_that_takes_too_long(webhook: WebhookServer, outbound: Outbound) -> None:
    text = await failure(outbound, webhook.client_config("/slow"), timeout=0.05)

    shown = f"https://localhost:{webhook.port}/slow?timeout=50ms"
    assert text == f'Post "{shown}": context deadline exceeded'


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    webhook: WebhookServer, outbound: Outbound
) -> None:
    assert (await failure(outbound, webhook.client_config("/huge"))).endswith("larger than 2000 bytes")


async def test_a_refusal_is_told_in_the_words_of_a_client(webhook: WebhookServer, outbound: Outbound) -> None:
    text = await failure(outbound, webhook.client_config("/broken"))

    assert text == 'an error on the server ("it broke") has prevented the request from succeeding'


async def test_a_server_of_another_ca_is_not_trusted(
    webhook: WebhookServer, outbound: Outbound, tmp_path: Path
) -> None:
    async with webhook_server(tmp_path / "other", _echo) as other:
        config = other.client_config() | {"caBundle": webhook.bundle}

        text = await failure(outbound, config)

    assert text.endswith("tls: failed to verify certificate: x509: certificate signed by unknown authority")


CANNOT_VALIDATE = "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs"


async def test_a_server_of_another_name_is_not_trusted(webhook: WebhookServer, outbound: Outbound) -> None:
    config = webhook.client_config() | {"url": f"https://127.0.0.1:{webhook.port}/"}

    text = await failure(outbound, config)
    assert text.endswith(f"x509: {CANNOT_VALIDATE}")


async def test_services_that_lead_nowhere(outbound: Outbound, reader: FakeReader) -> None:
    ref = {"namespace": "shop", "name": "hook", "port": 8443}
    shown = 'Post "https://hook.shop.svc:8443/?timeout=5s": '

    assert await failure(outbound, {"service": ref}) == f'{shown}service "hook" not found'
    serve(reader, 1, conditions={"ready": False})
    assert await failure(outbound, {"service": ref}) == f'{shown}no endpoints available for service "hook"'
    other = ref | {"port": 9}
    assert (await failure(outbound, {"service": other})).endswith(
        'no service port 9 found for service "hook"'
    )


async def test_a_bundle_without_certificates(outbound: Outbound) -> None:
    text = await failure(outbound, {"url": "https://localhost:1/", "caBundle": "bm9uZQ=="})

    assert text == "unable to load root certificates: unable to parse bytes as PEM block"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "the server could not find the requested resource"),
        (503, "the server is currently unable to handle the request"),
        (302, "the server responded with the status code 302 but did not return more information"),
    ],
)
def test_statuses_that_are_no_success(status: int, text: str) -> None:
    with pytest.raises(CallFailed, match=text):
        Reply(status, {}, b"").tree()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", ": EOF"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", ": unexpected EOF"),
        (b"I am no web server\r\n\r\n", ": malformed HTTP response: Expected HTTP/"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ": malformed HTTP response"),
    ],
)
async def test_answers_that_are_none(outbound: Outbound, tmp_path: Path, said: bytes, told: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    context, ca = server_context(tmp_path, "localhost")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    config = {"url": f"https://localhost:{server.sockets[0].getsockname()[1]}/"}
    bundle = base64.b64encode(ca.encode()).decode()

    text = await failure(outbound, config | {"caBundle": bundle})

    server.close()
    assert told in text


async def test_a_server_that_speaks_no_tls(outbound: Outbound) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(16)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    text = await failure(outbound, {"url": f"https://127.0.0.1:{port}/"})

    server.close()
    assert text.endswith(": http: server gave HTTP response to HTTPS client")


async def test_a_server_that_wants_to_know_its_clients(tmp_path: Path, reader: FakeReader) -> None:
    async with webhook_server(tmp_path, _echo, asks_clients=True) as webhook:
        files = Authority(tmp_path, now=SystemClock().now()).client("caller", user="caller")
        known = ClientAuth(files.certificate.read_bytes(), files.key.read_bytes(), "a token")
        caller = Outbound(reader, SystemClock(), credentials=lambda authority: known)
        stranger = Outbound(reader, SystemClock())

        reply = await caller.post(webhook.client_config(), "", b"{}", timeout=5)
        text = await failure(stranger, webhook.client_config())

        caller.close()
        assert reply.status == 200
        assert webhook.headers[0]["authorization"] == "Bearer a token"
        assert "EOF" in text or "certificate required" in text
