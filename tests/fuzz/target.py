"""A whole API server in a thread of its own, and one connection to it that is opened again when it breaks."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.server.starting import server
from timonel.aio.lifecycle import running

PATIENCE = 10.0  # seconds in which the server must have answered anything


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def tree(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class Target:
    port: int
    # what the server logged at level error: an exception that nobody expected
    errors: list[str] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        told = {"Authorization": "Bearer secret", **headers}
        try:
            self._connection.request(method, path, body, told)
            answer = self._connection.getresponse()
            found = Answer(answer.status, answer.read())
        except BaseException:
            self.close()
            raise
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Errors(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(self.format(record))


@contextmanager
def target() -> Iterator[Target]:
    made = server()
    started, leave, loops = threading.Event(), asyncio.Event(), []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with running(made):
            started.set()
            await leave.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="apiserver")
    thread.start()
    assert started.wait(PATIENCE), "the server did not start"
    found = Target(made.port)
    handler = _Errors(found.errors)
    logging.getLogger().addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(handler)
        found.close()
        loops[0].call_soon_threadsafe(leave.set)
        thread.join(PATIENCE)
