"""`HttpsTransport`: the Transport to any cluster, over HTTP/1.1 with kept-alive connections.

Each request has a connection to itself (a watch for as long as it lasts) from a pool without an upper bound: callers
bound their own concurrency, and one pool-wide limit would let watches starve writes. A request that finds its pooled
connection closed by the server is sent again once on a fresh one, as nothing of it was processed.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from timonel.aio.clock import Clock
from timonel.client.http1 import Connection
from timonel.client.transport import PATCH_TYPES, ObjectList, Resource, Unreachable, WatchEvent
from timonel.machinery.errors import BY_REASON, Cause, InternalError, StatusError
from timonel.objects.meta import Key, Object
from timonel.records import dataclass

MOST_IDLE = 64  # connections kept for reuse
CONNECT_TIMEOUT = 10.0
TOKEN_REREAD = 60.0  # seconds for which a token read from a file is used
PARTIAL = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a cluster is and who asks. `token_file` wins over `token` and is read again when it gets old."""

    server: str
    context: ssl.SSLContext | None = None
    token: str = ""
    token_file: str = ""
    server_name: str = ""
    user_agent: str = "timonel"


def tls_context(
    *,
    ca_file: str = "",
    ca_data: str = "",
    certificate: str = "",
    key: str = "",
    insecure: bool = False,
) -> ssl.SSLContext:
    """`certificate` and `key` are files in PEM form, `ca_data` is PEM text; without a CA the system's are trusted."""
    context = ssl.create_default_context(cafile=ca_file or None, cadata=ca_data or None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context


class HttpsTransport:
    """Implements `client.transport.Transport`. The owner calls `close`."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        parts = urlsplit(endpoint.server)
        self._endpoint, self._clock = endpoint, clock
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._context = endpoint.context if parts.scheme == "https" else None
        if parts.scheme == "https" and self._context is None:
            self._context = tls_context()
        self._prefix = parts.path.rstrip("/")
        self._headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Accept": "application/json",
            "User-Agent": endpoint.user_agent,
        }
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._token, self._token_read = endpoint.token, float("-inf")

    # ---- verbs

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Object:
        return await self._object("GET", resource.path(key.namespace, quote(key.name, safe=":"), subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
    ) -> ObjectList:
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": str(limit or ""),
            "continue": continue_token,
            "resourceVersion": resource_version,
        }
        found = await self._object("GET", resource.path(namespace), query=query)
        api_version, kind = found.get("apiVersion", ""), found.get("kind", "").removesuffix("List")
        meta = found.get("metadata") or {}
        # The items of a list do not say what they are; their readers want to know.
        items = [{"apiVersion": api_version, "kind": kind, **item} for item in found.get("items") or ()]
        return ObjectList(items, meta.get("resourceVersion", ""), meta.get("continue", ""))

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
        }
        headers = {"Accept": PARTIAL} if metadata_only else {}
        connection = await self._send("GET", resource.path(namespace), query=query, headers=headers)
        try:
            if connection.status >= 300:
                raise error_of(connection.status, await connection.read())
            rest = b""
            async for chunk in connection.chunks():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield _event(line)
        finally:
            self._busy.discard(connection)
            connection.close()

    async def create(
        self, resource: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        where = namespace or obj.get("metadata", {}).get("namespace", "")
        return await self._object("POST", resource.path(where, name, subresource), body=obj)

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        meta = obj["metadata"]
        path = resource.path(meta.get("namespace", ""), quote(meta["name"], safe=":"), subresource)
        return await self._object("PUT", path, body=obj)

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Any,
        *,
        kind: str = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        query = {"fieldManager": field_manager, "force": "true" if force else ""}
        if kind == "apply" and not field_manager:
            query["fieldManager"] = self._endpoint.user_agent.partition("/")[0]
        headers = {"Content-Type": PATCH_TYPES[kind]}
        path = resource.path(key.namespace, quote(key.name, safe=":"), subresource)
        return await self._object("PATCH", path, query=query, headers=headers, body=patch)

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period: int | None = None,
        propagation: str = "",
    ) -> Object:
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        conditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if conditions:
            options["preconditions"] = conditions
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        if propagation:
            options["propagationPolicy"] = propagation
        path = resource.path(key.namespace, quote(key.name, safe=":"))
        return await self._object("DELETE", path, body=options)

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        await self._object("DELETE", resource.path(namespace), query=query)

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        status, headers, data = await self._exchange(method, path, query=query, body=body)
        if status >= 300:
            raise error_of(status, data)
        if "json" in headers.get("content-type", ""):
            return orjson.loads(data)
        return data.decode(errors="replace")

    async def close(self) -> None:
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    # ---- connections

    async def _object(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Object:
        status, _, data = await self._exchange(method, path, query=query, headers=headers, body=body)
        if status >= 300:
            raise error_of(status, data)
        found: Object = orjson.loads(data)
        return found

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = await self._send(method, path, query=query, headers=headers or {}, body=body)
        finished = False
        try:
            data = await connection.read()
            finished = True
        finally:
            self._busy.discard(connection)
            if finished and connection.reusable and connection.is_open and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
            else:
                connection.close()
        return connection.status, connection.headers, data

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: Any = None,
    ) -> Connection:
        """Send on a pooled connection, or on a fresh one; the caller ends or returns it."""
        data = b"" if body is None else orjson.dumps(body)
        asked = {k: v for k, v in (query or {}).items() if v}
        target = self._prefix + path + (f"?{urlencode(asked)}" if asked else "")
        fields = {**self._headers, **self._authorization()}
        if data:
            fields["Content-Type"] = "application/json"
        fields |= headers
        while True:
            pooled = self._pooled()
            connection = pooled or await self._connect()
            self._busy.add(connection)
            try:
                await connection.send(method, target, fields, data)
            except Unreachable:
                self._drop(connection)
                if pooled is None:
                    raise
            except BaseException:
                self._drop(connection)
                raise
            else:
                return connection

    def _pooled(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connect(self) -> Connection:
        return await Connection.connect(
            self._host,
            self._port,
            self._context,
            timeout=CONNECT_TIMEOUT,
            server_name=self._endpoint.server_name,
        )

    def _drop(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.close()

    def _authorization(self) -> dict[str, str]:
        if self._endpoint.token_file and self._clock.monotonic() - self._token_read > TOKEN_REREAD:
            self._token = Path(self._endpoint.token_file).read_text().strip()
            self._token_read = self._clock.monotonic()
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}


def _event(line: bytes) -> WatchEvent:
    event = orjson.loads(line)
    if event["type"] == "ERROR":
        raise error_of(event["object"].get("code", 500), event["object"])
    return WatchEvent(event["type"], event["object"])


def error_of(code: int, body: bytes | Object) -> StatusError:
    """The exception that a Status describes; an answer that is none becomes an InternalError with its text."""
    if isinstance(body, bytes):
        try:
            status = orjson.loads(body)
        except orjson.JSONDecodeError:
            return InternalError(body[:1000].decode(errors="replace") or f"status {code}", code=code)
    else:
        status = body
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return InternalError(f"status {code}", code=code)
    details = status.get("details") or {}
    causes = [
        Cause(c.get("reason", ""), c.get("message", ""), c.get("field", ""))
        for c in details.get("causes") or ()
    ]
    return BY_REASON.get(status.get("reason", ""), InternalError)(
        status.get("message", ""),
        name=details.get("name", ""),
        group=details.get("group", ""),
        kind=details.get("kind", ""),
        uid=details.get("uid", ""),
        causes=causes,
        retry_after=details.get("retryAfterSeconds", 0),
        code=code,
    )
