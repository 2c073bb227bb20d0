"""HTTP/1.1 over one TLS connection: bytes to `Request`, `Response` to bytes.

Requests of a connection are answered in their order (pipelining). Most reads are answered in the callback that parsed
them; everything else runs as a task of the server's group. A handler may take the connection over: it answers with
`request.Upgraded`, and from then on the raw bytes belong to its `relay` (`Connection` is the `request.Duplex`).

    data_received ─> httptools ─> Request ─> Handler.now ──> Response ─────────────> write
                                                └─ None ──> task: Handler.later ──> Response | Upgraded

A client gets time and memory in measure: for the head of a request, for the whole of it, between two requests, and for
reading its answers. Nothing more is answered while it does not read what it was told.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools

from timonel.aio.clock import Timer, stopwatch
from timonel.server.clientcertificate import shown
from timonel.server.exchange import BODY_LIMIT, LARGE, TEXT, Header, Request, Response, Source
from timonel.server.request import Upgraded

if TYPE_CHECKING:
    from timonel.server.httpserver import HttpServer

logger = logging.getLogger(__name__)

HEAD_LIMIT = 1024 * 1024  # as Go's DefaultMaxHeaderBytes
HEADER_COST = 64  # bytes that a header counts for beside its own
LOOK = 30.0  # seconds between two looks at a connection that owes us a request
ARRIVING_LOOKS = 2  # looks at the same unfinished request, then the connection is closed
IDLE_LOOKS = 3  # looks at a connection without a request
STALL = 120.0  # seconds in which a client must have read something of what was sent
GOODBYE = 5.0  # seconds for a relay whose client is gone
LINGER = 0.5  # seconds that a refused client may still send: a reset would take the answer from it
PIPELINE_LIMIT = 16  # requests waiting on a connection before it is no longer read
RELAY_LIMIT = 1024 * 1024  # unread bytes of a relayed connection before it is no longer read
PIECE = 256 * 1024  # bytes of a body that are written at a time
CLIENT_GONE = 499  # what is counted as the answer to a client that did not wait for it

STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
METHOD = re.compile(rb"[A-Z]+ /")  # the beginning of a request, be its method known or not
FRAMING = frozenset((b"host", b"expect", b"transfer-encoding"))
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client connection; also the `Duplex` of a handler that has taken it over, and the `Sink` of a `Source`."""

    __slots__ = (
        "_arriving", "_begun", "_body", "_chunked", "_closing", "_current", "_ending", "_expects", "_handler",
        "_head_size",
        "_headers", "_hosts", "_in_head", "_long_target", "_look_timer", "_looks", "_lost", "_parser", "_patient",
        "_paused", "_queue", "_readable", "_rejected", "_rejection", "_relay_ended", "_relayed", "_relaying",
        "_resumed", "_seen", "_server", "_size", "_source", "_stall_timer", "_status", "_streaming", "_target",
        "_task", "_transport", "_unread", "_wrong", "certificate", "remembered",
    )  # fmt: skip

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._handler = server.handler
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._target = b""
        self._headers: list[Header] = []
        self._body: bytes | bytearray = b""
        self._size = 0
        self._head_size = 0
        self._in_head = False
        self._arriving = False  # a request has begun and is not complete
        self._begun = 0  # requests so far
        self._seen = -1  # what `_begun` was at the last look
        self._looks = 0
        self._look_timer: Timer | None = None
        self._stall_timer: Timer | None = None
        self._unread = 0  # bytes that the client had not read when its answers began to stall
        self._queue: list[Request] = []
        self._current: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._lost = False
        self._streaming = False
        self._ending = False  # a stream is to end because the server does
        self._rejected = False  # what comes is not understood, and looked at no more
        self._rejection: Response | None = None  # said when what came before it has been answered
        self._hosts = 0
        self._long_target = False
        self._chunked = False
        self._expects = b""
        self._wrong: Response | None = None  # why the request that is arriving cannot be taken
        self._relaying = False
        self._patient = False
        self._source: Source | None = None  # what is being sent as it comes
        self._status = 0  # of the answer that it is the body of
        self._paused = False  # the client reads more slowly than it is told
        self._resumed: asyncio.Event | None = None  # somebody waits for it to read on
        self._relayed: bytearray | None = None  # incoming bytes once a handler has taken over
        self._relay_ended = False
        self._readable: asyncio.Event | None = None  # somebody waits for it to say something
        self.certificate: bytes | None = None
        self.remembered: Any = None  # the handler's own, about the last request

    @property
    def peer(self) -> str:
        """The client's address, without its port; empty where it has none."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if isinstance(name, tuple) else ""

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections[self] = None
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.certificate = shown(tls)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        for timer in (self._look_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._server.connections.pop(self, None)
        self._resume()
        self._relay_ended = True
        self._wake_reader()
        self._queue.clear()
        self._drop_source()
        if (
            self._task is not None and self._relaying
        ):  # what the client sent last may still go on, if anybody takes it
            self._server.later(GOODBYE, self._abandon)
        elif self._task is not None:
            self._task.cancel()

    def _abandon(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._relayed is not None:
            self._relayed += data
            if len(self._relayed) > RELAY_LIMIT:
                self._transport.pause_reading()
            self._wake_reader()
            return
        if self._rejected:
            return
        inside, begun = self._in_head, self._begun
        try:
            self._parser.feed_data(data)
            if inside and self._in_head:  # all of it is head; the parser may be keeping it to itself
                self._head_size += len(data)
            if self._head_size > HEAD_LIMIT:
                self._reject(self._too_much_head())
        except httptools.HttpParserUpgrade as upgrade:
            self._relayed = bytearray(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            if METHOD.match(data) and self._begun - begun <= 1:
                text = "the server does not allow this method on the requested resource"
                self._reject(self._handler.refused(405, text))
            else:
                self._reject(Response(400, b"400 Bad Request", TEXT))
        except httptools.HttpParserError:
            self._reject(Response(400, b"400 Bad Request", TEXT))

    def _too_much_head(self) -> Response:
        if self._long_target or not self._target:
            return self._handler.refused(414, "request URI too long")
        return self._handler.refused(431, "request header too large")

    def _reject(self, response: Response) -> None:
        """What comes is not understood: say so, when what came before it has been answered, and hang up."""
        if self._closing or self._rejected:
            return
        self._rejected = True
        if self._current is None and not self._queue:
            self._say_rejected(response)
        elif self._streaming:  # its end would be that of the world
            self._transport.close()
        else:
            self._rejection = response

    def _say_rejected(self, response: Response) -> None:
        self._closing = True
        self._write_response(None, response)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._server.later(LINGER, self._transport.close)

    def eof_received(self) -> bool:
        self._relay_ended = True
        self._wake_reader()
        # A relayed peer may still read after it has said its last word; TLS cannot keep one direction open.
        return self._relayed is not None and self._transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        self._paused = True
        if self._relayed is None:  # the two directions of a relay know nothing of each other
            self._transport.pause_reading()
        self._unread = self._transport.get_write_buffer_size()
        self._stall_timer = self._server.later(STALL, self._look_at_stall)

    def resume_writing(self) -> None:
        self._resume()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        if self._source is not None:
            self._source.resume()
        if self._current is None and not self._closing:
            self._next()
        elif self._relayed is None and not self._queue:
            self._transport.resume_reading()

    def _resume(self) -> None:
        self._paused = False
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    async def _until_writable(self) -> None:
        while self._paused:
            if self._resumed is None:
                self._resumed = asyncio.Event()
            await self._resumed.wait()

    def _wake_reader(self) -> None:
        if self._readable is not None:
            self._readable.set()

    # ---- patience

    def _look_later(self) -> None:
        self._look_timer = self._server.later(LOOK, self._look)

    def _look(self) -> None:
        """Whether a request that is due has come on since; a connection that we owe something to is left alone."""
        self._look_timer = None
        if self._current is not None or self._relayed is not None:
            return  # looked at again when it has its answer
        self._looks = self._looks + 1 if self._begun == self._seen else 1
        self._seen = self._begun
        if self._looks > (ARRIVING_LOOKS if self._arriving else IDLE_LOOKS):
            self._closing = True
            self._transport.close()
        else:
            self._look_later()

    def _look_at_stall(self) -> None:
        unread = self._transport.get_write_buffer_size()
        if unread >= self._unread and not self._patient and not self._relaying:
            self._transport.abort()
            return
        self._unread = unread
        self._stall_timer = self._server.later(STALL, self._look_at_stall)

    # ---- httptools callbacks

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = []
        self._body = b""
        self._size = self._head_size = self._hosts = 0
        self._chunked = self._long_target = False
        self._expects, self._wrong = b"", None
        self._in_head = self._arriving = True
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        self._head_size += len(url)
        if self._head_size <= HEAD_LIMIT:
            self._target += url
        else:
            self._long_target = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value) + HEADER_COST
        if (
            self._in_head and self._head_size <= HEAD_LIMIT
        ):  # what comes after a body is no header of the request
            name = name.lower()
            if name in FRAMING:
                self._heed(name, value)
            self._headers.append((name, value))

    def _heed(self, name: bytes, value: bytes) -> None:
        """A header that says how the request is to be read, beyond what the parser makes of it."""
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self._expects = value.strip().lower()
        elif value.strip().lower() != b"chunked" or self._chunked:
            self._wrong = Response(501, b"501 Not Implemented: unsupported transfer encoding", TEXT)
        else:
            self._chunked = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._hosts != 1 and self._wrong is None:
            self._wrong = self._wrong_host()
        if self._expects:
            if self._expects != b"100-continue":
                self._wrong = self._wrong or Response(417, b"417 Expectation Failed", TEXT)
            elif self._head_size <= HEAD_LIMIT and self._current is None and self._wrong is None:
                self._transport.write(CONTINUE)

    def _wrong_host(self) -> Response | None:
        if self._hosts > 1:
            return Response(400, b"400 Bad Request: too many Host headers", TEXT)
        if self._parser.get_http_version() == "1.0":
            return None
        return Response(400, b"400 Bad Request: missing required Host header", TEXT)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if not self._body:
            self._body = body
        elif self._size <= BODY_LIMIT:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body

    def on_message_complete(self) -> None:
        self._arriving = False
        if self._closing or self._rejected or self._head_size > HEAD_LIMIT:
            return
        keep_alive = self._parser.should_keep_alive()
        if not keep_alive and self._parser.get_http_version() not in ("1.0", "1.1"):
            text = b"505 HTTP Version Not Supported: unsupported protocol version"
            self._wrong = Response(505, text, TEXT)
        if self._wrong is not None:
            self._reject(self._wrong)
            return
        body = bytes(self._body)  # no copy of what came in one piece
        request = Request(self._parser.get_method(), self._target, self._headers, body, self)
        request.keep_alive = keep_alive
        request.upgrade = self._parser.should_upgrade()
        request.too_large = self._size > BODY_LIMIT
        if not keep_alive:  # what comes after the last request is not looked at
            self._rejected = True
        if self._current is not None or self._queue or self._paused:
            self._queue.append(request)
            if len(self._queue) >= PIPELINE_LIMIT or len(body) > LARGE:
                self._transport.pause_reading()
        else:
            self._begin(request)

    # ---- answering

    def _begin(self, request: Request) -> None:
        """Answer now where that is possible, else in a task. Never called while another request is being answered."""
        self._current = request
        request.started = stopwatch()
        try:
            response = self._handler.now(request)
        except Exception as error:  # the answer says so, and the connection goes on
            response = self._handler.failed(request, error)
        if response is not None and isinstance(response.body, bytes):
            self._write_response(request, response)
            self._handler.done(request, response.status, len(response.body))
            self._finish(request)
        elif response is not None and isinstance(response.body, Source):
            self._begin_source(request, response, response.body)
        else:
            self._task = self._server.spawn(self._answer(request, response))

    async def _answer(self, request: Request, response: Response | Upgraded | None) -> None:
        size, handed_over = -1, False
        try:
            if response is None:
                try:
                    response = await self._handler.later(request)
                except Exception as error:
                    response = self._handler.failed(request, error)
            if isinstance(response, Upgraded):
                await self._relay(request, response)
                return
            if isinstance(response.body, bytes):
                size = len(response.body)
                await self._write_out(request, response, response.body)
            elif isinstance(response.body, Source) and request.method != "HEAD":
                handed_over = self._begin_source(request, response, response.body)
                return
            else:
                await self._stream(request, response, response.body)
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except OSError:  # what is relayed ended too soon: the client sees the same
            self._transport.abort()
        except Exception:
            logger.exception("Failed to answer a request", extra={"path": request.path})
            self._transport.abort()
        finally:
            self._task = None
            if not handed_over:
                self._handler.done(request, response.status if response is not None else CLIENT_GONE, size)
        self._finish(request)

    def _finish(self, request: Request) -> None:
        self._current = None
        if not request.keep_alive or self._closing or request.upgrade:
            self._closing = True
            self._transport.close()
        elif not self._lost:
            if self._queue and not self._paused:
                self._next()
            elif self._rejection is not None and not self._queue:
                self._say_rejected(self._rejection)
                return
            if self._look_timer is None:
                self._looks = 0
                self._look_later()

    def _next(self) -> None:
        """Begin with the next request that waits, if there is one; read on when none is left."""
        if self._queue:
            self._current = self._queue.pop(0)  # at once: what comes meanwhile is behind it
            self._server.soon(self._begin_waiting, self._current)
        if not self._queue:
            self._transport.resume_reading()

    def _begin_waiting(self, request: Request) -> None:
        if not self._lost:
            self._begin(request)

    def _head(self, request: Request | None, response: Response | Upgraded, extra: bytes) -> bytes:
        line = STATUS_LINES.get(response.status) or b"HTTP/1.1 %d \r\n" % response.status  # of a proxy: any
        if request is not None and response.__class__ is Response and not response.headers:  # most of them
            audit_id = request.audit_id = request.audit_id or self._server.audit_id()
            kind = b"Content-Type: %b\r\n" % response.content_type if response.content_type else b""
            return b"%bAudit-Id: %b\r\n%b%b%b%b\r\n" % (
                line, audit_id, self._server.standard_headers(), request.head, kind, extra,
            )  # fmt: skip
        if request is None:
            lines = [line, self._server.standard_headers()]
        else:
            audit_id = request.audit_id = request.audit_id or self._server.audit_id()
            lines = [line, b"Audit-Id: ", audit_id, b"\r\n", self._server.standard_headers(), request.head]
        if isinstance(response, Response):
            if response.content_type:
                lines.append(b"Content-Type: %b\r\n" % response.content_type)
            for name, value in response.headers:
                lines.append(b"%b: %b\r\n" % (name, value))
        else:
            lines += [f"{name}: {value}\r\n".encode("latin-1") for name, value in response.headers]
        lines.append(extra)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _write_response(self, request: Request | None, response: Response) -> None:
        if self._lost:
            return
        body = cast(bytes, response.body)
        head = self._head(request, response, self._extra(request, len(body)))
        if request is not None and request.method == "HEAD":
            self._transport.write(head)
        elif len(body) < LARGE:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    async def _write_out(self, request: Request, response: Response, body: bytes) -> None:
        """Until all of it has gone out, but for what the buffers take; a large one in pieces, in turn with others."""
        if len(body) <= PIECE or request.method == "HEAD" or self._lost:
            self._write_response(request, response)
            await self._until_writable()
            return
        self._transport.write(self._head(request, response, self._extra(request, len(body))))
        view = memoryview(body)
        for start in range(0, len(view), PIECE):
            await self._until_writable()
            await self._server.turns.wait()
            if self._lost:
                return
            self._transport.write(view[start : start + PIECE])
        await self._until_writable()

    def _extra(self, request: Request | None, length: int) -> bytes:
        extra = b"Content-Length: %d\r\n" % length
        if request is None or not request.keep_alive or self._closing:
            extra += b"Connection: close\r\n"
        return extra

    async def _stream(self, request: Request, response: Response, chunks: AsyncIterable[bytes]) -> None:
        if request.method == "HEAD":
            self._transport.write(self._head(request, response, b""))
            return
        if self._rejection is not None:
            self._transport.close()
            return
        self._transport.write(self._head(request, response, b"Transfer-Encoding: chunked\r\n"))
        self._streaming, self._patient = True, response.patient
        try:
            async for chunk in chunks:
                if self._lost:
                    return
                if chunk:  # an empty one would say that this is the end
                    self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if self._paused:
                    await self._until_writable()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._ending or self._lost or task is None:
                raise
            task.uncancel()  # the server stops: a stream that may end anywhere ends properly
        finally:
            self._streaming = self._patient = False
            if (close := getattr(chunks, "aclose", None)) is not None:
                await close()
        self._transport.write(b"0\r\n\r\n")

    # ---- Sink: the body comes by itself

    def _begin_source(self, request: Request, response: Response, source: Source) -> bool:
        """Whether there is somebody to send it to; then the request is over when the source is."""
        if self._lost:
            source.close()
            return False
        self._streaming, self._status = source.length < 0, response.status
        self._source = source
        extra = b"Transfer-Encoding: chunked\r\n" if self._streaming else self._extra(request, source.length)
        self._transport.write(self._head(request, response, extra))
        try:
            source.start(self)
        except Exception:
            logger.exception("Failed to answer a request", extra={"path": request.path})
            self.break_off()
        return True

    @property
    def writable(self) -> bool:
        return not self._paused

    def push(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._streaming else data)

    def in_turn(self, step: Callable[[], bool]) -> None:
        self._server.turns.add(step, self.break_off)

    def end(self) -> None:
        request = self._current
        assert request is not None
        if self._streaming:
            self._transport.write(b"0\r\n\r\n")
        self._drop_source()
        self._finish(request)

    def break_off(self) -> None:
        self._drop_source()
        self._transport.abort()

    def _drop_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            self._streaming = False
            source.close()
            if self._current is not None:
                self._handler.done(self._current, self._status, source.length)

    # ---- Duplex

    async def _relay(self, request: Request, upgraded: Upgraded) -> None:
        if self._relayed is None:
            self._relayed = bytearray()
        self._relaying = True
        self._transport.write(self._head(request, upgraded, b""))
        try:
            await upgraded.relay(self)
        finally:
            self._transport.close()

    async def read(self) -> bytes:
        assert self._relayed is not None, "only a connection that was taken over is read"
        while not self._relayed and not self._relay_ended:
            if self._readable is None:
                self._readable = asyncio.Event()
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._relayed)
        self._relayed.clear()
        if not self._lost:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if self._lost:
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        if self._paused:
            await self._until_writable()

    async def write_eof(self) -> None:
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # ---- shutdown

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered that has an end."""
        return (
            self._current is not None and not self._streaming and self._relayed is None and not self._paused
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is owed to the client, and nothing is coming from it."""
        return self._current is None and not self._arriving and not self._queue and self._relayed is None

    def retire(self) -> None:
        """No more requests; an idle connection closes now, a busy one after its answer; watches end."""
        self._closing = True
        if self._source is not None and self._streaming:
            self.end()
        elif self._streaming and self._task is not None:
            self._ending = True
            self._task.cancel()
        if self._current is None:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
