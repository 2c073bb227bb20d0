"""A large body in the parts it consists of: joined piece by piece while the client reads, never as a whole.

A list of many objects is megabytes that are in memory already, as the bytes of each object. Joined as a whole they
would be copied, encrypted and queued three times that size, for each client that asks and for as long as it reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from timonel.server.exchange import Sink, Source

PIECE = 128 * 1024  # bytes that are joined at a time, about
SMALL = 64 * 1024  # bytes of a body that is not worth it


class Parts(Source):
    """`texts` with `separator` between them."""

    __slots__ = ("_at", "_due", "_separator", "_sink", "_texts", "length")

    def __init__(self, texts: Sequence[bytes], separator: bytes, length: int) -> None:
        self._texts = texts
        self._separator = separator
        self._sink: Sink | None = None
        self._at = 0
        self._due = False  # its turn will come
        self.length = length

    @classmethod
    def body(cls, texts: Sequence[bytes], separator: bytes) -> bytes | Parts:
        """As parts where that is worth it."""
        length = sum(map(len, texts)) + len(separator) * (len(texts) - 1)
        return cls(texts, separator, length) if length > SMALL else separator.join(texts)

    def joined(self) -> bytes:
        """The whole, for those who have to see it."""
        return self._separator.join(self._texts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := self._next():
            yield piece

    # ---- Source

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self.resume()

    def resume(self) -> None:
        if self._sink is not None and not self._due:
            self._due = True
            self._sink.in_turn(self._step)

    def _step(self) -> bool:
        """Write a piece, if it is wanted."""
        if self._sink is None or not self._sink.writable:
            self._due = False
            return False
        piece = self._next()
        if not piece:
            self._sink.end()
            return False
        self._sink.push(piece)
        return True

    def close(self) -> None:
        self._sink = None
        self._texts = ()

    def _next(self) -> bytes:
        """Some of the texts, and the separator where more follow; empty at the end."""
        texts, at = self._texts, self._at
        if at >= len(texts):
            return b""
        count = max(1, PIECE * len(texts) // max(self.length, 1))
        self._at = at + count
        piece = self._separator.join(texts[at : at + count])
        return piece + self._separator if self._at < len(texts) else piece
