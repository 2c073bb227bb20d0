"""Where a virtual clock's time is kept while no process runs.

It is told each moment before anything happens there, so that time goes on no earlier than what is stored, however the
process ended. For the same after a power failure it would have to wait for the disk at each of them: it does so at most
once a second, and when time has come to rest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from timonel.aio.clock import Clock
from timonel.distro.config import ConfigError, write_private

FLUSH_EVERY = 1.0  # seconds of real time
WIDTH = 31  # characters of a time and what fills the line


class ClockFile:
    def __init__(self, path: Path, start: float, real: Clock) -> None:
        """`start` is the time where there is none yet."""
        self._path, self._real = path, real
        try:
            self.now = float(path.read_text())
        except FileNotFoundError:
            self.now = start
        except (ValueError, UnicodeDecodeError) as exc:
            raise ConfigError(
                f"{path} does not hold a time: {exc}", "Write the seconds since 1970 there"
            ) from exc
        write_private(path, _line(self.now))
        self._handle = os.open(path, os.O_WRONLY)
        self._flushed_at = real.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def moved(self, now: float) -> None:
        self.now = now
        os.pwrite(self._handle, _line(now), 0)
        if self._real.monotonic() - self._flushed_at >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        os.fdatasync(self._handle) if hasattr(os, "fdatasync") else os.fsync(self._handle)
        self._flushed_at = self._real.monotonic()


def _line(now: float) -> bytes:
    return f"{now!r:<{WIDTH}}\n".encode()
