"""Streams a container's log file: the part that was asked for, then what is added to it, over rotation."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from timonel.aio.clock import Clock, wait_until
from timonel.node.inotify import DirectoryWatch
from timonel.node.logs import Formatter, Query, tail_offset

BLOCK = 256 * 1024
CHECK = 1.0  # how often a quiet log's container is asked whether it still runs


async def stream(
    path: Path, query: Query, clock: Clock, is_running: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Ends at the end of the file, or with `follow` when the container has ended and all of its log was sent."""
    formatter = Formatter(query)
    offset = tail_offset(path, query.tail) if query.tail is not None else 0
    if not query.follow:
        with path.open("rb") as file:
            file.seek(offset)
            for piece in _read(file, formatter):
                yield piece
        return
    with DirectoryWatch(path.parent) as watch:
        file = path.open("rb")
        try:
            file.seek(offset)
            while not formatter.is_full:
                watch.changed.clear()
                was_running = is_running()
                for piece in _read(file, formatter):
                    yield piece
                if _was_rotated(path, file):
                    file.close()
                    file = path.open("rb")
                elif not was_running:
                    return
                else:
                    await wait_until(clock, watch.changed, CHECK)
        finally:
            file.close()


def _read(file: BinaryIO, formatter: Formatter) -> Iterator[bytes]:
    """What is there, in pieces of some size; a half written line stays for the next time."""
    rest = b""
    while not formatter.is_full and (data := file.read(BLOCK)):
        data = rest + data
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if piece := formatter.feed_all(data[:end]):
            yield piece
    file.seek(-len(rest), os.SEEK_CUR)


def _was_rotated(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino
    except OSError:
        return False
