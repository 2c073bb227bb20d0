"""The request chain: parse → authenticate → impersonate → authorize → route to a verb → render.

`now` answers reads of what is in the cache without a task; everything else goes through `later`. Both take the same
decisions in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import orjson

from timonel.machinery import errors
from timonel.records import dataclass
from timonel.server import bodies, compression, longlists, negotiate, render, routes
from timonel.server.chain import authentication, authorization
from timonel.server.chain.gate import Gate, Passage
from timonel.server.chain.info import Info, parse
from timonel.server.exchange import LARGE, Header, Request, Response
from timonel.server.flowcontrol.levels import Schema
from timonel.server.metrics.requests import Meter
from timonel.server.negotiate import Form
from timonel.server.paths import Paths
from timonel.server.pushed import Pushes, WatchSource
from timonel.server.request import (
    Answer,
    Attributes,
    Authenticator,
    Authorizer,
    ConnectCall,
    Credentials,
    Undecided,
    Upgraded,
    User,
)
from timonel.server.responses import NOT_FOUND_PAGE, from_exception, status_response, warning_headers
from timonel.server.routes import Route
from timonel.server.turns import Turns
from timonel.server.verbs import connect, create, delete, patch, read, scale, update, watch
from timonel.server.verbs.call import Call, Core, Result
from timonel.server.watchcache import ResourceCache

REMEMBERED = 8192  # parsed targets and Accept headers that are kept
RETAINED = 1024  # characters of one that is
MOST_QUESTIONS = 64  # that one request may put to authorizers of others
# A WebSocket begins with a GET, but who may only read must not act.
# Upstream: pkg/registry/core/pod/rest/subresources.go (AuthorizePodWebsocketUpgradeCreatePermission).
ACTING = ("pods/exec", "pods/attach", "pods/portforward")


@dataclass(slots=True)
class _Target:
    """What is asked for, and who asked last: mostly the same one asks again, and the question is the same object."""

    info: Info
    meter: Meter
    asked: Attributes | None = None
    schema: Schema | None = None  # of flow control, for who asked last


@dataclass(slots=True)
class _Told:
    """What the headers of a request say about it. A connection's next request mostly has the same ones."""

    headers: list[Header]
    credentials: Credentials
    impersonates: bool
    packs: bool = False  # large answers may be compressed
    form: Form | None = None  # worked out when the request is known to be allowed
    again: Callable[[], User | None] | None = (
        None  # who it is, for who has been authenticated on this connection
    )


class Proxied(Protocol):
    """What another server answers (`aggregation.proxy`)."""

    async def answer(self, request: Request, user: User) -> Response | Upgraded: ...


