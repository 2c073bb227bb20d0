"""HTTPS calls that the server makes by itself: to webhooks by their clientConfig, and to servers of kubeconfig files.

`Outbound` is the one client for all of them. A service is resolved to one of its ready endpoints through the Reader, so
no cluster network need be set up where the server runs; its certificate is checked for `<name>.<namespace>.svc`.
Connections are kept alive, bounded per destination; the time of a call is the Clock's and covers all of it (waiting for
a connection, dialling, the answer). Whatever goes wrong is a `CallFailed` whose text is that of upstream's client.

Upstream: apiserver/pkg/util/webhook/client.go, apiserver/pkg/util/proxy/proxy.go, client-go rest/request.go.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from timonel.aio.clock import Clock, Timer, deadline
from timonel.client.http1 import Connection
from timonel.client.https import Endpoint
from timonel.client.transport import Unreachable
from timonel.machinery import durations
from timonel.machinery.field import quote
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server import certificatewords
from timonel.server.request import Reader

MOST_OPEN = 100  # connections to one destination
MOST_IDLE = 100  # kept of them: a handshake costs more than keeping one for a while
IDLE_TIMEOUT = 90.0
MOST_CONTEXTS = 256  # TLS contexts remembered, by CA bundle
MOST_ANSWER = 16 << 20  # bytes of an answer
SHOWN = 2048  # bytes of an answer that an error shows
DEFAULT_PORT = 443

SLICES = "endpointslices.discovery.k8s.io"


class CallFailed(Exception):
    """No usable answer. The text is for those who asked: `Post "https://…": context deadline exceeded`.

    `status` is the code of the answer, 0 where there was none; `is_timeout` where the time was up.
    """

    def __init__(self, text: str, *, status: int = 0, is_timeout: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.is_timeout = is_timeout


class Unresolved(Exception):
    """A service that leads nowhere; the text is upstream's."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes. `origin` and `path` make the URL that error texts show."""

    origin: str  # https://name.namespace.svc:443
    path: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    server_name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def authority(self) -> str:
        return self.origin.partition("://")[2]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def tree(self) -> Any:
        """The JSON of a success. Raises CallFailed for anything else, with the text of upstream's REST client."""
        if not 200 <= self.status < 300:
            raise CallFailed(refusal(self), status=self.status)
        try:
            tree = orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            raise CallFailed(_undecodable(self.body), status=self.status) from exc
        return tree


def _undecodable(body: bytes) -> str:
    """As Go's decoder begins to complain; it gives up at the first byte that is no JSON."""
    if not body.strip():
        return "unexpected end of JSON input"
    shown = body[:SHOWN].decode(errors="replace")
    return (
        "couldn't get version/kind; json parse error: "
        f"invalid character {quote(shown.lstrip()[0]).replace(chr(34), chr(39))} looking for beginning of value"
    )


_REFUSALS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    415: "the server was unable to respond with a content type that the client supports",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def refusal(reply: Reply) -> str:
    """What a client says of an answer that is no success. Upstream: errors.NewGenericServerResponse."""
    try:
        status = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status" and isinstance(status.get("message"), str):
        return str(status["message"])
    kind = reply.headers.get("content-type", "")
    text = "unknown"
    if not kind or kind.startswith("text/"):
        text = reply.body[:SHOWN].decode(errors="replace").strip()
    if reply.status == 403:
        return text
    known = _REFUSALS.get(reply.status)
    if known is not None:
        return known
    if reply.status >= 500:
        return f"an error on the server ({quote(text)}) has prevented the request from succeeding"
    return f"the server responded with the status code {reply.status} but did not return more information"


@dataclass(frozen=True, slots=True)
class ClientAuth:
    """What the server shows of itself. The certificate and its key are PEM, or files that hold it."""

    certificate: bytes | str = b""
    key: bytes | str = b""
    token: str = ""

    @classmethod
    def of(cls, user: Mapping[str, Any]) -> ClientAuth:
        """A user of a kubeconfig file."""

        def pem(name: str) -> bytes | str:
            data = user.get(f"{name}-data")
            return base64.b64decode(data) if data else str(user.get(name) or "")

        token = user.get("token") or ""
        if not token and user.get("tokenFile"):
            token = Path(user["tokenFile"]).read_text().strip()
        return cls(pem("client-certificate"), pem("client-key"), token)

    def add_to(self, context: ssl.SSLContext) -> None:
        if not self.certificate:
            return
        import tempfile  # here: most servers show no certificate to webhooks

        with tempfile.TemporaryDirectory() as folder:  # OpenSSL reads a client's certificate from files only
            context.load_cert_chain(_file(folder, "crt", self.certificate), _file(folder, "key", self.key))


