"""Results of verbs as answers, in the form that was negotiated. The plain JSON form never decodes what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any

import orjson

from timonel.machinery import errors, protobuf
from timonel.objects.meta import Object
from timonel.server import tables
from timonel.server.chain.info import Info
from timonel.server.exchange import JSON, Header, Response
from timonel.server.negotiate import Form
from timonel.server.parts import Parts
from timonel.server.registry import Endpoint
from timonel.server.responses import YAML, to_yaml
from timonel.server.verbs.call import Core, ListResult, Result
from timonel.server.verbs.scale import SCALE
from timonel.server.verbs.watch import WatchStream
from timonel.server.watchcache import ADDED, DELETED, MODIFIED, Delivery, Entry

LIST_OF_METADATA = "PartialObjectMetadataList"
METADATA = "PartialObjectMetadata"
TABLE = "Table"
PROTOBUF = protobuf.MEDIA_TYPE.encode()


def written(
    endpoint: Endpoint, form: Form, status: int, tree: Any, headers: tuple[Header, ...] = ()
) -> Response:
    if form.yaml:
        return Response(status, to_yaml(tree), YAML, headers)
    if form.protobuf:
        return Response(status, endpoint.machinery.to_protobuf(tree), PROTOBUF, headers)
    return Response(status, orjson.dumps(tree, option=orjson.OPT_APPEND_NEWLINE), JSON, headers)


def object_(
    core: Core, endpoint: Endpoint, form: Form, result: Result, info: Info, headers: tuple[Header, ...] = ()
) -> Response:
    entry, obj = result.entry, result.obj
    if entry is not None and form.as_stored:
        return Response(result.status, endpoint.json(entry) + b"\n", JSON, headers)
    if entry is not None:
        obj = endpoint.obj(entry)
    assert obj is not None
    if obj["kind"] == "Status" or not form.transform:
        return written(endpoint, form, result.status, obj, headers)
    if form.transform == LIST_OF_METADATA:
        raise errors.NotAcceptable(
            "you requested PartialObjectMetadataList, but the requested object is not a list "
            f"({internal_type(endpoint)})"
        )
    if form.transform == METADATA:
        return written(endpoint, form, result.status, tables.partial(obj, form), headers)
    if obj["kind"] == SCALE.kind and core.scale is not None:
        endpoint = core.scale
    elif obj["kind"] not in (endpoint.rtype.kind, endpoint.work.kind):
        return written(endpoint, form, result.status, obj, headers)
    working = entry.obj if entry is not None else obj
    version = obj["metadata"].get("resourceVersion", "")
    metadata = {"resourceVersion": version} if version else {}
    tree = tables.table(
        endpoint.work,
        form,
        [(working, obj)],
        metadata,
        describe=endpoint.describe,
        now=core.clock.now(),
        include=include_of(info),
    )
    return written(endpoint, form, result.status, tree, headers)


def internal_type(endpoint: Endpoint, suffix: str = "") -> str:
    """As upstream prints the Go type of what it holds."""
    group = endpoint.rtype.group.split(".", 1)[0] or "core"
    return f"*{group}.{endpoint.rtype.kind}{suffix}"


def include_of(info: Info) -> str:
    include = info.first("includeObject")
    if include and include not in tables.INCLUDE:
        raise errors.BadRequest(
            f"unrecognized includeObject value: cannot be handled as a TableOptions: {include}"
        )
    return include or "Metadata"


def list_metadata(endpoint: Endpoint, form: Form, result: ListResult) -> Object:
    metadata: Object = {"resourceVersion": str(result.revision)} if result.revision else {}
    if endpoint.rtype.custom and not form.transform:
        metadata = {
            "continue": "",
            **metadata,
        }  # upstream has no struct for these lists that would leave it out
    if result.continue_token:
        metadata["continue"] = result.continue_token
    if result.remaining:
        metadata["remainingItemCount"] = result.remaining
    return metadata


def list_(
    core: Core,
    endpoint: Endpoint,
    form: Form,
    result: ListResult,
    info: Info,
    headers: tuple[Header, ...] = (),
    *,
    in_parts: bool = False,
) -> Response:
    """`in_parts`: a large body need not be one piece."""
    metadata = list_metadata(endpoint, form, result)
    rtype = endpoint.rtype
    if form.transform == TABLE:
        now, include = core.clock.now(), include_of(info)
        rows = ((e.obj, endpoint.obj(e)) for e in result.entries)
        tree = tables.table(
            endpoint.work, form, rows, metadata, describe=endpoint.describe, now=now, include=include
        )
        return written(endpoint, form, 200, tree, headers)
    if form.transform == METADATA:
        raise errors.NotAcceptable(
            "you requested PartialObjectMetadata, but the requested object is a list "
            f"({internal_type(endpoint, 'List')})"
        )
    if form.transform == LIST_OF_METADATA:
        items = [tables.partial(endpoint.obj(e), form) for e in result.entries]
        tree = {
            "kind": LIST_OF_METADATA,
            "apiVersion": form.api_version,
            "metadata": metadata,
            "items": items or None,  # as upstream has it, for this form alone
        }
        return written(endpoint, form, 200, tree, headers)
    head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        rtype.list_kind_name.encode(),
        rtype.api_version.encode(),
        orjson.dumps(metadata),
    )
    if endpoint.convert is None:
        texts = [e.item for e in result.entries] or [b""]
    else:
        texts = [endpoint.item(e) for e in result.entries] or [b""]
    # Head and end go with the first and last item: added to the whole, each would copy all of it once more.
    texts[0] = head + texts[0]
    texts[-1] += b"]}\n"
    if form.as_stored:
        return Response(200, Parts.body(texts, b",") if in_parts else b",".join(texts), JSON, headers)
    return written(endpoint, form, 200, orjson.loads(b",".join(texts)), headers)


@lru_cache(maxsize=1024)
def _frame_keys(*form: str | bool) -> Mapping[str, tuple[str | bool, ...]]:
    """What frames in a form are kept under, by type of event. All streams in that form share them."""
    return {type_: (type_, *form) for type_ in (ADDED, MODIFIED, DELETED)}


class Frames:
    """Watch events of one stream as bytes; what another stream in the same form has rendered is taken from it."""

    def __init__(self, core: Core, endpoint: Endpoint, form: Form, info: Info) -> None:
        self._core = core
        self._endpoint = endpoint
        self._form = form
        self._include = include_of(info) if form.transform == TABLE else ""
        rtype = endpoint.rtype
        self._keys = _frame_keys(rtype.group, rtype.version, form.transform, form.version, form.protobuf)
        self._event = self._protobuf_event if form.protobuf else _json_event
        self.content_type = PROTOBUF + b";stream=watch" if form.protobuf else JSON
        self._first = True

    async def stream(self, watch: WatchStream) -> AsyncIterator[bytes]:
        deliveries = watch.deliveries()
        try:
            async for batch in deliveries:
                yield b"".join([self.frame(delivery) for delivery in batch])
        except errors.StatusError as error:
            yield self.error(error)
        finally:
            await deliveries.aclose()

    async def refused(self, error: errors.StatusError) -> AsyncIterator[bytes]:
        """A watch that ends before it begins: its error comes as an event."""
        yield self.error(error)

    def error(self, error: errors.StatusError) -> bytes:
        return self._event(b"ERROR", orjson.dumps(error.to_status()))

    def frame(self, delivery: Delivery | Object) -> bytes:
        if isinstance(delivery, dict):
            return self._event(b"BOOKMARK", orjson.dumps(self._bookmark(delivery)))
        type_, entry, change = delivery
        if self._form.transform == TABLE:
            return self._event(
                type_.encode(), orjson.dumps(self._table(entry.obj, self._endpoint.obj(entry)))
            )
        if change is None:
            return self._event(type_.encode(), self._rendered(entry))
        key = self._keys[type_]
        found = change.frames.get(key)
        if found is None:
            found = change.frames[key] = self._event(type_.encode(), self._rendered(entry))
        return found

    def _rendered(self, entry: Entry) -> bytes:
        if self._form.transform == METADATA:
            return orjson.dumps(tables.partial(self._endpoint.obj(entry), self._form))
        return self._endpoint.json(entry)

    def _bookmark(self, obj: Object) -> Object:
        if self._form.transform == TABLE:
            return self._table(obj, obj)
        if self._form.transform == METADATA:
            return tables.partial(obj, self._form)
        return obj

    def _protobuf_event(self, type_: bytes, obj: bytes) -> bytes:
        return protobuf.watch_event(type_, self._endpoint.machinery.to_protobuf(orjson.loads(obj)))

    def _table(self, working: Object, served: Object) -> Object:
        headers, self._first = self._first, False
        metadata = {"resourceVersion": served["metadata"]["resourceVersion"]}
        return tables.table(
            self._endpoint.work,
            self._form,
            [(working, served)],
            metadata,
            describe=self._endpoint.describe,
            now=self._core.clock.now(),
            include=self._include,
            headers=headers,
        )


def _json_event(type_: bytes, obj: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type_, obj)
