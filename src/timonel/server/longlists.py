"""Long lists in forms that are not the stored one (tables, metadata, protobuf): made some objects at a time.

What is made of each object takes a while, which for thousands of them would be one in which nobody else is served. The
result is byte for byte that of `render.list_`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import orjson

from timonel.machinery import protobuf
from timonel.objects.meta import Object
from timonel.server import render, tables
from timonel.server.chain.info import Info
from timonel.server.exchange import JSON, Header, Response
from timonel.server.negotiate import Form
from timonel.server.parts import Parts
from timonel.server.registry import Endpoint
from timonel.server.verbs.call import Core, ListResult
from timonel.server.watchcache import Entry

FEW = 100  # objects that are made at once
SLICE = 20  # objects that are made in one turn of the loop


def is_long(form: Form, result: ListResult) -> bool:
    """Whether it is worth it."""
    return (
        len(result.entries) > FEW
        and not form.as_stored
        and not form.yaml
        and form.transform != render.METADATA
    )


async def list_(
    core: Core,
    endpoint: Endpoint,
    form: Form,
    result: ListResult,
    info: Info,
    headers: tuple[Header, ...],
    turn: Callable[[], Awaitable[None]],
    *,
    in_parts: bool,
) -> Response:
    """Of a long one. `turn` waits for a turn."""
    head, make = _forms(core, endpoint, form, result, info)
    field = "rows" if form.transform == render.TABLE else "items"
    texts: list[bytes] = []
    if form.protobuf:
        kind, version = head["kind"], head["apiVersion"]
        texts.append(_raw(endpoint, head))
        for part in _slices(result.entries):
            texts.append(_raw(endpoint, {"kind": kind, "apiVersion": version, field: make(part)}))
            await turn()
        return Response(200, protobuf.wrap(version, kind, b"".join(texts)), render.PROTOBUF, headers)
    for part in _slices(result.entries):
        texts.append(orjson.dumps(make(part))[1:-1])
        await turn()
    texts[0] = orjson.dumps(head)[:-1] + b',"%b":[' % field.encode() + texts[0]
    texts[-1] += b"]}\n"
    return Response(200, Parts.body(texts, b",") if in_parts else b",".join(texts), JSON, headers)


def _raw(endpoint: Endpoint, tree: Object) -> bytes:
    """A message without its envelope: those of some items, one after the other, are that of all of them."""
    return protobuf.unwrap(endpoint.machinery.to_protobuf(tree)).raw


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    return (entries[start : start + SLICE] for start in range(0, len(entries), SLICE))


def _forms(
    core: Core, endpoint: Endpoint, form: Form, result: ListResult, info: Info
) -> tuple[Object, Callable[[Sequence[Entry]], list[Any]]]:
    """The list without its objects, and what makes some objects what they are in it."""
    metadata = render.list_metadata(endpoint, form, result)
    if form.transform == render.TABLE:
        now, include = core.clock.now(), render.include_of(info)
        head = tables.table(
            endpoint.work, form, (), metadata, describe=endpoint.describe, now=now, include=include
        )
        del head["rows"]
        return head, lambda part: [
            tables.row(endpoint.work, form, e.obj, endpoint.obj(e), now=now, include=include) for e in part
        ]
    if form.transform:
        head = {"kind": render.LIST_OF_METADATA, "apiVersion": form.api_version, "metadata": metadata}
        return head, lambda part: [tables.partial(endpoint.obj(e), form) for e in part]
    rtype = endpoint.rtype
    head = {"kind": rtype.list_kind_name, "apiVersion": rtype.api_version, "metadata": metadata}
    return head, lambda part: [orjson.loads(endpoint.item(e)) for e in part]
