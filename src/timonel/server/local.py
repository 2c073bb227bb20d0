"""A client in the same process: the verbs without HTTP and without JSON text, as one user.

Authorization, admission and validation are the server's own; only parsing and rendering are left out. What comes out is
shared with the caches: never to be changed by who gets it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any
from urllib.parse import urlencode

import orjson

from timonel.client.https import error_of
from timonel.client.transport import PATCH_TYPES, ObjectList, Resource, WatchEvent
from timonel.machinery import errors
from timonel.objects.meta import Key, Object
from timonel.server import dispatch, routes, tables
from timonel.server.abroad import Abroad, Proxied, whole
from timonel.server.chain import authorization
from timonel.server.chain.info import Info, Query, name_in_selector, parse
from timonel.server.exchange import Request, Response
from timonel.server.negotiate import PLAIN
from timonel.server.paths import Paths
from timonel.server.request import Authorizer, ConnectHandler, Undecided, User
from timonel.server.responses import from_exception
from timonel.server.verbs import connect, delete, read, watch
from timonel.server.verbs.call import Call, Core, Result
from timonel.server.watchcache import Entry


class LocalTransport:
    """A `client.transport.Transport`."""

    def __init__(
        self,
        core: Core,
        authorizer: Authorizer,
        user: User,
        paths: Paths,
        agent: str = "",
        elsewhere: Callable[[Info], Proxied | None] = lambda info: None,
        *,
        keeps: bool = True,
    ) -> None:
        """Without `keeps`, for who keeps nothing of what it reads, no tree stays in the caches for its sake."""
        self._keeps = keeps
        self._elsewhere = elsewhere
        self._core = core
        self._authorizer = authorizer
        self._user = user
        self._paths = paths
        self._agent = agent or user.name.rsplit(":", 1)[-1]

    # ---- Transport

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Object:
        info = self._info("GET", "get", resource, key.namespace, key.name, subresource)
        return await self._carry_out(info)

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
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            resourceVersion=resource_version,
            **{"continue": continue_token},
        )
        return await self._listed(self._info("GET", "list", resource, namespace, query=query))

    async def _listed(self, info: Info) -> ObjectList:
        async with self._recorded(info):
            await self._decided(info)
            if (abroad := self._abroad(info)) is not None:
                return await abroad.list(info)
            call = self._permitted(info)[0]
            try:
                found = read.list_now(self._core, call) or await read.list_(self._core, call)
            except Exception as error:  # callers get what they would over HTTPS
                raise from_exception(error) from error
        call.endpoint.cache.shared |= self._keeps
        items = [self._obj(call, entry) for entry in found.entries]
        return ObjectList(items, str(found.revision), found.continue_token)

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
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            allowWatchBookmarks="true",
            watch="true",
        )
        info = self._info("GET", "watch", resource, namespace, query=query)
        await self._decided(info)
        if (abroad := self._abroad(info)) is not None:
            async with aclosing(abroad.watch(info, metadata_only=metadata_only)) as events:
                async for event in events:
                    yield event
            return
        call = self._permitted(info)[0]
        call.endpoint.cache.shared |= self._keeps
        opened = await watch.watch(self._core, call)
        opened.timeout = 0.0  # nothing is lost between us, and nothing to be spread over several servers
        deliveries = opened.deliveries()
        try:
            async for batch in deliveries:
                for delivery in batch:
                    if isinstance(delivery, dict):
                        yield WatchEvent("BOOKMARK", delivery)
                        continue
                    type_, entry, _ = delivery
                    obj = self._obj(call, entry)
                    yield WatchEvent(type_, tables.partial(obj, PLAIN) if metadata_only else obj)
        finally:
            await deliveries.aclose()

    async def create(
        self, resource: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        if resource.namespaced and not namespace:
            namespace = obj.get("metadata", {}).get("namespace", "")
        info = self._info("POST", "create", resource, namespace, name, subresource)
        return await self._carry_out(info, body=_copied(obj))

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        metadata = obj["metadata"]
        info = self._info(
            "PUT", "update", resource, metadata.get("namespace", ""), metadata["name"], subresource
        )
        return await self._carry_out(info, body=_copied(obj))

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
        query = _query(fieldManager=field_manager, force="true" if force else "")
        info = self._info("PATCH", "patch", resource, key.namespace, key.name, subresource, query)
        return await self._carry_out(info, body=_copied(patch), content_type=PATCH_TYPES[kind])

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
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        if propagation:
            options["propagationPolicy"] = propagation
        info = self._info("DELETE", "delete", resource, key.namespace, key.name)
        return await self._carry_out(info, body=options)

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        info = self._info("DELETE", "deletecollection", resource, namespace, query=query)
        async with self._recorded(info):
            await self._decided(info)
            if (abroad := self._abroad(info)) is not None:
                await abroad.object(info)
                return
            call = self._permitted(info)[0]
            try:
                await delete.delete_collection(self._core, call)
            except Exception as error:  # callers get what they would over HTTPS
                raise from_exception(error) from error

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        target = path + (f"?{urlencode(query)}" if query else "")
        request = Request(method.encode(), target.encode(), [], b"", None)
        info = parse(method, request.path, request.query)
        if info.is_resource:
            return await self._raw_resource(info, body, request)
        await self._decided(info)
        authorization.check(self._authorizer, self._user, info)
        if (abroad := self._abroad(info)) is not None:
            return await abroad.object(info)
        answer = await self._paths.answer(request, info, self._user)
        return _decoded(answer)

    async def close(self) -> None:
        return None

    # ---- parts

    def _obj(self, call: Call, entry: Entry) -> Object:
        return call.endpoint.obj(entry) if self._keeps else call.endpoint.look(entry)

    async def _raw_resource(self, info: Info, body: Any, request: Request) -> Any:
        if info.subresource and self._abroad(info) is None:
            await self._decided(info)
            authorization.check(self._authorizer, self._user, info)
            route = routes.find(self._core.registry, info)
            if route.connect is not None:
                return await self._connected(route, route.connect, info, request)
        if info.verb in ("deletecollection", "watch"):
            raise errors.BadRequest("collections have methods of their own")
        if info.verb == "list":
            await self._decided(info)
            if (abroad := self._abroad(info)) is not None:
                return await abroad.object(info)  # what it lists may be no objects
            found = await self._listed(info)
            return {"metadata": {"resourceVersion": found.resource_version}, "items": list(found.items)}
        return await self._carry_out(info, body=_copied(body) if body is not None else b"")

    async def _connected(
        self, route: routes.Route, handler: ConnectHandler, info: Info, request: Request
    ) -> Any:
        """What is answered with bytes, such as logs and proxies, whole: a tree where it is JSON, else text."""
        opened = dispatch.connect_call(self._user, info, request)
        async with self._recorded(info):
            try:
                await connect.admit(self._core, route.endpoint, opened, {})
                answer = dispatch.answered(await handler.connect(opened), [])
            except Exception as error:  # callers get what they would over HTTPS
                raise from_exception(error) from error
            assert isinstance(answer, Response), "nobody asked for an upgrade"
            raw = await whole(answer)
        if answer.status >= 400:
            raise error_of(answer.status, raw)
        content = next((value for name, value in answer.headers if name.lower() == b"content-type"), b"")
        return orjson.loads(raw) if content.startswith(b"application/json") else raw.decode()

    def _info(
        self,
        method: str,
        verb: str,
        resource: Resource,
        namespace: str,
        name: str = "",
        subresource: str = "",
        query: Query | None = None,
    ) -> Info:
        if not resource.namespaced:
            namespace = ""
        return Info(
            method=method,
            path=resource.path(namespace, name, subresource),
            verb=verb,
            query=query or {},
            is_resource=True,
            group=resource.group,
            version=resource.version,
            namespace=name if resource.plural == "namespaces" and not resource.group else namespace,
            resource=resource.plural,
            subresource=subresource,
            name=name or (name_in_selector(query) if query else ""),
            named=bool(name),
        )

    def _abroad(self, info: Info) -> Abroad | None:
        """Where another server serves what is asked for."""
        proxied = self._elsewhere(info)
        if proxied is None:
            return None
        authorization.check(self._authorizer, self._user, info)
        return Abroad(proxied, self._user, self._agent)

    async def _decided(self, info: Info) -> None:
        """Have those asked who must be, before the authorizer decides from memory."""
        for _ in range(dispatch.MOST_QUESTIONS if getattr(self._authorizer, "waits", False) else 0):
            try:
                self._authorizer.authorize(authorization.attributes(self._user, info))
                return
            except Undecided as question:
                await question.ask()

    def _permitted(self, info: Info, body: Any = b"", content_type: str = "") -> tuple[Call, routes.Route]:
        authorization.check(self._authorizer, self._user, info)
        route = routes.find(self._core.registry, info)
        call = Call(self._user, info, route.endpoint, body, content_type, self._agent)
        return call, route

    def _recorded(self, info: Info) -> AbstractAsyncContextManager[object]:
        """Its place in the audit log, where there is one."""
        trail = self._core.trail
        return nullcontext() if trail is None else trail.inside(self._user, info, self._agent, None)

    async def _carry_out(self, info: Info, body: Any = b"", content_type: str = "") -> Object:
        trail = self._core.trail
        if trail is None:
            return await self._carried_out(info, body, content_type, {})
        async with trail.inside(self._user, info, self._agent, body) as record:
            annotations = record.annotations if record is not None else {}
            obj = await self._carried_out(info, body, content_type, annotations)
            if record is not None and record.wants_response:
                record.response = obj
        return obj

    async def _carried_out(
        self, info: Info, body: Any, content_type: str, annotations: dict[str, str]
    ) -> Object:
        await self._decided(info)
        if (abroad := self._abroad(info)) is not None:
            answer: Object = await abroad.object(info, body, content_type)
            return answer
        for _ in range(dispatch.MOST_QUESTIONS):
            try:
                return await self._carried_out_here(info, body, content_type, annotations)
            except Undecided as question:  # of admission, or of a review
                await question.ask()
        raise errors.InternalError("Internal Server Error: authorization takes too many questions")

    async def _carried_out_here(
        self, info: Info, body: Any, content_type: str, annotations: dict[str, str]
    ) -> Object:
        call, route = self._permitted(info, body, content_type)
        call.annotations = annotations
        try:
            result = read.get_now(call) if info.verb == "get" and not info.subresource else None
            if result is None:
                result = await dispatch.carry_out(self._core, call, route)
        except Undecided:
            raise
        except Exception as error:  # callers get what they would over HTTPS
            raise from_exception(error) from error
        return self._obj(call, result.entry) if result.entry is not None else _tree(result)


def _tree(result: Result) -> Object:
    assert result.obj is not None
    return result.obj


def _query(**parameters: str) -> Query:
    return {key: [value] for key, value in parameters.items() if value}


def _copied(tree: Any) -> Any:
    """The caller keeps its tree: the verbs change theirs."""
    return orjson.loads(orjson.dumps(tree))


def _decoded(answer: Response) -> Any:
    assert isinstance(answer.body, bytes)
    body = (
        orjson.loads(answer.body)
        if answer.content_type.startswith(b"application/json")
        else answer.body.decode()
    )
    if answer.status >= 400:
        if isinstance(body, dict) and body.get("kind") == "Status":
            error = errors.BY_REASON.get(body.get("reason", ""), errors.StatusError)
            raise error(body.get("message", ""), code=answer.status)
        raise errors.StatusError(str(body), code=answer.status)
    return body
