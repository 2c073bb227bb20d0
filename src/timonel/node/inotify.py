"""Waits for changes in a directory through inotify(7), so that following a log costs nothing while it is quiet."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """A context: inside it, `changed` is set whenever something was written, made, moved or deleted there."""

    def __init__(self, directory: Path) -> None:
        self.changed = asyncio.Event()
        self._directory = directory
        self._fd = -1

    def __enter__(self) -> DirectoryWatch:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "inotify (see fs.inotify.max_user_instances)")
        wanted = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
        if _libc.inotify_add_watch(self._fd, bytes(self._directory), wanted) < 0:
            number = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(number, os.strerror(number), str(self._directory))
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(self, *exc: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 65536)
        self.changed.set()
