"""The least that a Python server can do: uvloop, httptools and TLS, an answer of so many bytes, nothing behind it.

    answer   every request gets the same bytes
    events   every request becomes a stream; all streams get an event of so many bytes, so often in a second
    records  the records of a database are held in memory, and that is all

What it does is what the machine allows. It prints its port when it listens.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httptools
import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SENT = b'"sent":"'


@dataclass(frozen=True, slots=True)
class Bare:
    """What to do; `certificate` and `key` are files."""

    certificate: str
    key: str
    size: int = 0
    rate: float = 0.0  # events in a second
    database: str = ""


class Connection(asyncio.Protocol):
    def __init__(self, answer: bytes, streams: set[asyncio.Transport] | None) -> None:
        self._answer, self._streams = answer, streams
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streams is not None:
            self._streams.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._streams is None:
            self._transport.write(self._answer)
        else:
            self._transport.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            self._streams.add(self._transport)


async def _events(streams: set[asyncio.Transport], size: int, rate: float) -> None:
    started, number = time.monotonic(), 0
    while True:
        number += 1
        await asyncio.sleep(max(started + number / rate - time.monotonic(), 0))
        sent = b'{"type":"MODIFIED",%b%d:%.6f",' % (SENT, number, time.monotonic())
        event = sent + b'"pad":"' + b"x" * (size - len(sent) - 10) + b'"}\n'
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        for transport in tuple(streams):
            transport.write(chunk)


async def serve(bare: Bare) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bare.certificate, bare.key)
    answer = HEAD + b"Content-Length: %d\r\n\r\n" % bare.size + b"x" * bare.size
    streams: set[asyncio.Transport] | None = set() if bare.rate else None
    records = {}
    if bare.database:
        with sqlite3.connect(f"file:{bare.database}?mode=ro", uri=True) as database:
            records = dict(database.execute("SELECT key, value FROM log"))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(answer, streams), "127.0.0.1", 0, ssl=context, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], len(records), flush=True)
    if streams is None:
        await server.serve_forever()
    else:
        await _events(streams, bare.size, bare.rate)


@dataclass(frozen=True, slots=True)
class Serving:
    port: int
    pid: int
    seconds: float  # from its start until it listened


@contextmanager
def serving(bare: Bare) -> Iterator[Serving]:
    """In a process of its own."""
    here = Path(__file__).parents[2]
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.apiserver.bare", json.dumps(asdict(bare))],
        stdout=subprocess.PIPE,
        cwd=here,
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().split()[0])
            yield Serving(port, process.pid, time.perf_counter() - started)
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(serve(Bare(**json.loads(sys.argv[1]))))
