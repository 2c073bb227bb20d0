"""Clients that watch, in a process of their own: so many TLS connections, each with one watch.

An event carries its number and the time it was sent at: `"sent":"NUMBER:SECONDS"` on the clock that all processes of a
machine share. Every watcher has to see every number, in order. It prints a line when all watches are open, and a
report when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import uvloop

BUFFER = 256 * 1024
AT_ONCE = 64  # handshakes
SENT = re.compile(rb'"sent":"(\d+):([0-9.]+)"').findall
REST = 64  # bytes in which an event that is cut in two may hide its mark


@dataclass(frozen=True, slots=True)
class Watching:
    port: int
    ca: str
    token: str
    path: str
    count: int


@dataclass(frozen=True, slots=True)
class Seen:
    events: int  # by all watchers together
    missing: int  # numbers that some watcher should have seen and did not
    p50: float  # milliseconds
    p99: float
    most: float
    busy: float  # of the process' processor since the watches were open


class Watcher(asyncio.BufferedProtocol):
    def __init__(self, request: bytes, delays: list[float]) -> None:
        self._request, self._delays = request, delays
        self._buffer = bytearray(BUFFER // 8)
        self._view = memoryview(self._buffer)
        self._rest = b""
        self.first = self.last = self.missing = 0
        self.open = asyncio.Event()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        now = time.monotonic()
        data = self._rest + bytes(self._view[:nbytes])
        if not self.open.is_set():
            if not data.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(data[:200])
            self.open.set()
        at = 0
        for number, sent in SENT(data):
            seen = int(number)
            if not self.last:
                self.first = seen
            elif seen != self.last + 1:
                self.missing += 1
            self.last = seen
            self._delays.append(now - float(sent))
            at = 1
        if at:
            end = data.rfind(b'"sent":"')
            data = data[end + 8 :]
        self._rest = data[-REST:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.open.set()


async def watch(watching: Watching) -> None:
    context = ssl.create_default_context(cafile=watching.ca)
    request = (
        f"GET {watching.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {watching.token}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    watchers: list[Watcher] = []
    turns = asyncio.Semaphore(AT_ONCE)

    async def opened() -> None:
        async with turns:
            _, watcher = await loop.create_connection(
                lambda: Watcher(request, delays), "127.0.0.1", watching.port, ssl=context
            )
            await watcher.open.wait()
            watchers.append(watcher)

    async with asyncio.TaskGroup() as group:
        for _ in range(watching.count):
            group.create_task(opened())
    print("open", flush=True)
    started, processor = time.monotonic(), time.process_time()
    await loop.run_in_executor(None, sys.stdin.read)
    busy = (time.process_time() - processor) / (time.monotonic() - started)
    print(json.dumps(asdict(_seen(watchers, delays, busy))), flush=True)


def _seen(watchers: list[Watcher], delays: list[float], busy: float) -> Seen:
    first, last = min(w.first for w in watchers), max(w.last for w in watchers)
    missing = sum(w.missing + (last - w.last) + (w.first - first) + w.lost for w in watchers)
    delays.sort()
    if not delays:
        return Seen(0, missing, 0.0, 0.0, 0.0, busy)
    p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    return Seen(len(delays), missing, p50 * 1e3, p99 * 1e3, delays[-1] * 1e3, busy)


class Watchers:
    """All watches are open; `seen` ends them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def seen(self) -> Seen:
        out, _ = self._process.communicate(timeout=120)
        return Seen(**json.loads(out))


@contextmanager
def watchers(watching: Watching) -> Iterator[Watchers]:
    command = [sys.executable, "-m", "benchmarks.apiserver.watching", json.dumps(asdict(watching))]
    pipe: Any = subprocess.PIPE
    here = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=here) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "open":
                raise RuntimeError("the watches could not be opened")
            yield Watchers(process)
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(watch(Watching(**json.loads(sys.argv[1]))))