class Dispatcher:
    """The `exchange.Handler` of the API server."""

    def __init__(
        self,
        core: Core,
        authenticator: Authenticator,
        authorizer: Authorizer,
        paths: Paths,
        gate: Gate,
        elsewhere: Callable[[Info], Proxied | None] = lambda info: None,
    ) -> None:
        self._core = core
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._paths = paths
        self._gate = gate
        self.compression = compression.Compression()
        self._elsewhere = elsewhere
        self._targets: dict[tuple[str, str, str], _Target] = {}
        self._forms: dict[str, Form] = {}
        self._pushes = Pushes()
        self._turns = Turns()

    # ---- exchange.Handler

    def now(self, request: Request) -> Response | None:
        if request.method != "GET" or self._gate.slow:
            return None
        target = self._target(request)
        info = target.info
        if not info.is_resource or info.verb not in ("get", "list") or info.subresource:
            return None
        if info.query and "timeout" in info.query:
            return None
        if self._elsewhere(info) is not None:
            return None
        told = self._told(request)
        if told.impersonates:
            return None
        user = self._user_now(told)
        if user is None:
            return None
        asked, schema = self._questions(target, user)
        if schema.level.crowded:
            return None
        request.head, request.context = schema.head, target
        try:
            authorization.check_asked(self._authorizer, asked)
        except Undecided:
            return None
        route = routes.find(self._core.registry, info)
        form = told.form
        if form is None:
            form = told.form = self._form(request)
        call = Call(user, info, route.endpoint, warnings=[])
        if info.verb == "get":
            result = read.get_now(call)
            if result is None:
                return None
            response = render.object_(
                self._core, route.endpoint, form, result, info, self._notes(route, call)
            )
        else:
            if not self._gate.at_once(schema, info, route.endpoint.cache):
                return None
            found = read.list_now(self._core, call)
            if found is None or longlists.is_long(form, found):
                return None
            response = render.list_(
                self._core,
                route.endpoint,
                form,
                found,
                info,
                self._notes(route, call),
                in_parts=not told.packs,
            )
        body = response.body
        if isinstance(body, bytes) and len(body) > compression.FROM and told.packs:
            return self.compression.packed(response)
        return response

    async def later(self, request: Request) -> Response | Upgraded:
        target, gate = self._target(request), self._gate
        passage = request.context = gate.begin(target.info, target.meter)
        work = gate.within(passage, self._asked(request, passage, target))
        try:
            if gate.trail is not None:
                work = gate.recorded(passage, request, work, lambda error: self.failed(request, error))
            response = await work
            passage.answered(response)
            if passage.long:
                passage.leave()
                return response
            if isinstance(response, Response) and not (
                isinstance(response.body, bytes) and len(response.body) <= LARGE
            ):
                passage.hold()
            return self._compressed(request, response)
        except BaseException:
            passage.leave()
            raise

    async def _asked(self, request: Request, passage: Passage, target: _Target) -> Response | Upgraded:
        for _ in range(MOST_QUESTIONS):
            try:
                return await self._later(request, passage, target)
            except Undecided as question:  # nothing has been done yet: begin again with the answer
                await question.ask()
        raise errors.InternalError("Internal Server Error: authorization takes too many questions")

    async def _later(self, request: Request, passage: Passage, target: _Target) -> Response | Upgraded:
        info = passage.info
        told = self._told(request)
        user = self._user_now(told)
        if user is None:
            credentials = authentication.credentials(request, info.path)
            user = await authentication.user_of(self._authenticator, credentials)
        record = await self._gate.judge(passage, request, user) if self._gate.trail is not None else None
        if told.impersonates:
            user = authentication.impersonated(request, user, self._authorizer)
            if record is not None:
                record.impersonated = user
        asked, schema = self._questions(target, user)
        if not passage.admitted:
            await self._gate.admit(passage, request, user, schema, lambda: self._cache(info))
        if record is not None:
            record.decided(self._authorizer.authorize(asked))
        authorization.check_asked(self._authorizer, asked)
        proxied = self._elsewhere(info)
        if proxied is not None:
            return await proxied.answer(request, user)
        if not info.is_resource:
            return await self._paths.answer(request, info, user)
        route = routes.find(self._core.registry, info)
        if request.too_large:
            raise errors.RequestEntityTooLarge("Request entity too large: limit is 3145728")
        if route.connect is not None:
            if info.verb == "get" and f"{info.resource}/{info.subresource}" in ACTING:
                authorization.check_asked(self._authorizer, replace(asked, verb="create"))
            opened = connect_call(user, info, request)
            notes = {} if record is None else record.annotations
            warnings = await connect.admit(self._core, route.endpoint, opened, notes)
            return answered(await route.connect.connect(opened), warnings)
        call = Call(
            user,
            info,
            route.endpoint,
            body=request.body,
            content_type=request.header(b"content-type"),
            user_agent=request.header(b"user-agent"),
        )
        if record is not None:
            call.annotations = record.annotations
            record.requested(sent(call))
        if route.action is None:
            form = self._form(request)
        else:  # reviews and the like have no columns
            form = negotiate.negotiate(request.header(b"accept"), tables=False, protobuf=True)
        in_parts = record is None and not told.packs  # else it has to be seen as a whole
        return await self._answer(call, route, form, in_parts=in_parts)

    def _compressed(self, request: Request, response: Response | Upgraded) -> Response | Upgraded:
        if not isinstance(response, Response) or not isinstance(response.body, bytes):
            return response
        if len(response.body) <= compression.FROM or not compression.accepts(
            request.header(b"accept-encoding")
        ):
            return response
        if any(name.lower() == b"content-encoding" for name, _ in response.headers):
            return response
        return self.compression.packed(response)

    def done(self, request: Request, status: int, size: int) -> None:
        self._gate.done(request, status, size)

    def failed(self, request: Request, error: BaseException) -> Response:
        if request.context is None:  # counted all the same
            request.context = _Target(self._target(request).info, self._target(request).meter)
        refused = self._gate.refused(error, request.context.info)
        if refused is not None:
            return refused
        if isinstance(error, routes.NoSuchGroup):
            return NOT_FOUND_PAGE
        return status_response(from_exception(error))

    def refused(self, status: int, message: str) -> Response:
        if status == 405:
            return status_response(routes.not_allowed())
        return status_response(errors.StatusError(message, code=status))

    # ---- parts

    def _questions(self, target: _Target, user: User) -> tuple[Attributes, Schema]:
        """What is asked of the authorizer, and whose turn it is: mostly as for the last one who asked."""
        asked = target.asked
        if asked is None or asked.user is not user:
            asked = target.asked = authorization.attributes(user, target.info)
            target.schema = None
        schema = target.schema
        if schema is None or schema.stale:
            schema = target.schema = self._gate.classify(user, target.info)
        return asked, schema

    def _cache(self, info: Info) -> ResourceCache | None:
        endpoint = self._core.registry.endpoints.get((info.group, info.version, info.resource))
        return endpoint.cache if endpoint is not None else None

    def _target(self, request: Request) -> _Target:
        key = (request.method, request.path, request.query)
        target = self._targets.get(key)
        if target is None:
            info = parse(*key)
            target = _Target(info, self._meter(info))
            if len(request.path) + len(request.query) <= RETAINED:
                if len(self._targets) >= REMEMBERED:
                    self._targets.clear()
                self._targets[key] = target
        return target

    def _meter(self, info: Info) -> Meter:
        served = (info.group, info.version, info.resource) in self._core.registry.endpoints
        subpath = "" if info.is_resource else self._paths.pattern(info.path)
        return self._gate.requests.meter(info, served=served, subpath=subpath)

    def _told(self, request: Request) -> _Told:
        connection = request.connection
        told: _Told | None = connection.remembered if connection is not None else None
        if told is None or told.headers != request.headers:
            told = _Told(
                request.headers,
                authentication.credentials(request),
                authentication.impersonates(request),
                compression.accepts(request.header(b"accept-encoding")),
            )
            if connection is not None:
                connection.remembered = told
        return told

    def _user_now(self, told: _Told) -> User | None:
        """The user, if that can be said without waiting. Raises Unauthorized."""
        user = told.again() if told.again is not None else None
        if user is None:
            user = authentication.user_now(self._authenticator, told.credentials)
            told.again = None if user is None else self._authenticator.settled(told.credentials)
        return user

    def _form(self, request: Request) -> Form:
        accept = request.header(b"accept")
        form = self._forms.get(accept)
        if form is None:
            form = negotiate.negotiate(accept, protobuf=True)
            if len(accept) <= RETAINED:
                if len(self._forms) >= REMEMBERED:
                    self._forms.clear()
                self._forms[accept] = form
        return form

    @staticmethod
    def _notes(route: Route, call: Call) -> tuple[tuple[bytes, bytes], ...]:
        rtype = route.endpoint.rtype
        warnings = call.warnings
        if rtype.deprecated:
            warnings = [rtype.deprecated, *warnings]
        if rtype.retired is not None:
            warnings = [rtype.retired.warning, *warnings]
        return warning_headers(warnings) if warnings else ()

    async def _answer(self, call: Call, route: Route, form: Form, *, in_parts: bool) -> Response:
        try:
            return await self._carried_out(call, route, form, in_parts=in_parts)
        except errors.StatusError as error:
            return status_response(error, headers=self._notes(route, call))

    async def _carried_out(self, call: Call, route: Route, form: Form, *, in_parts: bool) -> Response:
        core, info, endpoint = self._core, call.info, call.endpoint
        if info.verb == "watch":
            frames = render.Frames(core, endpoint, form, info)
            try:
                opened = await watch.watch(core, call)
            except errors.Expired as error:
                return Response(200, frames.refused(error), frames.content_type, self._notes(route, call))
            source = WatchSource(opened, frames, self._pushes)
            return Response(200, source, frames.content_type, self._notes(route, call))
        if info.verb == "list":
            found = await read.list_(core, call)
            notes = self._notes(route, call)
            if longlists.is_long(form, found):
                turn = self._turns.wait
                return await longlists.list_(
                    core, endpoint, form, found, info, notes, turn, in_parts=in_parts
                )
            return render.list_(core, endpoint, form, found, info, notes, in_parts=in_parts)
        if info.verb == "deletecollection":
            found = await delete.delete_collection(core, call)
            return render.list_(core, endpoint, form, found, info, self._notes(route, call))
        result = await carry_out(core, call, route)
        return render.object_(core, endpoint, form, result, info, self._notes(route, call))


