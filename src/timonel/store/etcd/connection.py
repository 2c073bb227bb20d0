"""An endpoint of etcd that answers, and calls to it: failover, TLS, tokens, time limits, and the one place where errors
of gRPC become errors of the store.

One channel is used at a time; when it does not answer, the next endpoint's is tried. A read is repeated there. A write
is repeated only where it cannot have been received; else nobody knows whether it happened, and it raises Unreachable.

Upstream: etcd client/v3/retry_interceptor.go, apiserver/pkg/storage/storagebackend/factory/etcd3.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timonel.store.base import Compacted, Corrupt, FutureRevision, StoreError, Unreachable
from timonel.store.etcd import wire

logger = logging.getLogger(__name__)

CALL_TIMEOUT = 5.0  # seconds for one call at one endpoint
KEEPALIVE, KEEPALIVE_TIMEOUT = 10.0, 5.0  # seconds; etcd refuses pings that come more often than every 5
RECONNECT_AT_MOST = 2.0  # seconds between attempts to connect
DEFAULT_PORT = 2379
REQUIRE_LEADER = ("hasleader", "true")  # a member that is cut off from the others ends its watches

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


def is_stale_token(code: str, details: str) -> bool:
    return "invalid auth token" in details or "revision of auth store is old" in details


def was_not_received(code: str, details: str) -> bool:
    """The request cannot have had an effect: it never left, or there was nobody to decide on it."""
    return code == "UNAVAILABLE" and (
        "failed to connect" in details.lower() or "Connection refused" in details or "no leader" in details
    )


class Connection:
    """Use in one event loop; whoever made it closes it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoints = endpoints_of(settings)
        self._current = 0
        self._channels: dict[int, Any] = {}
        self._calls: dict[tuple[int, str], Any] = {}
        self._token = ""
        self._renewing = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for channel in self._channels.values():
            await channel.close()

    # ---- channels

    def _channel(self, index: int) -> Any:
        channel = self._channels.get(index)
        if channel is None:
            channel = self._channels[index] = self._connected(self._endpoints[index])
        return channel

    def _connected(self, endpoint: Endpoint) -> Any:
        import grpc.aio  # slow to import, and needed by clusters on etcd only

        options = [
            ("grpc.keepalive_time_ms", int(KEEPALIVE * 1000)),
            ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", int(RECONNECT_AT_MOST * 1000)),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]
        if not endpoint.tls:
            return grpc.aio.insecure_channel(endpoint.host, options=options)
        files = self._settings
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_content(files.ca_file),
            private_key=_content(files.key_file),
            certificate_chain=_content(files.certificate_file),
        )
        return grpc.aio.secure_channel(endpoint.host, credentials, options=options)

    def _method(self, index: int, method: str) -> Any:
        call = self._calls.get((index, method))
        if call is None:
            channel = self._channel(index)
            make = channel.stream_stream if method == WATCHES else channel.unary_unary
            call = self._calls[index, method] = make(method)
        return call

    def _give_up_on(self, index: int) -> None:
        if self._current == index and len(self._endpoints) > 1:
            self._current = (index + 1) % len(self._endpoints)
            logger.warning(
                "An endpoint of etcd did not answer", extra={"endpoint": self._endpoints[index].host}
            )

    # ---- calls

    async def call(self, method: str, request: bytes, *, idempotent: bool = True) -> bytes:
        """One answer. Raises errors of the store."""
        import grpc

        renewed = False
        failure: StoreError | None = None
        attempts = 0
        while attempts < len(self._endpoints):
            index = self._current
            try:
                answer: bytes = await self._once(index, method, request)
                return answer
            except grpc.aio.AioRpcError as error:
                code, details = error.code().name, error.details() or ""
                if is_stale_token(code, details) and not renewed and self._settings.username:
                    renewed = True
                    await self._renew(self._token)
                    continue
                failure = kind_of(code, details)
                failure.__cause__ = error
                if code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise failure from error
                self._give_up_on(index)
                if not idempotent and not was_not_received(code, details):
                    raise failure from error
            attempts += 1
        assert failure is not None
        raise failure

    async def _once(self, index: int, method: str, request: bytes) -> Any:
        if self._closed:
            raise Unreachable("the store is closed")
        if self._settings.username and not self._token and method != AUTHENTICATE:
            await self._renew("")
        return await self._method(index, method)(request, timeout=CALL_TIMEOUT, metadata=self._metadata())

    def _metadata(self) -> Sequence[tuple[str, str]] | None:
        return (("token", self._token),) if self._token else None

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
        import grpc

        if self._closed:
            raise Unreachable("the store is closed")
        if self._settings.username and not self._token:
            await self._renew("")
        index, token = self._current, self._token
        stream = self._method(index, WATCHES)(metadata=(*(self._metadata() or ()), REQUIRE_LEADER))
        try:
            yield WatchCall(stream, lambda: self._renew(token))
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, error.details() or ""
            if is_stale_token(code, details):
                await self._renew(token)
            elif code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                self._give_up_on(index)
            raise kind_of(code, details) from error
        finally:
            stream.cancel()


class WatchCall:
    def __init__(self, stream: Any, renew: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._renew = renew

    async def send(self, request: bytes) -> None:
        await self._stream.write(request)

    async def receive(self) -> wire.WatchResponse | None:
        """None: the server has ended the stream."""
        raw = await self._stream.read()
        return wire.WatchResponse.read(raw) if isinstance(raw, bytes) else None

    async def refused(self, reason: str) -> None:
        """Raises Unreachable for a watch that was canceled; the next one has a new token if that was why."""
        if is_stale_token("", reason):
            await self._renew()
        raise Unreachable(f"etcd ended a watch: {reason or 'it does not say why'}")


def _content(file: Path | None) -> bytes | None:
    return file.read_bytes() if file is not None else None
