"""Five hundred clients that take and give nothing back: the server stays small, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.servers import TOKEN, ServerProcess, running

MAPS = "/api/v1/namespaces/default/configmaps"
HEAD = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\n"
CLIENTS = 500
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(tmp_path_factory.mktemp("rude")) as made:
        yield made


def resident(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def dialled(port: int, tls: ssl.SSLContext | None) -> socket.socket:
    """With a small window: what is not read stays with the server soon."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(20)
    made.connect(("127.0.0.1", port))
    return tls.wrap_socket(made, server_hostname="127.0.0.1") if tls is not None else made


def half_a_head(client: socket.socket) -> None:
    client.sendall(f"GET {MAPS} HTTP/1.1\r\n{HEAD}X-Late: ".encode() + b"x" * 10_000)


def half_a_body(client: socket.socket) -> None:
    client.sendall(f"POST {MAPS} HTTP/1.1\r\n{HEAD}Content-Length: 3000000\r\n\r\n".encode() + b"x" * 20_000)


def a_list_that_nobody_reads(client: socket.socket) -> None:
    client.sendall(f"GET {MAPS} HTTP/1.1\r\n{HEAD}\r\n".encode() * 20)


def a_watch_that_nobody_reads(client: socket.socket) -> None:
    client.sendall(f"GET {MAPS}?watch=true HTTP/1.1\r\n{HEAD}\r\n".encode())


def silence(client: socket.socket) -> None:
    """TLS, and then nothing."""


RUDE: dict[str, Callable[[socket.socket], None]] = {
    "a head without end": half_a_head,
    "a body without end": half_a_body,
    "lists that nobody reads": a_list_that_nobody_reads,
    "watches that nobody reads": a_watch_that_nobody_reads,
    "silence": silence,
}


@pytest.mark.parametrize("rude", RUDE.values(), ids=RUDE.keys())
def test_rude_clients_cost_little_and_keep_nobody_out(
    server: ServerProcess, rude: Callable[[socket.socket], None]
) -> None:
    with server.connect(30) as polite:
        for number in range(20):
            obj = {"metadata": {"name": f"m{number}"}, "data": {"k": "v" * 5_000}}
            assert polite.send("POST", MAPS, obj).status in (201, 409)
        before = resident(server.pid)
        context = ssl.create_default_context(cafile=str(server.folder / "pki" / "ca.crt"))
        clients = []
        try:
            for _ in range(CLIENTS):
                client = dialled(server.port, context)
                clients.append(client)
                rude(client)
            patched = polite.send("PATCH", f"{MAPS}/m0", {"data": {"n": "1"}}, "application/merge-patch+json")
            listed = polite.send("GET", MAPS)
            grown = resident(server.pid) - before
        finally:
            for client in clients:
                client.close()

    assert (patched.status, listed.status) == (200, 200)
    assert grown < CLIENTS * MEGABYTE // 3, f"{grown / MEGABYTE:.0f} MB for {CLIENTS} clients"


def test_clients_that_vanish_leave_the_server_as_it_was(server: ServerProcess) -> None:
    context = ssl.create_default_context(cafile=str(server.folder / "pki" / "ca.crt"))
    for number in range(200):
        made = dialled(server.port, context if number % 2 else None)
        with contextlib.suppress(OSError):
            a_watch_that_nobody_reads(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.close()

    with server.connect(30) as polite:
        assert polite.send("GET", "/version").status == 200
