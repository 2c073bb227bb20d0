"""gRPC's calls over one connection of HTTP/2: what a client of etcd needs of both, and no more.

Many calls share the connection, each a stream of its own. What is sent in one turn of the event loop goes out in one
write. A watch is read as fast as its reader takes it: its window is opened again only for what was taken.

RFC 9113; grpc doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import cast
from urllib.parse import unquote

from timonel.aio.clock import Clock, Timer
from timonel.store.etcd import hpack

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5
CANCEL, REFUSED_STREAM = 8, 7
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTING = struct.Struct(">HI")
UINT32 = struct.Struct(">I")
DEFAULT_WINDOW, DEFAULT_FRAME = 65_535, 16_384
OUR_WINDOW = 8 << 20  # bytes that a stream may send before they are taken
LAST_STREAM = 0x7FFF_FFF0

OK, CANCELLED, UNKNOWN, UNAVAILABLE = 0, 1, 2, 14
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


class RpcError(Exception):
    """`code` is the name of gRPC's status code; `received` is false where the request cannot have had an effect."""

    def __init__(self, code: str, details: str, *, received: bool = True) -> None:
        super().__init__(f"{code}: {details}")
        self.code, self.details, self.received = code, details, received


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + UINT32.pack(stream) + payload


class Stream:
    """One call. `messages` are whole answers; `ended` is set once there will be no more, with `error` if it failed."""

    __slots__ = (
        "_connection", "_have", "_need", "_parts", "_waiter", "ended", "error", "id", "messages", "out", "taken",
        "unary", "window",
    )  # fmt: skip

    def __init__(self, connection: Http2Connection, id_: int, window: int, *, unary: bool) -> None:
        self._connection = connection
        self.id = id_
        self.unary = unary
        self.window = window  # bytes that the peer takes
        self.out: deque[bytes] = deque()  # what waits for it
        self.messages: deque[bytes] = deque()
        self.taken = 0  # bytes whose window is to be opened again
        self.ended = False
        self.error: RpcError | None = None
        self._parts: list[bytes] = []  # of a message that is not whole yet
        self._have = 0  # bytes in them
        self._need = 5  # bytes that there must be before it is worth looking
        self._waiter: asyncio.Future[None] | None = None

    # ---- for the caller

    def send(self, message: bytes, *, last: bool = False) -> None:
        self._connection.send_message(self, message, last=last)

    async def receive(self) -> bytes | None:
        """The next message; None at the end. Raises RpcError."""
        while not self.messages:
            if self.error is not None:
                raise self.error
            if self.ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self.messages.popleft()
        if not self.unary:
            self._connection.open_window(self, len(message) + 5)
        return message

    def cancel(self) -> None:
        if not self.ended:
            self._connection.reset(self)

    # ---- for the connection

    def on_headers(self, headers: dict[str, str]) -> None:
        status = headers.get(":status", "")
        if status not in ("", "200"):
            self.finish(RpcError("UNAVAILABLE", f"an answer of HTTP {status}"))
        code = headers.get("grpc-status")
        if code is not None:
            number = int(code) if code.isdecimal() else UNKNOWN
            details = unquote(headers.get("grpc-message", ""))
            name = CODES[number] if number < len(CODES) else "UNKNOWN"
            self.finish(RpcError(name, details) if number else None)

    def on_data(self, data: bytes) -> None:
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:  # a long message: its parts are put together once
            return
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        at, self._need = 0, 5
        while len(buffer) - at >= 5:
            end = at + 5 + int.from_bytes(buffer[at + 1 : at + 5], "big")
            if end > len(buffer):
                self._need = end - at
                break
            if buffer[at]:
                self.finish(RpcError("INTERNAL", "a compressed message, which was not asked for"))
                return
            self.messages.append(buffer[at + 5 : end])
            at = end
        self._parts = [buffer[at:]] if at < len(buffer) else []
        self._have = len(buffer) - at
        if self.messages:
            self._wake()

    def finish(self, error: RpcError | None) -> None:
        if not self.ended:
            self.ended, self.error = True, error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Http2Connection(asyncio.Protocol):
    """Made by `loop.create_connection`; whoever made it calls `close`. `keepalive` are the seconds of silence after
    which the peer is asked whether it is there, and the seconds it has to answer."""

    def __init__(self, authority: str, scheme: str, clock: Clock, keepalive: tuple[float, float]) -> None:
        self._fixed = (
            (":method", "POST"), (":scheme", scheme), (":authority", authority),
            ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "timonel"),
        )  # fmt: skip
        self._clock, self._keepalive = clock, keepalive
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._next_id = 1
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._max_frame = DEFAULT_FRAME
        self._max_streams = 1 << 31
        self._room: deque[asyncio.Future[None]] = deque()  # who waits for a stream to end
        self._unconsumed = 0  # bytes of the connection's window
        self._rest = b""
        self._headers: tuple[int, int, bytes] | None = None  # a block that goes on: stream, flags, so far
        self._out: list[bytes] = []
        self._blocked: deque[Stream] = deque()  # have something to send, and no window
        self._known: dict[bytes, dict[str, str]] = {}  # header blocks that came before
        self._requests: dict[tuple[str, str, bool], bytes] = {}
        self._timer: Timer | None = None
        self._heard = False
        self.usable = False

    # ---- calls

    def request_headers(self, path: str, token: str, require_leader: bool) -> bytes:
        key = (path, token, require_leader)
        block = self._requests.get(key)
        if block is None:
            more = [(":path", path)]
            more += [("token", token)] if token else []
            more += [("hasleader", "true")] if require_leader else []
            pseudo, plain = self._fixed[:3], self._fixed[3:]
            block = hpack.encoded([*pseudo, *more[:1], *plain, *more[1:]])
            if len(self._requests) > 64:  # tokens change
                self._requests.clear()
            self._requests[key] = block
        return block

    async def open(
        self, path: str, *, token: str = "", require_leader: bool = False, unary: bool = True
    ) -> Stream:
        """A new stream, when the peer allows one more. Raises RpcError."""
        while self.usable and len(self._streams) >= self._max_streams:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():  # the room that it was given is somebody else's
                    self._make_room()
                raise
        if not self.usable:
            raise RpcError("UNAVAILABLE", "the connection is closed", received=False)
        stream = Stream(self, self._next_id, self._stream_window, unary=unary)
        self._streams[stream.id] = stream
        self._next_id += 2
        if self._next_id > LAST_STREAM:
            self.usable = False
        block = self.request_headers(path, token, require_leader)
        self._write(frame(HEADERS, END_HEADERS, stream.id, block))
        return stream

    def send_message(self, stream: Stream, message: bytes, *, last: bool) -> None:
        data = b"\0" + UINT32.pack(len(message)) + message
        small = len(data) <= min(self._window, stream.window, self._max_frame)
        if small and not stream.out:
            self._window -= len(data)
            stream.window -= len(data)
            self._write(frame(DATA, END_STREAM if last else 0, stream.id, data))
            return
        stream.out.extend(data[at : at + self._max_frame] for at in range(0, len(data), self._max_frame))
        if last:
            stream.out.append(b"")
        if stream not in self._blocked:
            self._blocked.append(stream)
        self._pump()

    def _pump(self) -> None:
        """Send what waits, as far as the windows allow."""
        for _ in range(len(self._blocked)):
            stream = self._blocked.popleft()
            while stream.out and len(stream.out[0]) <= min(self._window, stream.window) and not stream.ended:
                piece = stream.out.popleft()
                self._window -= len(piece)
                stream.window -= len(piece)
                self._write(frame(DATA, END_STREAM if not piece else 0, stream.id, piece))
            if stream.out and not stream.ended:
                self._blocked.append(stream)

    def open_window(self, stream: Stream, size: int) -> None:
        """The reader has taken so many bytes."""
        stream.taken += size
        if stream.taken >= OUR_WINDOW // 4 and not stream.ended:
            self._write(frame(WINDOW_UPDATE, 0, stream.id, UINT32.pack(stream.taken)))
            stream.taken = 0

    def reset(self, stream: Stream) -> None:
        stream.finish(RpcError("CANCELLED", "it was cancelled here"))
        if self._streams.pop(stream.id, None) is not None:
            self._write(frame(RST_STREAM, 0, stream.id, UINT32.pack(CANCEL)))
        self._make_room()

    def close(self) -> None:
        self._end("it was closed here")
        if self._transport is not None:
            self._transport.close()

    # ---- sending

    def _write(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True
        ours = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW, OUR_WINDOW))
        settings = b"".join(SETTING.pack(*each) for each in ours)
        grown = UINT32.pack((1 << 31) - 1 - DEFAULT_WINDOW)
        self._write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, grown))
        self._timer = self._clock.call_later(self._keepalive[0], self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was lost: {exc or 'it was closed'}")

    def data_received(self, data: bytes) -> None:
        self._heard = True
        buffer = self._rest + data if self._rest else data
        at, size = 0, len(buffer)
        try:
            while size - at >= 9:
                end = at + 9 + int.from_bytes(buffer[at : at + 3], "big")
                if end > size:
                    break
                stream = int.from_bytes(buffer[at + 5 : at + 9], "big") & 0x7FFF_FFFF
                self._on_frame(buffer[at + 3], buffer[at + 4], stream, buffer[at + 9 : end])
                at = end
        except (hpack.Malformed, IndexError, struct.error) as error:
            self._end(f"the peer does not speak HTTP/2: {error}")
            if self._transport is not None:
                self._transport.abort()
        self._rest = buffer[at:]
        if self._unconsumed > OUR_WINDOW:
            self._write(frame(WINDOW_UPDATE, 0, 0, UINT32.pack(self._unconsumed)))
            self._unconsumed = 0

    # ---- frames

    def _on_frame(self, kind: int, flags: int, id_: int, payload: bytes) -> None:
        if kind == DATA:
            self._on_data(id_, flags, payload)
        elif kind in (HEADERS, CONTINUATION):
            self._on_headers(kind, id_, flags, payload)
        elif kind == WINDOW_UPDATE:
            (more,) = UINT32.unpack(payload)
            if id_ == 0:
                self._window += more
            elif id_ in self._streams:
                self._streams[id_].window += more
            self._pump()
        elif kind == SETTINGS and not flags & ACK:
            self._on_settings(payload)
        elif kind == PING and not flags & ACK:
            self._write(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM and id_ in self._streams:
            (code,) = UINT32.unpack(payload)
            received = code != REFUSED_STREAM
            self._done(id_, RpcError("UNAVAILABLE", f"the stream was reset ({code})", received=received))
        elif kind == GOAWAY:
            self._on_goaway(UINT32.unpack_from(payload)[0])

    def _on_data(self, id_: int, flags: int, payload: bytes) -> None:
        self._unconsumed += len(payload)
        stream = self._streams.get(id_)
        if stream is None:
            return
        if flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if stream.unary:
            self.open_window(stream, len(payload))
        stream.on_data(payload)
        if flags & END_STREAM:
            self._done(id_, RpcError("UNAVAILABLE", "an answer without a status"))

    def _on_headers(self, kind: int, id_: int, flags: int, payload: bytes) -> None:
        if kind == HEADERS:
            start = (1 if flags & PADDED else 0) + (5 if flags & PRIORITY else 0)
            payload = payload[start : len(payload) - (payload[0] if flags & PADDED else 0)]
            self._headers = (id_, flags, payload)
        elif self._headers is not None:
            self._headers = (self._headers[0], self._headers[1], self._headers[2] + payload)
        if not flags & END_HEADERS or self._headers is None:
            return
        id_, first_flags, block = self._headers
        self._headers = None
        stream = self._streams.get(id_)
        if stream is not None:
            stream.on_headers(self._decoded(block))
            if first_flags & END_STREAM:
                self._done(id_, RpcError("UNAVAILABLE", "an answer without a status"))

    def _decoded(self, block: bytes) -> dict[str, str]:
        found = self._known.get(block)
        if found is None:
            found = hpack.decoded(block)
            if len(self._known) > 256:
                self._known.clear()
            self._known[block] = found
        return found

    def _on_settings(self, payload: bytes) -> None:
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif name == MAX_FRAME:
                self._max_frame = value
            elif name == MAX_STREAMS:
                self._max_streams = max(value, 1)
        self._write(frame(SETTINGS, ACK, 0, b""))
        self._pump()

    def _on_goaway(self, last: int) -> None:
        self.usable = False
        for id_ in [each for each in self._streams if each > last & 0x7FFF_FFFF]:
            self._done(id_, RpcError("UNAVAILABLE", "the server goes away", received=False))
        self._make_room()

    # ---- ends

    def _done(self, id_: int, error: RpcError | None) -> None:
        """The stream is over; `error` counts where nothing else was said before."""
        stream = self._streams.pop(id_, None)
        if stream is not None:
            stream.finish(error)
        self._make_room()

    def _make_room(self) -> None:
        while self._room and (not self.usable or len(self._streams) < self._max_streams):
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if self.usable:
                    return

    def _end(self, why: str) -> None:
        self.usable = False
        if self._timer is not None:
            self._timer.cancel()
        for id_ in list(self._streams):
            self._done(id_, RpcError("UNAVAILABLE", why))
        self._make_room()

    # ---- keep-alive

    def _ask(self) -> None:
        """Nothing was heard for a while: is anybody there?"""
        if self._heard:
            self._heard = False
            self._timer = self._clock.call_later(self._keepalive[0], self._ask)
            return
        self._write(frame(PING, 0, 0, b"timonel?"))
        self._timer = self._clock.call_later(self._keepalive[1], self._give_up)

    def _give_up(self) -> None:
        if self._heard:
            self._ask()
            return
        self._end("the peer is silent")
        if self._transport is not None:
            self._transport.abort()
