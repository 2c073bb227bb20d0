"""What a client in this process asks of a resource that another server serves: over HTTP, as everybody else's requests.

`local.LocalTransport` comes here for group versions that `aggregation` sends elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from timonel.client.https import PARTIAL, error_of
from timonel.client.transport import ObjectList, WatchEvent
from timonel.server.chain.info import Info
from timonel.server.http import Request, Response
from timonel.server.request import Upgraded, User

JSON = "application/json"


class Proxied(Protocol):
    async def answer(self, request: Request, user: User) -> Response | Upgraded: ...


class Abroad:
    """The group version of one question, as one user."""

    def __init__(self, proxied: Proxied, user: User, agent: str) -> None:
        self._proxied, self._user, self._agent = proxied, user, agent

    async def object(self, info: Info, body: Any = b"", content_type: str = "") -> Any:
        """The answer as a tree. Raises StatusError."""
        answer = await self._ask(info, body, content_type)
        raw = await whole(answer)
        if answer.status >= 300:
            raise error_of(answer.status, raw)
        return orjson.loads(raw)

    async def list(self, info: Info) -> ObjectList:
        found = await self.object(info)
        api_version, kind = found.get("apiVersion", ""), found.get("kind", "").removesuffix("List")
        meta = found.get("metadata") or {}
        items = [{"apiVersion": api_version, "kind": kind, **item} for item in found.get("items") or ()]
        return ObjectList(items, meta.get("resourceVersion", ""), meta.get("continue", ""))

    async def watch(self, info: Info, *, metadata_only: bool) -> AsyncIterator[WatchEvent]:
        headers = {"Accept": PARTIAL.format("") if metadata_only else JSON}
        answer = await self._ask(info, b"", "", headers)
        if answer.status >= 300 or isinstance(answer.body, bytes):
            raise error_of(answer.status, await whole(answer))
        rest = b""
        async for chunk in answer.body:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise error_of(event["object"].get("code", 500), event["object"])
                yield WatchEvent(event["type"], event["object"])

    async def _ask(
        self, info: Info, body: Any, content_type: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        data = b"" if body == b"" else orjson.dumps(body)
        query = urlencode([(key, value) for key, values in info.query.items() for value in values])
        sent = {"Accept": JSON, "User-Agent": self._agent, **(headers or {})}
        if data:
            sent["Content-Type"] = content_type or JSON
        target = f"{info.path}?{query}" if query else info.path
        raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        answer = await self._proxied.answer(
            Request(info.method.encode(), target.encode(), raw, data, None), self._user
        )
        assert isinstance(answer, Response), "nobody asked for an upgrade"
        return answer


async def whole(answer: Response) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([chunk async for chunk in answer.body])
