"""Whole API servers for tests: in memory, on a free port of the loopback, without TLS."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from timonel.aio.clock import Clock, SystemClock
from timonel.aio.lifecycle import running
from timonel.apis.scheme import Scheme
from timonel.server.app import ApiServer, Config
from timonel.server.auth import jwt
from timonel.server.compose import Settings, compose
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.store.base import Store
from timonel.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters",))
SCHEME = Scheme()  # compiled once for all tests; it holds no state of a server


def server(
    *, store: Store | None = None, clock: Clock | None = None, encryption_key: bytes = b""
) -> ApiServer:
    security = SecuritySettings(
        keys=jwt.Keys(jwt.new_key()), static_tokens={"secret": ADMIN, "bobs": User("bob")}
    )
    return compose(
        Settings(security, Config(encryption_key=encryption_key)),
        store=store or MemoryStore(),
        scheme=SCHEME,
        clock=clock or SystemClock(),
        tls=None,
    )


@asynccontextmanager
async def started(**settings: Any) -> AsyncIterator[ApiServer]:
    made = server(**settings)
    async with running(made):
        yield made


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


async def send(
    to: ApiServer, method: str, path: str, body: Any = None, *, token: str = "secret", **headers: str
) -> Answer:
    """One request from a thread of its own; headers as keywords with underscores."""

    def ask() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", to.port, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Type", "application/json")
        if token:
            named["Authorization"] = f"Bearer {token}"
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with closing(connection):
            connection.request(method, path, raw, named)
            with connection.getresponse() as answer:
                text = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return Answer(
            answer.status,
            {k.lower(): v for k, v in answer.headers.items()},
            json.loads(text) if is_json and text else text.decode(),
        )

    return await asyncio.to_thread(ask)
