from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.client.contract import MAPS, WEB, TransportContract
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.apis.scheme import Scheme
from timonel.client.https import Endpoint, HttpsTransport
from timonel.client.transport import Unreachable
from timonel.machinery.errors import Unauthorized
from timonel.server.auth import jwt
from timonel.server.compose import Settings, compose
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.store.memory import MemoryStore

TOKEN = "secret"
ADMIN = User("admin", ("system:masters",))


@pytest.fixture(scope="module")
def scheme() -> Scheme:
    return Scheme()


@pytest.mark.looptime(False)
class TestHttpsTransport(TransportContract):
    """Over plain HTTP, as what TLS adds is Python's own."""

    @pytest.fixture
    async def url(self, scheme: Scheme) -> AsyncIterator[str]:
        security = SecuritySettings(keys=jwt.Keys(_private_key()), static_tokens={TOKEN: ADMIN})
        server = compose(
            Settings(security), store=MemoryStore(), scheme=scheme, clock=SystemClock(), tls=None
        )
        stack = running(server)
        await stack.__aenter__()
        yield f"http://127.0.0.1:{server.port}"
        await stack.__aexit__(None, None, None)

    @pytest.fixture
    async def transport(self, url: str) -> AsyncIterator[HttpsTransport]:
        transport = HttpsTransport(Endpoint(url, token=TOKEN), SystemClock())
        yield transport
        await transport.close()

    async def test_a_wrong_token_is_refused(self, url: str) -> None:
        transport = HttpsTransport(Endpoint(url, token="wrong"), SystemClock())

        with pytest.raises(Unauthorized):
            await transport.get(MAPS, WEB)
        await transport.close()

    async def test_nobody_listens(self) -> None:
        transport = HttpsTransport(Endpoint("http://127.0.0.1:1"), SystemClock())

        with pytest.raises(Unreachable, match=r"dial tcp 127\.0\.0\.1:1"):
            await transport.get(MAPS, WEB)


def _private_key() -> ec.EllipticCurvePrivateKey:

    return ec.generate_private_key(ec.SECP256R1())