def _file(folder: str, name: str, pem: bytes | str) -> str:
    if isinstance(pem, str):
        return pem
    path = Path(folder) / name
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return str(path)


class Outbound:
    """The owner calls `close`, or runs `run`.

    `kubernetes` tells where this server itself listens, for webhooks that are served by it. `credentials` finds what
    the server shows of itself to a host:port (upstream: the kubeconfig of the admission configuration).
    """

    def __init__(
        self,
        reader: Reader,
        clock: Clock,
        *,
        kubernetes: Callable[[], tuple[str, int]] | None = None,
        credentials: Callable[[str], ClientAuth | None] = lambda authority: None,
    ) -> None:
        self._reader, self._clock = reader, clock
        self._kubernetes = kubernetes
        self._credentials = credentials
        self._pools: dict[tuple[str, int, str, int], _Pool] = {}
        self._contexts: dict[tuple[bytes, ClientAuth | None], ssl.SSLContext] = {}

    # ---- where to

    def target(self, config: Object, path: str = "") -> Target:
        """Of a clientConfig: `url`, or `service` with `namespace`, `name`, `path`, `port`; and `caBundle`.

        Raises Unresolved, and ValueError for a CA bundle that holds no certificates.
        """
        service = config.get("service")
        if service is None:
            parts = urlsplit(config.get("url") or "")
            host, port = parts.hostname or "", parts.port or DEFAULT_PORT
            origin = f"{parts.scheme}://{parts.netloc}"
            where = parts.path + path
            name = ""
        else:
            port = service.get("port") or DEFAULT_PORT
            name = f"{service['name']}.{service['namespace']}.svc"
            origin = f"https://{name}:{port}"
            where = (service.get("path") or "/") + path
            host, port = self.resolve(service["namespace"], service["name"], port)
        known = self._credentials(origin.partition("://")[2])
        headers = {}
        context = self.context(config.get("caBundle") or "", client=known)
        if known is not None and known.token:
            headers["Authorization"] = f"Bearer {known.token}"
        return Target(origin, where or "/", host, port, context, name, headers)

    @staticmethod
    def target_of(endpoint: Endpoint, path: str = "") -> Target:
        """Of a cluster entry in a kubeconfig file; see `client.kubeconfig`."""
        parts = urlsplit(endpoint.server)
        is_tls = parts.scheme == "https"
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        return Target(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            (parts.path + path) or "/",
            parts.hostname or "localhost",
            parts.port or (DEFAULT_PORT if is_tls else 80),
            (endpoint.context or ssl.create_default_context()) if is_tls else None,
            endpoint.server_name,
            headers,
        )

    def resolve(self, namespace: str, name: str, port: int = DEFAULT_PORT) -> tuple[str, int]:
        """Host and port of a ready endpoint. Raises Unresolved. Upstream: proxy.ResolveEndpoint, ResolveCluster."""
        if (namespace, name) == ("default", "kubernetes") and self._kubernetes is not None:
            return self._kubernetes()
        service = self._reader.get("services", namespace, name)
        if service is None:
            raise Unresolved(f"service {quote(name)} not found")
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return spec["externalName"], port
        found = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if found is None:
            raise Unresolved(f"no service port {port} found for service {quote(name)}")
        ready = _ready(self._reader.list(SLICES, namespace), name, found.get("name", ""))
        if not ready:
            raise Unresolved(f"no endpoints available for service {quote(name)}")
        return random.choice(ready)

    def context(
        self, bundle: str | bytes = "", *, insecure: bool = False, client: ClientAuth | None = None
    ) -> ssl.SSLContext:
        """Trusts the certificates of a CA bundle (PEM, or PEM in base64 as in objects); without one, the system's."""
        raw = bundle.encode() if isinstance(bundle, str) else bundle
        key = (b"insecure" if insecure else raw, client)
        found = self._contexts.pop(key, None)
        if found is None:
            found = _context(raw, insecure=insecure)
            if client is not None:
                client.add_to(found)
        self._contexts[key] = found
        while len(self._contexts) > MOST_CONTEXTS:
            del self._contexts[next(iter(self._contexts))]
        return found

    # ---- calls

    async def post(
        self,
        config: Object,
        path: str,
        body: bytes,
        *,
        timeout: float,
        user_agent: str = "kube-apiserver",
        headers: Mapping[str, str] | None = None,
        most: int = MOST_ANSWER,
    ) -> Reply:
        """POST JSON to a webhook by its clientConfig; `path` follows the path that it names. Raises CallFailed."""
        try:
            target = self.target(config, path)
        except Unresolved as exc:
            service = config["service"]
            origin = (
                f"https://{service['name']}.{service['namespace']}.svc:{service.get('port') or DEFAULT_PORT}"
            )
            shown = f"{origin}{(service.get('path') or '/') + path}?timeout={durations.shown(timeout)}"
            raise CallFailed(f"Post {quote(shown)}: {exc}") from exc
        except ValueError as exc:
            raise CallFailed(str(exc)) from exc
        sent = {"Content-Type": "application/json", "User-Agent": user_agent, **(headers or {})}
        return await self.send(
            target,
            "POST",
            body,
            query=f"timeout={durations.shown(timeout)}",
            timeout=timeout,
            headers=sent,
            most=most,
        )

    async def send(
        self,
        target: Target,
        method: str,
        body: bytes = b"",
        *,
        timeout: float,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        most: int = MOST_ANSWER,
    ) -> Reply:
        """Any request, answered whole whatever its status is. Raises CallFailed."""
        path = target.path + (f"{'&' if '?' in target.path else '?'}{query}" if query else "")
        what = f"{method.capitalize()} {quote(target.origin + path)}"
        sent = {
            "Host": target.authority,
            "Accept": "application/json, */*",
            "User-Agent": "kube-apiserver",
            **target.headers,
            **(headers or {}),
        }
        pool = self._pool(target)
        try:
            async with deadline(self._clock, timeout), pool:
                return await self._exchange(pool, target, method, path, sent, body, most)
        except TimeoutError as exc:
            raise CallFailed(f"{what}: context deadline exceeded", is_timeout=True) from exc
        except Unreachable as exc:
            raise CallFailed(f"{what}: {await self._told(exc, target)}") from exc
        finally:
            self._tidy()

    async def _told(self, exc: Unreachable, target: Target) -> str:
        cause = exc.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            name = target.server_name or target.host
            problem = await certificate_problem(cause, target.host, target.port, name, self._clock.now())
            return f"tls: failed to verify certificate: x509: {problem}"
        return _why(exc, target)

    async def _exchange(
        self,
        pool: _Pool,
        target: Target,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        most: int,
    ) -> Reply:
        while True:
            kept = pool.take()
            connection = kept or await Connection.connect(
                target.host, target.port, target.tls, timeout=IDLE_TIMEOUT, server_name=target.server_name
            )
            is_whole = False
            try:
                await connection.send(method, path, headers, body)
                data = await _read(connection, most)
                is_whole = True
            except Unreachable as exc:
                if connection.status and str(exc).endswith("EOF"):
                    raise Unreachable("unexpected EOF") from exc
                if kept is None or connection.status:
                    raise
                continue  # it had been closed while nobody used it
            finally:
                if is_whole and connection.reusable and connection.is_open:
                    pool.put(connection)
                else:
                    connection.close()
            return Reply(connection.status, connection.headers, data)

    def _pool(self, target: Target) -> _Pool:
        key = (target.host, target.port, target.server_name, id(target.tls))
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(self._clock, target.tls)
        return pool

    def _tidy(self) -> None:
        """Forget destinations that nobody talks to."""
        if len(self._pools) > MOST_CONTEXTS:
            for key in [k for k, pool in self._pools.items() if pool.is_unused]:
                del self._pools[key]

    async def run(self) -> None:
        """Until cancelled; then the kept connections are closed."""
        try:
            await asyncio.Event().wait()
        finally:
            self.close()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()


