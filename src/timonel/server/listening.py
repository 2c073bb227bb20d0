"""The door of the server: accepts connections, begins TLS, and turns away what should not come in.

Sockets are accepted here instead of by the event loop, since the first byte is looked at before TLS is begun: who
speaks plain HTTP to the TLS port is told so, as Go's servers do. Connections are bounded, those whose handshake has not
begun by themselves; one that is idle makes room for a new one. The kernel notices peers that are gone (keepalive).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from timonel.aio.clock import Timer

logger = logging.getLogger(__name__)

BACKLOG = 1024
AT_ONCE = 64  # connections accepted before others get their turn
HANDSHAKE = 15.0  # seconds for the first byte of TLS, and for the handshake
GOODBYE = 5.0  # seconds for TLS to end
MOST_UNBEGUN = 1024  # connections that have not sent a byte yet
PAUSE = 1.0  # seconds without accepting when there are no file descriptors left
TLS_HANDSHAKE = 0x16  # the first byte of a ClientHello
PLAIN = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))

Later = Callable[[float, Callable[[], None]], Timer]


def bound(hosts: tuple[str, ...], port: int) -> list[socket.socket]:
    """Listening sockets for all hosts on one port; 0 takes a free one."""
    found: list[socket.socket] = []
    try:
        for host in hosts:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            made = socket.create_server(address[:2], family=family, backlog=BACKLOG)
            found.append(made)
            made.setblocking(False)
            port = port or made.getsockname()[1]
    except OSError:
        for made in found:
            made.close()
        raise
    return found


def open_files() -> int:
    """How many the process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


class Listener:
    """`room` says whether one more connection may be served, and makes room for it where it can."""

    def __init__(
        self,
        sockets: list[socket.socket],
        tls: ssl.SSLContext | None,
        factory: Callable[[], asyncio.Protocol],
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        later: Later,
        room: Callable[[], bool],
    ) -> None:
        self._sockets, self._tls, self._factory = sockets, tls, factory
        self._spawn, self._later, self._room = spawn, later, room
        self._loop = asyncio.get_running_loop()
        self._unbegun: dict[socket.socket, Timer] = {}
        self._pause: Timer | None = None

    def open(self) -> None:
        for each in self._sockets:
            self._loop.add_reader(each.fileno(), self._accept, each)

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        for each in self._sockets:
            self._loop.remove_reader(each.fileno())
            each.close()
        for each in list(self._unbegun):
            self._drop(each)

    # ---- accepting

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    logger.warning("No connections are accepted for a moment", extra={"error": str(error)})
                    self._rest()
                    return
                raise
            if not self._room():
                accepted.close()
                continue
            _prepare(accepted)
            if self._tls is None:
                self._spawn(self._serve(accepted))
            elif not self._look(accepted):
                self._wait(accepted)

    def _rest(self) -> None:
        for each in self._sockets:
            self._loop.remove_reader(each.fileno())
        self._pause = self._later(PAUSE, self.open)

    # ---- the first byte

    def _wait(self, accepted: socket.socket) -> None:
        while len(self._unbegun) >= MOST_UNBEGUN:
            self._drop(next(iter(self._unbegun)))
        self._unbegun[accepted] = self._later(HANDSHAKE, lambda: self._drop(accepted))
        self._loop.add_reader(accepted.fileno(), self._arrived, accepted)

    def _arrived(self, accepted: socket.socket) -> None:
        self._unbegun.pop(accepted).cancel()
        self._loop.remove_reader(accepted.fileno())
        if not self._look(accepted):
            self._wait(accepted)

    def _drop(self, accepted: socket.socket) -> None:
        self._unbegun.pop(accepted).cancel()
        self._loop.remove_reader(accepted.fileno())
        accepted.close()

    def _look(self, accepted: socket.socket) -> bool:
        """Whether it is known by its first byte what to do with the connection; then it is being done."""
        try:
            first = accepted.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            first = b""
        if not first:
            accepted.close()
        elif first[0] == TLS_HANDSHAKE or not first.isalpha():
            self._spawn(self._serve(accepted))
        else:
            _tell_plain(accepted)
        return True

    async def _serve(self, accepted: socket.socket) -> None:
        secured = self._tls is not None
        try:
            await self._loop.connect_accepted_socket(
                self._factory,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE if secured else None,
                ssl_shutdown_timeout=GOODBYE if secured else None,
            )
        except Exception as error:  # whatever one client does, others are served
            logger.debug("A connection did not come about", extra={"error": repr(error)})
            with suppress(OSError):
                accepted.close()


def _prepare(accepted: socket.socket) -> None:
    accepted.setblocking(False)
    with suppress(OSError):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:
                accepted.setsockopt(socket.IPPROTO_TCP, option, value)


def _tell_plain(accepted: socket.socket) -> None:
    """What has come is read first: closing with unread bytes would take the answer from the client."""
    with suppress(OSError):
        accepted.recv(65536)
        accepted.send(PLAIN)
        accepted.shutdown(socket.SHUT_WR)
    accepted.close()
