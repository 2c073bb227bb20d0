"""/openapi/v2 and /openapi/v3: the published schema of what is served, for kubectl explain and client-side validation.

The documents come from the scheme (`timonel.schema.openapi`). Version 3 says in its index where each group version's
document is, with a hash, so that clients keep what they have read. Version 2 is one document, which old clients read in
protobuf only.

Upstream: kube-openapi/pkg/handler/handler.go, handler3/handler.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from timonel.server.chain.info import Info
from timonel.server.exchange import JSON, Request, Response
from timonel.server.negotiate import clauses
from timonel.server.paths import Paths
from timonel.server.request import User

PROTOBUF = b"application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_NAMES = (PROTOBUF.decode(), "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
JSON_NAMES = ("application/json", "application/*", "*/*")
PREFIX = "/openapi/v3/"


class Elsewhere(Protocol):
    """What other servers publish behind this one (`aggregation.documents`)."""

    def v3_paths(self) -> Mapping[str, Any]:
        """Entries of the index of version 3."""

    async def v3(self, group: str, version: str) -> bytes | None:
        """A document of version 3; None for what is served here."""

    def v2_merged(self, own: bytes) -> bytes:
        """Version 2 with what the others add to it."""


class Published(Protocol):
    """The documents of what is served here: `schema.openapi.OpenApi`, or `custom.publish.Publication` around it."""

    @property
    def index(self) -> bytes: ...
    def v3(self, group: str, version: str) -> bytes | None: ...
    @property
    def v2(self) -> bytes: ...
    @property
    def v2_protobuf(self) -> bytes: ...


class Documents:
    def __init__(self, documents: Published, elsewhere: Elsewhere | None = None) -> None:
        self._documents = documents
        self._elsewhere = elsewhere

    def add_to(self, paths: Paths) -> None:
        paths.add("/openapi/v2", self._v2)
        paths.add("/openapi/v3", self._index)
        paths.add(PREFIX, self._v3)

    async def _v2(self, request: Request, info: Info, user: User) -> Response:
        accepted = [c.media for c in clauses(request.header(b"accept"))]
        wanted = next((m for m in accepted if m in (*PROTOBUF_NAMES, *JSON_NAMES)), None)
        if accepted and wanted is None:
            return Response(406, b"", b"")
        if wanted in PROTOBUF_NAMES:
            return _document(request, self._documents.v2_protobuf, PROTOBUF)
        own = self._documents.v2
        return _document(request, own if self._elsewhere is None else self._elsewhere.v2_merged(own), JSON)

    async def _index(self, request: Request, info: Info, user: User) -> Response:
        index = self._documents.index
        others = self._elsewhere.v3_paths() if self._elsewhere is not None else {}
        if others:
            tree = orjson.loads(index)
            index = orjson.dumps({**tree, "paths": {**tree["paths"], **others}})
        return _document(request, index, JSON)

    async def _v3(self, request: Request, info: Info, user: User) -> Response:
        kind, _, rest = info.path.removeprefix(PREFIX).rstrip("/").partition("/")
        group, slash, version = rest.rpartition("/")
        if kind != ("apis" if slash else "api"):
            return Response(404, b"", b"")
        body = await self._elsewhere.v3(group, version) if self._elsewhere is not None else None
        body = body or self._documents.v3(group, version)
        return Response(404, b"", b"") if body is None else _document(request, body, JSON)


def _document(request: Request, body: bytes, content_type: bytes) -> Response:
    tag = b'"' + hashlib.sha256(body).hexdigest().upper().encode() + b'"'
    headers = ((b"ETag", tag), (b"Vary", b"Accept"))
    if tag.decode() in request.header(b"if-none-match"):
        return Response(304, b"", b"", headers)
    return Response(200, body, content_type, headers)
