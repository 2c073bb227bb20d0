"""Audit events as lines of JSON in a file, which is rotated by size and cleared by age and number.

Upstream: apiserver/plugin/pkg/audit/log/backend.go, gopkg.in/natefinch/lumberjack.v2.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson

from timonel.objects.meta import Object
from timonel.records import dataclass

MEGABYTE = 1024 * 1024
DAY = 86400.0
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}")
STANDARD_OUTPUT = "-"


@dataclass(frozen=True, slots=True)
class Rotation:
    """0 means: no limit; of `max_size` 100 megabytes, as lumberjack has it."""

    max_age: int = 0  # days
    max_backups: int = 0
    max_size: int = 0  # megabytes
    compress: bool = False


class LogFile:
    """Writes at once: an event that `write` has returned from is with the operating system. Raises OSError."""

    def __init__(self, path: str, rotation: Rotation, now: Callable[[], float]) -> None:
        self._path = path
        self._rotation = rotation
        self._now = now
        self._limit = (rotation.max_size or 100) * MEGABYTE
        self._handle = -1
        self._size = 0

    def write(self, events: Sequence[Object]) -> None:
        text = b"".join(encoded(event) + b"\n" for event in events)
        if self._path == STANDARD_OUTPUT:
            _write_all(1, text)
            return
        if self._handle < 0:
            self._open()
        if self._size and self._size + len(text) > self._limit:
            self._rotate()
        _write_all(self._handle, text)
        self._size += len(text)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._handle).st_size

    def _rotate(self) -> None:
        self.close()
        backup = backup_name(Path(self._path), self._now())
        os.replace(self._path, backup)
        if self._rotation.compress:
            _compress(backup)
        self._open()
        for old in outdated(backups(Path(self._path)), self._rotation, self._now()):
            with suppress(OSError):
                old.unlink()


def encoded(event: Object) -> bytes:
    """Also of what orjson does not take, such as numbers of more than 64 bits."""
    try:
        return orjson.dumps(event)
    except TypeError:
        return json.dumps(event, default=str).encode()


def backup_name(path: Path, now: float) -> Path:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
    return path.with_name(f"{path.stem}-{stamp}{path.suffix}")


def backups(path: Path) -> list[tuple[str, Path]]:
    """Earlier files by their stamp, newest first."""
    found = []
    for each in path.parent.glob(f"{path.stem}-*"):
        name = each.name.removesuffix(".gz")
        stamp = name.removeprefix(f"{path.stem}-").removesuffix(path.suffix)
        if STAMP.fullmatch(stamp):
            found.append((stamp, each))
    return sorted(found, reverse=True)


def outdated(found: Sequence[tuple[str, Path]], rotation: Rotation, now: float) -> list[Path]:
    """Those that are to go: too many, or too old."""
    kept = list(found)
    gone = []
    if rotation.max_backups:
        gone += [path for _, path in kept[rotation.max_backups :]]
        kept = kept[: rotation.max_backups]
    if rotation.max_age:
        oldest = backup_name(Path("x"), now - rotation.max_age * DAY).name.removeprefix("x-")
        gone += [path for stamp, path in kept if stamp < oldest]
    return gone


def _compress(path: Path) -> None:
    packed = path.with_name(f"{path.name}.gz")
    with path.open("rb") as source, gzip.open(packed, "wb") as target:
        while chunk := source.read(MEGABYTE):
            target.write(chunk)
    path.unlink()


def _write_all(handle: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(handle, view) :]
