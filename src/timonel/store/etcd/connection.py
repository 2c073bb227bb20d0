"""An endpoint of etcd that answers, and calls to it: failover, TLS, tokens, time limits, and the one place where errors
of gRPC become errors of the store.

One connection is used at a time; when it does not answer, the next endpoint's is tried. A read is repeated there. A
write is repeated only where it cannot have been received; else nobody knows whether it happened, and it raises
OutcomeUnknown.

Upstream: etcd client/v3/retry_interceptor.go, apiserver/pkg/storage/storagebackend/factory/etcd3.go.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.records import dataclass
from timonel.store.base import Compacted, Corrupt, FutureRevision, OutcomeUnknown, StoreError, Unreachable
from timonel.store.etcd import wire
from timonel.store.etcd.http2 import Http2Connection, RpcError, Stream

logger = logging.getLogger(__name__)

CALL_TIMEOUT = 5.0  # seconds for one call at one endpoint
KEEPALIVE, KEEPALIVE_TIMEOUT = 10.0, 5.0  # seconds; etcd refuses pings that come more often than every 5
CONNECT_TIMEOUT = 3.0
DEFAULT_PORT = 2379

KV, WATCH, MAINTENANCE, AUTH = (
    f"/etcdserverpb.{service}/" for service in ("KV", "Watch", "Maintenance", "Auth")
)
RANGE, TXN, PUT, COMPACT = KV + "Range", KV + "Txn", KV + "Put", KV + "Compact"
DELETE = KV + "DeleteRange"
STATUS, AUTHENTICATE, WATCHES = MAINTENANCE + "Status", AUTH + "Authenticate", WATCH + "Watch"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where etcd is, and who we are there. Files are PEM."""

    endpoints: tuple[str, ...]  # HOST:PORT, with http:// or https:// before it
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    username: str = ""
    password: str = ""
    root: str = "/registry"  # all keys are below it


class Misconfigured(Exception):
    """Settings that cannot work; the message says which."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    tls: bool


def endpoints_of(settings: Settings) -> tuple[Endpoint, ...]:
    """Raises Misconfigured."""
    found = []
    for each in settings.endpoints:
        scheme, mark, host = each.strip().rpartition("://")
        if mark and scheme not in ("http", "https", "etcd"):
            raise Misconfigured(f"{each!r}: an endpoint of etcd begins with http:// or https://")
        host = host.rstrip("/")
        if not host or "/" in host:
            raise Misconfigured(f"{each!r} is no endpoint, such as https://10.0.0.1:2379")
        if ":" not in host.rpartition("]")[2]:
            host = f"{host}:{DEFAULT_PORT}"
        tls = scheme == "https" or (scheme != "http" and settings.ca_file is not None)
        found.append(Endpoint(host, tls))
    if not found:
        raise Misconfigured("no endpoint of etcd is given")
    if len({e.tls for e in found}) > 1:
        raise Misconfigured("either all endpoints of etcd use https or none")
    if (settings.certificate_file is None) != (settings.key_file is None):
        raise Misconfigured("a client certificate and its key belong together")
    return tuple(found)


def kind_of(code: str, details: str) -> StoreError:
    """What a failed call means. `code` is the name of gRPC's status code."""
    if "required revision has been compacted" in details:
        return Compacted(details)
    if "is a future revision" in details:
        return FutureRevision(details)
    if "database space exceeded" in details:
        return Unreachable(
            "etcd is out of space (alarm NOSPACE): compact and defragment it or raise its quota, then "
            "`etcdctl alarm disarm`"
        )
    if code == "DATA_LOSS" or "corrupt" in details:
        return Corrupt(f"etcd says that its data is damaged: {details}")
    if "request is too large" in details or "larger than max" in details:
        return StoreError("etcd refused it: the object is too large (its --max-request-bytes)")
    refusals = ("authentication failed", "user name is empty")
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or any(text in details for text in refusals):
        return Unreachable(f"etcd does not let us in: {details.removeprefix('etcdserver: ')}")
    if code == "DEADLINE_EXCEEDED":
        return Unreachable("etcd did not answer in time")
    return Unreachable(f"etcd cannot serve now: {details.removeprefix('etcdserver: ') or code}")


def unanswered(code: str) -> OutcomeUnknown:
    """In etcd's own words for it."""
    why = "" if code == "DEADLINE_EXCEEDED" else ", possibly due to connection lost"
    return OutcomeUnknown(f"etcdserver: request timed out{why}")


def is_stale_token(details: str) -> bool:
    return "invalid auth token" in details or "revision of auth store is old" in details


