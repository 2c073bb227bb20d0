"""Watches: how soon an event is everywhere, and what it costs to hold ten thousand of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.apiserver.bare import Bare, serving
from benchmarks.apiserver.row import Result, Row, Scale
from benchmarks.apiserver.traffic import CONFIG_MAP, CONFIG_MAPS, api_server, create
from benchmarks.apiserver.watching import Seen, Watching, watchers
from benchmarks.clusters import TOKEN, Running, cpu_seconds, idle_wait, resident
from benchmarks.figure import Figure

RATE = 100.0  # events in a second
CHANGING = f"{CONFIG_MAPS}/settings"
EVENT = 650  # bytes of one, as the bare server sends it
WRITERS = 4  # connections that write in turn, so that none waits for the disk


def _watching(cluster: Running, port: int, count: int) -> Watching:
    ca = str(cluster.root / "pki" / "ca.crt")
    return Watching(port, ca, TOKEN, f"{CONFIG_MAPS}?watch=1", count)


async def _write(cluster: Running, seconds: float) -> None:
    """Change one ConfigMap so often, one write after the other."""
    connections = [
        await asyncio.open_connection("127.0.0.1", cluster.port, ssl=cluster.tls) for _ in range(WRITERS)
    ]
    started, number, due = time.monotonic(), 0, 0.0
    while due < seconds:
        number += 1
        due = number / RATE
        await asyncio.sleep(max(started + due - time.monotonic(), 0))
        await _patch(*connections[number % WRITERS], number)
    for _, writer in connections:
        writer.close()


async def _patch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    body = f'{{"data":{{"sent":"{number}:{time.monotonic():.6f}"}}}}'
    writer.write(
        f"PATCH {CHANGING} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/merge-patch+json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = head.lower().partition(b"content-length: ")[2].split(b"\r", 1)[0]
    await reader.readexactly(int(length))


def fanout(scale: Scale) -> Sequence[Result]:
    count, seconds = scale.of(1_000), scale.seconds * 2
    with api_server() as cluster:
        create(cluster, CONFIG_MAPS, CONFIG_MAP)
        with watchers(_watching(cluster, cluster.port, count)) as watching:
            processor = cpu_seconds([cluster.server])
            asyncio.run(_write(cluster, seconds))
            processor = cpu_seconds([cluster.server]) - processor
            memory = resident(cluster.server)
            idle_wait(0.5)
            seen = watching.seen()
        least = _bare_fanout(cluster, count, seconds)
    if seen.missing:
        raise RuntimeError(f"{seen.missing} events did not reach their watcher")
    title = f"{count:,} watchers, {RATE:.0f} events/s, everywhere: 99 of 100 within"
    return [
        Result(
            name="watch",
            figures=[Figure(title, 100, "ms", seen.p99)],
            bare=least.p99,
            p50=seen.p50,
            p99=seen.p99,
            processor=processor / max(seen.events, 1),
            resident=memory,
            command=f"{count} x GET {CONFIG_MAPS}?watch=1; PATCH {CHANGING} {RATE:.0f} times a second",
            note=f"{seen.events:,} events, the slowest {seen.most:.0f} ms; watchers {seen.busy:.0%} busy",
        )
    ]


def _bare_fanout(cluster: Running, count: int, seconds: float) -> Seen:
    pki = cluster.root / "pki"
    bare = Bare(str(pki / "server.crt"), str(pki / "server.key"), size=EVENT, rate=RATE)
    with serving(bare) as server, watchers(_watching(cluster, server.port, count)) as watching:
        idle_wait(seconds)
        return watching.seen()


def held(scale: Scale) -> Sequence[Result]:
    count = scale.of(10_000)
    with api_server() as cluster:
        create(cluster, CONFIG_MAPS, CONFIG_MAP)
        before = resident(cluster.server)
        started = time.monotonic()
        with watchers(_watching(cluster, cluster.port, count)):
            seconds = time.monotonic() - started
            idle_wait(1.0)
            memory = resident(cluster.server)
            processor = cpu_seconds([cluster.server])
            idle_wait(scale.seconds)
            processor = (cpu_seconds([cluster.server]) - processor) / scale.seconds
        pki = cluster.root / "pki"
        bare = Bare(str(pki / "server.crt"), str(pki / "server.key"), size=EVENT, rate=0.001)
        with serving(bare) as server, watchers(_watching(cluster, server.port, count)):
            least = resident(server.pid)
    each = (memory - before) * 1000 / count
    note = f"{each:.1f} kB each; opened in {seconds:.1f} s; {processor:.1%} of a processor while idle"
    return [
        Result(
            name="watchers",
            figures=[Figure(f"{count:,} watchers held", 400, "MB", memory)],
            bare=least,
            resident=memory,
            command=f"{count} x GET {CONFIG_MAPS}?watch=1",
            note=note,
        )
    ]


ROWS = (Row("watch", fanout), Row("watchers", held))