async def _read(connection: Connection, most: int) -> bytes:
    parts, size = [], 0
    async for chunk in connection.chunks():
        size += len(chunk)
        if size > most:
            raise Unreachable(f"the answer is larger than {most} bytes")
        parts.append(chunk)
    return b"".join(parts)


class _Pool:
    """Connections to one destination. Holds its TLS context, whose identity is part of the destination's key."""

    def __init__(self, clock: Clock, tls: ssl.SSLContext | None) -> None:
        self._clock, self.tls = clock, tls
        self._room = asyncio.Semaphore(MOST_OPEN)
        self._calls = 0
        self._idle: list[tuple[Connection, Timer]] = []

    @property
    def is_unused(self) -> bool:
        return not self._idle and not self._calls

    async def __aenter__(self) -> None:
        self._calls += 1
        try:
            await self._room.acquire()
        except BaseException:
            self._calls -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._calls -= 1
        self._room.release()

    def take(self) -> Connection | None:
        while self._idle:
            connection, timer = self._idle.pop()
            timer.cancel()
            if connection.is_open:
                return connection
        return None

    def put(self, connection: Connection) -> None:
        if len(self._idle) >= MOST_IDLE:
            connection.close()
            return
        self._idle.append((connection, self._clock.call_later(IDLE_TIMEOUT, lambda: self._drop(connection))))

    def _drop(self, connection: Connection) -> None:
        self._idle = [(c, timer) for c, timer in self._idle if c is not connection]
        connection.close()

    def close(self) -> None:
        for connection, timer in self._idle:
            timer.cancel()
            connection.close()
        self._idle.clear()


