"""What a client in this process asks of a resource that another server serves: over HTTP, as everybody else's requests.

`local.LocalTransport` comes here for group versions that `aggregation` sends elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from timonel.client.https import PARTIAL, error_of
from timonel.client.transport import ObjectList, WatchEvent
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.chain.info import Info
from timonel.server.exchange import Request, Response
from timonel.server.request import Upgraded, User

JSON = "application/json"
MOST = 256 << 20  # bytes of an answer
MOST_LINE = 16 << 20  # bytes of an event


class Proxied(Protocol):
    async def answer(self, request: Request, user: User) -> Response | Upgraded: ...


class Abroad:
    """The group version of one question, as one user."""

    def __init__(self, proxied: Proxied, user: User, agent: str) -> None:
        self._proxied, self._user, self._agent = proxied, user, agent

    async def object(self, info: Info, body: Any = b"", content_type: str = "") -> dict[str, Any]:
        """The answer as a tree. Raises StatusError."""
        answer = await self._ask(info, body, content_type)
        raw = await whole(answer)
        if answer.status >= 300:
            raise error_of(answer.status, raw)
        return _tree(raw)

    async def list(self, info: Info) -> ObjectList:
        found = await self.object(info)
        meta, items = found.get("metadata") or {}, found.get("items") or []
        api_version, kind = found.get("apiVersion", ""), str(found.get("kind", "")).removesuffix("List")
        if not isinstance(meta, dict) or not isinstance(items, list):
            raise _odd(found)
        listed = [{"apiVersion": api_version, "kind": kind, **_checked(item)} for item in items]
        return ObjectList(listed, str(meta.get("resourceVersion", "")), str(meta.get("continue") or ""))

    async def watch(self, info: Info, *, metadata_only: bool) -> AsyncGenerator[WatchEvent, None]:
        headers = {"Accept": PARTIAL.format("") if metadata_only else JSON}
        answer = await self._ask(info, b"", "", headers)
        if answer.status >= 300:
            raise error_of(answer.status, await whole(answer))
        rest = b""
        async with aclosing(_chunks(answer)) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MOST_LINE:
                    raise errors.InternalError("an aggregated server sent an event without an end")
                for line in filter(None, lines):
                    event = _tree(line)
                    kind, obj = event.get("type"), event.get("object")
                    if kind == "ERROR" and isinstance(obj, dict):
                        raise error_of(obj.get("code", 500), obj)
                    if kind == "BOOKMARK" and isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
                        yield WatchEvent(kind, obj)
                    elif kind in ("ADDED", "MODIFIED", "DELETED"):
                        yield WatchEvent(kind, _checked(obj))
                    else:
                        raise _odd(event)

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


def _tree(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as e:
        raise errors.InternalError(f"an aggregated server answered no JSON: {e}") from e
    if not isinstance(found, dict):
        raise _odd(found)
    return found


def _checked(obj: Any) -> Object:
    """An object that those who follow it can tell from others."""
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    if isinstance(meta, dict) and isinstance(meta.get("name"), str) and isinstance(meta.get("uid"), str):
        found: Object = obj
        return found
    raise _odd(obj)


def _odd(tree: Any) -> errors.InternalError:
    return errors.InternalError(f"an aggregated server answered no object: {str(tree)[:200]}")


async def _chunks(answer: Response) -> AsyncGenerator[bytes, None]:
    body = answer.body
    if isinstance(body, bytes):
        yield body
        return
    try:
        async for chunk in body:
            yield chunk
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()


async def whole(answer: Response) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    parts, size = list[bytes](), 0
    async with aclosing(_chunks(answer)) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            if size > MOST:
                raise errors.InternalError(f"an aggregated server answered more than {MOST} bytes")
            parts.append(chunk)
    return b"".join(parts)