def sent(call: Call) -> Any:
    """What a request sends, as a tree; None where it sends nothing that can be read."""
    if not call.body:
        return None
    try:
        return bodies.read_object(call.endpoint, call.body, call.content_type, find_duplicates=False)[0]
    except errors.StatusError:
        pass
    try:
        return orjson.loads(call.body)  # a patch, whose type is none of an object
    except ValueError:
        return None


async def carry_out(core: Core, call: Call, route: Route) -> Result:
    """A verb on one object. Shared with the transport of clients in the same process."""
    info = call.info
    if route.action is not None:
        return await routes.act(core, call, route)
    if info.subresource == "scale":
        return await scale.VERBS[info.verb](core, call)
    match info.verb:
        case "get":
            return await read.get(core, call)
        case "create":
            return await create.create(core, call)
        case "update":
            return await update.update(core, call)
        case "patch":
            return await patch.patch(core, call)
        case "delete":
            return await delete.delete(core, call)
    raise routes.not_allowed()


def answered(answer: Answer | Upgraded, warnings: list[str]) -> Response | Upgraded:
    """What a handler of bytes says, as a response; its Content-Type is among its headers."""
    notes = warning_headers(warnings)
    if isinstance(answer, Upgraded):
        added = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in notes]
        return replace(answer, headers=[*answer.headers, *added])
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers)
    return Response(answer.status, answer.body, b"", (*headers, *notes), patient=True)


def connect_call(user: User, info: Info, request: Request) -> ConnectCall:
    return ConnectCall(
        user=user,
        method=request.method,
        namespace=info.namespace,
        name=info.name,
        subresource=info.subresource,
        path=info.rest,
        query=request.query,
        headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers],
        body=request.body,
    )