def _ready(slices: Sequence[Object], service: str, port: str) -> list[tuple[str, int]]:
    found = []
    for each in slices:
        if (each["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
            continue
        number = next((p.get("port") for p in each.get("ports") or () if p.get("name", "") == port), None)
        if not number or each.get("addressType") == "FQDN":
            continue
        for endpoint in each.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found += [(address, number) for address in endpoint.get("addresses") or ()]
    return found


def _context(bundle: bytes, *, insecure: bool) -> ssl.SSLContext:
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if not bundle:
        context = ssl.create_default_context()
    else:
        pem = bundle if b"-----BEGIN" in bundle else _decoded(bundle)
        try:
            context = ssl.create_default_context(cadata=pem.decode("ascii"))
        except (ssl.SSLError, ValueError) as exc:
            raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from exc
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # whatever the bundle holds is trusted, as Go does it
    context.set_alpn_protocols(["http/1.1"])
    return context


def _decoded(bundle: bytes) -> bytes:
    try:
        return base64.b64decode(bundle)
    except binascii.Error as exc:
        raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from exc


_UNKNOWN_AUTHORITY = frozenset((2, 18, 19, 20, 21, 27))  # X509_V_ERR_*: of issuers, self-signed, untrusted
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAME = frozenset((62, 64))


def _why(exc: Unreachable, target: Target) -> str:
    """The cause in the words of Go's client."""
    cause = exc.__cause__
    where = f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
    if isinstance(cause, Unreachable):
        return str(exc)
    if isinstance(cause, ssl.SSLError):
        if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return "http: server gave HTTP response to HTTPS client"
        return f"remote error: tls: {(cause.reason or str(cause)).lower().replace('_', ' ')}"
    if isinstance(cause, socket.gaierror):
        return f"dial tcp: lookup {target.host}: no such host"
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {where}: connect: connection refused"
    if isinstance(cause, TimeoutError):
        return f"dial tcp {where}: i/o timeout"
    if isinstance(cause, OSError):
        return f"dial tcp {where}: connect: {(cause.strerror or str(cause)).lower()}"
    text = str(exc)
    lost = text.removeprefix("connection lost: ")
    if lost in ("", "EOF", "None", "connection is closed"):
        return "EOF"
    if lost.startswith("[Errno "):
        return f"read tcp {where}: read: {lost.partition('] ')[2].lower()}"
    return (
        text
        if lost == text
        else f"net/http: HTTP/1.x transport connection broken: malformed HTTP response: {lost}"
    )


async def certificate_problem(
    cause: ssl.SSLCertVerificationError, host: str, port: int, name: str, now: float
) -> str:
    """Why the certificate of a server was refused."""
    code = cause.verify_code
    if code in _UNKNOWN_AUTHORITY:
        return "certificate signed by unknown authority"
    if code not in (_EXPIRED, _NOT_YET_VALID, *_WRONG_NAME):
        return str(cause.verify_message)
    shown = await certificatewords.of_server(host, port, name)
    if code in _WRONG_NAME:
        return (
            f"certificate is not valid for {name}"
            if shown is None
            else certificatewords.wrong_name(shown, name)
        )
    return certificatewords.EXPIRED if shown is None else certificatewords.expired(shown, now)
