"""What is asked and answered over HTTP, whatever carries it: requests, responses, and bodies that come by themselves.

Handlers know these types; `http.Connection` makes the ones from bytes and bytes of the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from timonel.records import dataclass
from timonel.server.request import Upgraded

if TYPE_CHECKING:
    from timonel.server.http import Connection

BODY_LIMIT = 3 * 1024 * 1024
LARGE = 64 * 1024  # bytes of a body that is not copied to join it with its head
JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

Header = tuple[bytes, bytes]


class Request:
    """`path` is still percent-encoded. Header names are lower-case."""

    __slots__ = (
        "audit_id",
        "body",
        "connection",
        "context",
        "head",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
        "started",
        "too_large",
        "upgrade",
    )

    def __init__(
        self, method: bytes, target: bytes, headers: list[Header], body: bytes, connection: Connection | None
    ) -> None:
        self.method = method.decode("latin-1")
        if not target.startswith(b"/"):
            target = origin_form(target)
        path, _, query = target.partition(b"?")
        self.path = path.decode("latin-1")
        self.query = query.decode("latin-1")
        self.headers = headers
        self.body = body
        self.connection = connection
        self.keep_alive = True
        self.upgrade = False
        self.too_large = False
        self.started = 0.0  # by the stopwatch
        self.context: Any = None  # the handler's own, about this request
        self.head = b""  # header lines of the answer, whatever it will be
        self.audit_id = b""  # given, or made with the answer

    def header(self, name: bytes) -> str:
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""

    def all_headers(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for key, value in self.headers if key == name]

    @property
    def certificate(self) -> bytes | None:
        """The verified client certificate, as DER."""
        return self.connection.certificate if self.connection is not None else None


def origin_form(target: bytes) -> bytes:
    """The path of a target that names a host as well, as for a proxy."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return target
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b"/"


class Sink(Protocol):
    """Where a `Source` puts what it has."""

    @property
    def writable(self) -> bool: ...
    def push(self, data: bytes) -> None: ...
    def in_turn(self, step: Callable[[], bool]) -> None:
        """Call it, in turn with those of others, until it says that there is nothing more to do for now."""

    def end(self) -> None:
        """That was all."""

    def break_off(self) -> None:
        """There should be more, but it cannot be had."""


class Source(ABC):
    """A body that comes by itself, without a task that waits for it. It can be iterated over instead."""

    __slots__ = ()
    length = -1  # bytes, if that is known before

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]: ...

    @abstractmethod
    def start(self, sink: Sink) -> None:
        """From now on push to `sink`, while it is writable."""

    @abstractmethod
    def resume(self) -> None:
        """The sink is writable again."""

    @abstractmethod
    def close(self) -> None:
        """Nobody listens any more."""


@dataclass(slots=True)
class Response:
    """`body` as an iterator is sent chunk by chunk as it comes (watches, logs)."""

    status: int
    body: bytes | AsyncIterable[bytes] = b""
    content_type: bytes = JSON
    headers: Sequence[Header] = ()
    patient: bool = False  # its reader may pause as long as it likes, such as a log in a pager


class Handler(Protocol):
    def now(self, request: Request) -> Response | None:
        """Answer without waiting, or None: then `later` is called."""

    async def later(self, request: Request) -> Response | Upgraded: ...

    def failed(self, request: Request, error: BaseException) -> Response:
        """The answer for what a handler raised."""

    def refused(self, status: int, message: str) -> Response:
        """The answer to what is no proper request."""

    def done(self, request: Request, status: int, size: int) -> None:
        """A request that was begun is over, answered with this status; `size` of the body, -1 for a stream."""
