"""Container log files in CRI's format: `TIME STREAM F|P TEXT`, P marking a line that goes on. Parsing is pure.

Times lose trailing zeros, so fields are split at spaces and never by column. `Query` is what the log endpoint was asked
for; `Reader` reads a file, over rotation if it follows. Upstream: pkg/kubelet/kuberuntime/logs/logs.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from timonel.objects.meta import parse_time
from timonel.records import dataclass

BLOCK = 64 * 1024
# a line that is whole, and its text; most logs hold no others
_WHOLE = re.compile(rb"^[^ \n]+ std(?:out|err) F(?::[^ \n]*)? (.*\n)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    follow: bool = False
    tail: int | None = None
    since: float | None = None  # seconds since the epoch
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = "All"  # All, Stdout or Stderr


@dataclass(frozen=True, slots=True)
class Line:
    time: bytes
    stream: bytes
    is_whole: bool
    text: bytes  # ends in a newline if it is whole


def parse(raw: bytes) -> Line | None:
    """None for what is no log line, such as one that is half written."""
    parts = raw.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3:
        return None
    time, stream, tags = parts[:3]
    text = parts[3] if len(parts) > 3 else b""
    is_whole = not tags.startswith(b"P")
    return Line(time, stream, is_whole, text + b"\n" if is_whole else text)


def seconds_of(time: bytes) -> float:
    """RFC 3339 with up to nine decimals, in UTC or with an offset of zero."""
    text = time.decode("ascii", "replace").replace("+00:00", "Z")
    return parse_time(text) or 0.0


class Formatter:
    """Log lines to what the client gets; remembers whether it is in the middle of a line."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._left = query.limit_bytes
        self._within = False
        plain = Query(follow=query.follow, tail=query.tail)
        self._takes_everything = query == plain

    @property
    def is_full(self) -> bool:
        return self._left is not None and self._left <= 0

    def feed_all(self, raw: bytes) -> bytes:
        """Any number of lines, each with its end."""
        if self._takes_everything:
            texts = _WHOLE.findall(raw)
            if len(texts) == raw.count(b"\n"):
                return b"".join(texts)
        return b"".join(self.feed(line) for line in lines_of(raw))

    def feed(self, raw: bytes) -> bytes:
        line = parse(raw)
        if line is None:
            return b""
        query = self._query
        if query.stream != "All" and line.stream != query.stream.lower().encode():
            return b""
        if query.since is not None and seconds_of(line.time) < query.since:
            return b""
        prefix = line.time + b" " if query.timestamps and not self._within else b""
        self._within = not line.is_whole
        out = prefix + line.text
        if self._left is not None:
            out = out[: self._left]
            self._left -= len(out)
        return out


def lines_of(text: bytes) -> list[bytes]:
    """Each with its end; a carriage return is none."""
    found = [line + b"\n" for line in text.split(b"\n")]
    last = found.pop()[:-1]
    return [*found, last] if last else found


def select(text: bytes, query: Query) -> bytes:
    """What a query gives of a whole log."""
    lines = lines_of(text)
    if query.tail is not None:
        lines = lines[len(lines) - query.tail :] if query.tail < len(lines) else lines
    formatter = Formatter(query)
    return b"".join(formatter.feed(raw) for raw in lines)


def tail_offset(path: Path, lines: int) -> int:
    """Where the last `lines` whole lines of the log begin; pieces of one line count once."""
    if lines <= 0:
        return path.stat().st_size
    found = 0
    end = path.stat().st_size
    for offset, raw in _backwards(path):
        line = parse(raw)
        if line is not None and line.is_whole:
            found += 1
            if found > lines:
                return end
        end = offset
    return 0


def _backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines from the end, each with where it begins."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            size = min(BLOCK, position)
            position -= size
            file.seek(position)
            data = file.read(size) + rest
            pieces = data.split(b"\n")
            rest = pieces[0]
            offset = position + len(data)
            for piece in reversed(pieces[1:]):
                offset -= len(piece) + 1
                if piece:
                    yield offset + 1, piece + b"\n"
        if rest:
            yield 0, rest + b"\n"


def last_text(path: Path, lines: int, limit: int) -> str:
    """The end of a log as plain text: what a failed container leaves as its message."""
    try:
        offset = tail_offset(path, lines)
        with path.open("rb") as file:
            file.seek(offset)
            formatter = Formatter(Query())
            text = b"".join(formatter.feed(raw) for raw in file)
    except OSError:
        return ""
    return text[-limit:].decode("utf-8", "replace")
