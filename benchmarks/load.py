"""A load generator: closed loops over TLS connections, one request on its way on each, in a process of its own.

It is a raw uvloop protocol that reads no more of an answer than its status and length, so that it costs a fraction of
what the server's side costs. It says how busy its processor was: above 0.95 it is itself what is measured.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

NUMBER = b"@@"  # in a body: replaced by the number of the request
BUFFER = 256 * 1024
SETTLING = 0.3  # seconds that do not count


@dataclass(frozen=True, slots=True)
class Work:
    port: int
    ca: str
    token: str
    path: str
    method: str = "GET"
    body: str = ""
    connections: int = 16
    seconds: float = 4.0
    at_most: int = 0  # requests; 0: as many as there is time for
    first: int = 0  # number of the first request


@dataclass(frozen=True, slots=True)
class Report:
    per_second: float
    p50: float  # milliseconds
    p99: float
    bytes_per_second: float
    busy: float  # of the generator's processor
    sent: int
    answers: int  # that count
    failures: int


class Loop(asyncio.BufferedProtocol):
    """One connection: the next request goes out when the answer to the last one is complete."""

    def __init__(
        self, following: Callable[[], bytes | None], done: Callable[[float, int, bool], None]
    ) -> None:
        self._following, self._done = following, done
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._missing = -1  # bytes of the answer; -1: its head has not come yet
        self._head = b""
        self._size = 0
        self._good = False
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        request = self._following()
        if request is None:
            self._transport.close()
            self.ended.set()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing < 0:
            self._head += bytes(self._view[: min(nbytes, 4096)])
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self._head.index(b"Content-Length: ") + 16
            length = int(self._head[at : self._head.index(b"\r", at)])
            self._good = self._head.startswith((b"200", b"201"), 9)
            self._size = end + 4 + length
            self._missing = self._size - nbytes
            self._head = b""
        else:
            self._missing -= nbytes
        if self._missing == 0:
            self._missing = -1
            self._done(self._sent, self._size, self._good)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


def request_maker(work: Work) -> Callable[[int], bytes]:
    head = (
        f"{work.method} {work.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {work.token}\r\n"
        "Accept: application/json\r\nUser-Agent: bench\r\n"
    ).encode()
    if not work.body:
        whole = head + b"\r\n"
        return lambda number: whole
    before, mark, after = work.body.encode().partition(NUMBER)

    def made(number: int) -> bytes:
        body = b"%b%d%b" % (before, number, after) if mark else before
        return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)

    return made


async def generate(work: Work) -> Report:
    context = ssl.create_default_context(cafile=work.ca)
    make = request_maker(work)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    counted_from = started + (0.0 if work.at_most else SETTLING)
    until = started + work.seconds + SETTLING
    times: list[float] = []
    sent = received = failures = 0

    def following() -> bytes | None:
        nonlocal sent
        if time.perf_counter() >= until or (work.at_most and sent >= work.at_most):
            return None
        sent += 1
        return make(work.first + sent)

    def done(since: float, size: int, good: bool) -> None:
        nonlocal received, failures
        if since < counted_from:
            return
        failures += not good
        received += size
        times.append(time.perf_counter() - since)

    processor = time.process_time()
    connections = []
    for _ in range(work.connections):
        _, protocol = await loop.create_connection(
            lambda: Loop(following, done), "127.0.0.1", work.port, ssl=context
        )
        connections.append(protocol)
    for protocol in connections:
        await protocol.ended.wait()
    now = time.perf_counter()
    elapsed = now - counted_from
    times.sort()
    return Report(
        per_second=len(times) / elapsed,
        p50=times[len(times) // 2] * 1e3,
        p99=times[int(len(times) * 0.99)] * 1e3,
        bytes_per_second=received / elapsed,
        busy=(time.process_time() - processor) / (now - started),
        sent=sent,
        answers=len(times),
        failures=failures,
    )


def run(work: Work) -> Report:
    """In a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(work))]
    here = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=work.seconds + 60, cwd=here)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    report = Report(**json.loads(done.stdout))
    if report.failures:
        raise RuntimeError(f"{report.failures} of {report.answers} requests to {work.path} failed")
    return report


def main() -> None:
    print(json.dumps(asdict(uvloop.run(generate(Work(**json.loads(sys.argv[1])))))))


if __name__ == "__main__":
    main()
