"""The audit log of one server: requests become records, records become events, events go to the backends.

A backend that blocks has taken an event before the request goes on; others take it when they come to it. What cannot be
written does not stop a request, except that a strict backend must know of it before it is carried out.

Upstream: apiserver/pkg/endpoints/filters/{audit,authn_audit}.go, apiserver/pkg/server/options/audit.go.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.audit.batches import Batches, Batching, SendFailed
from timonel.server.audit.events import DECISION, REASON, Record, agent_of, sources_of
from timonel.server.audit.logfile import LogFile, encoded
from timonel.server.audit.policy import COMPLETE, NONE, PANIC, RECEIVED, STARTED, Policy
from timonel.server.chain.info import Info
from timonel.server.exchange import JSON, Request, Response
from timonel.server.metrics.text import COUNTER, Counts, Family
from timonel.server.request import Duplex, Upgraded, User

logger = logging.getLogger(__name__)

BATCH, BLOCKING, STRICT = MODES = ("batch", "blocking", "blocking-strict")


class Backend(Protocol):
    name: str
    strict: bool

    def take(self, event: Object) -> None:
        """Without waiting. Raises SendFailed."""

    async def deliver(self, event: Object) -> None:
        """Return when the event is where it belongs, if the backend blocks. Raises SendFailed."""

    async def run(self) -> None:
        """For as long as the server runs."""


class FileBackend:
    """`batching`: None writes at once."""

    name = "log"

    def __init__(self, file: LogFile, mode: str, batching: Batching, clock: Clock) -> None:
        self._file = file
        self.strict = mode == STRICT
        self._batches = Batches(batching, clock, self._send) if mode == BATCH else None

    def take(self, event: Object) -> None:
        if self._batches is not None:
            self._batches.put(event)
            return
        self._write((event,))

    async def deliver(self, event: Object) -> None:
        self.take(event)

    async def run(self) -> None:
        try:
            await (self._batches.run() if self._batches is not None else asyncio.Event().wait())
        finally:
            self._file.close()

    async def _send(self, events: Sequence[Object]) -> None:
        self._write(events)

    def _write(self, events: Sequence[Object]) -> None:
        try:
            self._file.write(events)
        except OSError as error:
            raise SendFailed(str(error)) from error


class Poster(Protocol):
    async def __call__(self, body: bytes) -> None:
        """POST an EventList. Raises SendFailed."""


class WebhookBackend:
    name = "webhook"

    def __init__(self, post: Poster, mode: str, batching: Batching, clock: Clock) -> None:
        self._post = post
        self.strict = mode == STRICT
        self._blocks = mode != BATCH
        self._batches = Batches(batching, clock, self._send)

    def take(self, event: Object) -> None:
        self._batches.put(event)

    async def deliver(self, event: Object) -> None:
        if not self._blocks:
            self._batches.put(event)
            return
        await self._send((event,))

    async def run(self) -> None:
        await self._batches.run()

    async def _send(self, events: Sequence[Object]) -> None:
        listed = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": list(events)}
        await self._post(encoded(listed))


class Trail:
    def __init__(self, policy: Policy, backends: Sequence[Backend], clock: Clock) -> None:
        self.policy = policy
        self._backends = tuple(backends)
        self._clock = clock
        self._events = 0
        self._errors = Counts(("plugin",))
        self._levels = Counts(("level",))
        self._rejected = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for backend in self._backends:
                group.create_task(backend.run(), name=f"audit {backend.name}")

    # ---- a request that came over HTTP

    async def begin(self, request: Request, info: Info, user: User | None) -> Record | None:
        """None for what the policy does not record. Raises InternalError where a strict backend fails."""
        record = self._record(request, info, user)
        if record is not None:
            await self._received(record)
        return record

    def _record(self, request: Request, info: Info, user: User | None) -> Record | None:
        verdict = self.policy.judge(user, info)
        self._levels.add(verdict.level)
        if verdict.level == NONE:
            return None
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in request.headers}
        peer = request.connection.peer if request.connection is not None else ""
        return Record(
            id=request.audit_id.decode("latin-1"),
            verdict=verdict,
            info=info,
            uri=request.path + (f"?{request.query}" if request.query else ""),
            user=user,
            sources=sources_of(headers, peer),
            agent=agent_of(headers.get("user-agent", "")),
            received=self._clock.now(),
        )

    async def _received(self, record: Record) -> None:
        failed = await self._deliver(record, RECEIVED)
        if failed:
            self._rejected += 1
            raise errors.InternalError(f"Internal error occurred: could not audit the request: {failed}")

    def unauthenticated(self, request: Request, info: Info) -> Record | None:
        """A request whose credentials are wrong: all of its record is its answer."""
        record = self._record(request, info, None)
        if record is not None:
            record.status = {"metadata": {}, "message": _attempted(request, info), "code": 401}
            self._take(record, STARTED)
        return None

    async def finish(self, record: Record, response: Response | Upgraded) -> Response | Upgraded:
        """Record the answer; of one that lasts its beginning, and at its end the end."""
        if isinstance(response, Upgraded):
            record.answered(response.status, b"", is_json=False)
            await self._deliver(record, STARTED)
            return replace(response, relay=self._relaying(record, response))
        if isinstance(response.body, bytes):
            record.answered(response.status, response.body, is_json=response.content_type == JSON)
            await self._deliver(record, COMPLETE)
            return response
        record.answered(response.status, b"", is_json=False)
        await self._deliver(record, STARTED)
        response.body = self._streaming(record, aiter(response.body))
        return response

    def abandoned(self, record: Record) -> None:
        """Its client has not waited for the answer."""
        self._take(record, COMPLETE)

    def panicked(self, record: Record, problem: str) -> None:
        """A handler failed in a way that nobody had foreseen."""
        record.status = {
            "metadata": {},
            "status": "Failure",
            "message": f"APIServer panic'd: {problem}",
            "reason": "InternalError",
            "code": 500,
        }
        self._take(record, PANIC)

    def _relaying(self, record: Record, upgraded: Upgraded) -> Any:
        async def relay(duplex: Duplex) -> None:
            try:
                await upgraded.relay(duplex)
            finally:
                self._take(record, COMPLETE)

        return relay

    async def _streaming(self, record: Record, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            if (close := getattr(chunks, "aclose", None)) is not None:
                await close()
            self._take(record, COMPLETE)

    # ---- a request from within the process

    @asynccontextmanager
    async def inside(self, user: User, info: Info, agent: str, sent: Any) -> AsyncIterator[Record | None]:
        verdict = self.policy.judge(user, info)
        self._levels.add(verdict.level)
        if verdict.level == NONE:
            yield None
            return
        audit_id = str(uuid.uuid4())
        record = Record(audit_id, verdict, info, info.path, user, (), agent, self._clock.now())
        await self._received(record)
        record.annotations |= {DECISION: "allow", REASON: ""}
        if isinstance(sent, dict | list):
            record.requested(sent)
        try:
            yield record
        except errors.StatusError as error:
            record.status = error.to_status() | {"metadata": {}}
            raise
        finally:
            if record.status is None:
                record.status = {"metadata": {}, "code": 201 if info.verb == "create" else 200}
            await self._deliver(record, COMPLETE)

    # ---- events

    async def _deliver(self, record: Record, stage: str) -> str:
        """What went wrong with a backend that must not fail; empty where nothing did."""
        if stage in record.verdict.omit_stages:
            return ""
        event, problem = self._event(record, stage), ""
        for backend in self._backends:
            try:
                await backend.deliver(event)
            except SendFailed as error:
                self._failed(backend, error)
                if backend.strict and stage == RECEIVED:
                    problem = str(error)
        return problem

    def _take(self, record: Record, stage: str) -> None:
        if stage in record.verdict.omit_stages:
            return
        event = self._event(record, stage)
        for backend in self._backends:
            try:
                backend.take(event)
            except SendFailed as error:
                self._failed(backend, error)

    def _event(self, record: Record, stage: str) -> Object:
        self._events += 1
        return record.event(stage, self._clock.now())

    def _failed(self, backend: Backend, error: SendFailed) -> None:
        self._errors.add(backend.name)
        logger.error(
            "An audit event could not be written", extra={"backend": backend.name, "error": str(error)}
        )

    def families(self) -> Sequence[Family]:
        return (
            Family(
                "apiserver_audit_event_total",
                COUNTER,
                "Counter of audit events generated and sent to the audit backend.",
                (((), self._events),),
            ),
            Family(
                "apiserver_audit_error_total",
                COUNTER,
                "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by "
                "the error.",
                self._errors.samples(),
            ),
            Family(
                "apiserver_audit_level_total",
                COUNTER,
                "Counter of policy levels for audit events (1 per request).",
                self._levels.samples(),
            ),
            Family(
                "apiserver_audit_requests_rejected_total",
                COUNTER,
                "Counter of apiserver requests rejected due to an error in audit logging backend.",
                (((), self._rejected),),
            ),
        )


def _attempted(request: Request, info: Info) -> str:
    """Upstream: getAuthMethods in authn_audit.go."""
    tried = []
    kind, _, rest = request.header(b"authorization").strip().partition(" ")
    if kind.lower() == "basic" and rest:
        tried.append("basic")
    if kind.lower() == "bearer" and rest:
        tried.append("bearer")
    if info.first("access_token").strip():
        tried.append("access_token")
    if request.certificate is not None:
        tried.append("x509")
    if tried:
        return f"Authentication failed, attempted: {', '.join(tried)}"
    return "Authentication failed, no credentials provided"