class Connection:
    """Use in one event loop; whoever made it closes it."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._endpoints = endpoints_of(settings)
        self._current = 0
        self._open: dict[int, Http2Connection] = {}
        self._opening = asyncio.Lock()
        self._tls: ssl.SSLContext | None = None
        self._token = ""
        self._renewing = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for connection in self._open.values():
            connection.close()

    # ---- connections

    async def _to(self, index: int) -> Http2Connection:
        """The one to this endpoint, opened if there is none. Raises RpcError."""
        found = self._open.get(index)
        if found is not None and found.usable:
            return found
        async with self._opening:
            found = self._open.get(index)
            if found is None or not found.usable:
                found = self._open[index] = await self._connected(self._endpoints[index])
            return found

    async def _connected(self, endpoint: Endpoint) -> Http2Connection:
        loop = asyncio.get_running_loop()
        host, _, port = endpoint.host.rpartition(":")
        scheme = "https" if endpoint.tls else "http"
        keepalive = (KEEPALIVE, KEEPALIVE_TIMEOUT)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(
                    lambda: Http2Connection(endpoint.host, scheme, self._clock, keepalive),
                    host.strip("[]"),
                    int(port),
                    ssl=self._context() if endpoint.tls else None,
                )
        except (OSError, TimeoutError, ValueError) as error:
            why = f"failed to connect to {endpoint.host}: {error or 'it does not answer'}"
            raise RpcError("UNAVAILABLE", why, received=False) from error
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            files = self._settings
            self._tls = ssl.create_default_context(cafile=str(files.ca_file) if files.ca_file else None)
            self._tls.set_alpn_protocols(["h2"])
            if files.certificate_file is not None and files.key_file is not None:
                self._tls.load_cert_chain(files.certificate_file, files.key_file)
        return self._tls

    def _give_up_on(self, index: int) -> None:
        if self._current == index and len(self._endpoints) > 1:
            self._current = (index + 1) % len(self._endpoints)
            logger.warning(
                "An endpoint of etcd did not answer", extra={"endpoint": self._endpoints[index].host}
            )

    # ---- calls

    async def call(self, method: str, request: bytes, *, idempotent: bool = True) -> bytes:
        """One answer. Raises errors of the store."""
        renewed = False
        failure: StoreError | None = None
        attempts = 0
        while attempts < len(self._endpoints):
            index = self._current
            try:
                return await self._once(index, method, request)
            except RpcError as error:
                code, details = error.code, error.details
                if is_stale_token(details) and not renewed and self._settings.username:
                    renewed = True
                    await self._renew(self._token)
                    continue
                failure = kind_of(code, details)
                failure.__cause__ = error
                if code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise failure from error
                self._give_up_on(index)
                if not idempotent and error.received and "no leader" not in details:
                    raise unanswered(code) from error
            attempts += 1
        assert failure is not None
        raise failure

    async def _once(self, index: int, method: str, request: bytes) -> bytes:
        if self._closed:
            raise Unreachable("the store is closed")
        if self._settings.username and not self._token and method != AUTHENTICATE:
            await self._renew("")
        connection = self._open.get(index)
        if connection is None or not connection.usable:
            connection = await self._to(index)
        stream = None
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                stream = await connection.open(method, token=self._token)
                stream.send(request, last=True)
                answer = await stream.receive()
                # The status comes after the message; an answer is one only with it.
                if answer is None or await stream.receive() is not None:
                    raise RpcError("INTERNAL", "not one answer")
                return answer
        except TimeoutError as error:
            raise RpcError("DEADLINE_EXCEEDED", "no answer in time") from error
        finally:
            if stream is not None and not stream.ended:
                stream.cancel()

    async def _renew(self, stale: str) -> None:
        """A new token in the place of this one, once for all who need it."""
        async with self._renewing:
            if self._token != stale:
                return
            self._token = ""
            request = wire.authenticate_request(self._settings.username, self._settings.password)
            self._token = wire.read_token(await self.call(AUTHENTICATE, request))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[WatchCall]:
        """An open stream of watches, at the current endpoint. Raises errors of the store."""
        if self._closed:
            raise Unreachable("the store is closed")
        if self._settings.username and not self._token:
            await self._renew("")
        index, token = self._current, self._token
        stream = None
        try:
            connection = await self._to(index)
            stream = await connection.open(WATCHES, token=token, require_leader=True, unary=False)
            yield WatchCall(stream, lambda: self._renew(token))
        except RpcError as error:
            if is_stale_token(error.details):
                await self._renew(token)
            elif error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                self._give_up_on(index)
            raise kind_of(error.code, error.details) from error
        finally:
            if stream is not None:
                stream.cancel()


class WatchCall:
    def __init__(self, stream: Stream, renew: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._renew = renew

    async def send(self, request: bytes) -> None:
        self._stream.send(request)

    async def receive(self) -> wire.WatchResponse | None:
        """None: the server has ended the stream."""
        raw = await self._stream.receive()
        return wire.WatchResponse.read(raw) if raw is not None else None

    async def refused(self, reason: str) -> None:
        """Raises Unreachable for a watch that was canceled; the next one has a new token if that was why."""
        if is_stale_token(reason):
            await self._renew()
        raise Unreachable(f"etcd ended a watch: {reason or 'it does not say why'}")
