"""A backup in one file: everything that is stored, as of one revision, and the keys if they are wanted.

    TIMONEL BACKUP 1\\n | length of the header, 4 bytes | header, JSON | records, compressed | SHA-256 of all before it

A record is four numbers (length of key, length of value, created, modified) and the bytes of both. The form is the same
for every store, so that what was saved from a file can be restored into etcd, and back. Encrypted values stay so.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from timonel.records import dataclass
from timonel.store.base import Record

MAGIC = b"TIMONEL BACKUP 1\n"
RECORD = struct.Struct(">IIQQ")
LENGTH = struct.Struct(">I")
DIGEST = 32
BLOCK = 1 << 20
MOST_HEADER = 64 << 20
KEEP_TOGETHER = ("ca.", "sa.", "front-proxy-ca.", "encryption.")  # files of pki/ that cannot be made anew


class NotABackup(Exception):
    """A file that is none, or is damaged; the message says which."""


@dataclass(frozen=True, slots=True)
class Header:
    cluster: str
    created: float  # seconds since the epoch
    revision: int
    count: int
    root: str  # what keys began with when secrets were sealed
    store: str
    settings: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)  # files of pki/, as text in Latin-1


class Writer:
    """`add` records, then `finish`: only then is there a file of this name. Else call `abandon`."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._fresh = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._digest = hashlib.sha256()
        self._packer = zlib.compressobj(1)
        text = orjson.dumps(asdict(header))
        self._write(MAGIC + LENGTH.pack(len(text)) + text)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)

    def add(self, record: Record) -> None:
        key = record.key.encode()
        head = RECORD.pack(len(key), len(record.value), record.created, record.modified)
        self._write(self._packer.compress(head + key + record.value))

    def finish(self, *, replace: bool = False) -> None:
        """Raises FileExistsError where there is a file already, unless it may be replaced."""
        self._write(self._packer.flush())
        self._file.write(self._digest.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if replace:
            os.replace(self._fresh, self._path)
        else:
            os.link(self._fresh, self._path)
            self._fresh.unlink()

    def abandon(self) -> None:
        self._file.close()
        self._fresh.unlink(missing_ok=True)


def read_header(path: Path) -> Header:
    """Without looking at the rest. Raises NotABackup, OSError."""
    with path.open("rb") as file:
        return _header(file, hashlib.sha256())


def _header(file: BinaryIO, digest: Any) -> Header:
    start = file.read(len(MAGIC) + LENGTH.size)
    if not start.startswith(MAGIC) or len(start) < len(MAGIC) + LENGTH.size:
        raise NotABackup("it is no backup of this program, or of a newer version of it")
    (length,) = LENGTH.unpack_from(start, len(MAGIC))
    text = file.read(min(length, MOST_HEADER))
    digest.update(start + text)
    try:
        return Header(**orjson.loads(text))
    except (ValueError, TypeError) as error:
        raise NotABackup("its header is damaged") from error


def check(path: Path) -> Header:
    """Compares the whole file with its checksum. Raises NotABackup, OSError."""
    digest = hashlib.sha256()
    left = path.stat().st_size - DIGEST
    with path.open("rb") as file:
        header = _header(file, digest)
        left -= file.tell()
        while left > 0 and (block := file.read(min(BLOCK, left))):
            digest.update(block)
            left -= len(block)
        if left or file.read(DIGEST) != digest.digest():
            raise NotABackup("it is damaged or not whole: its checksum is another one")
    return header


def read_records(path: Path) -> Iterator[Record]:
    """Of a file that has been checked."""
    unpacker, buffer = zlib.decompressobj(), b""
    left = path.stat().st_size - DIGEST
    with path.open("rb") as file:
        _header(file, hashlib.sha256())
        left -= file.tell()
        while left > 0:
            block = file.read(min(BLOCK, left))
            left -= len(block)
            buffer += unpacker.decompress(block)
            if not left:
                buffer += unpacker.flush()
            at = 0
            while (record := _record_at(buffer, at)) is not None:
                yield record[0]
                at = record[1]
            buffer = buffer[at:]


def _record_at(buffer: bytes, at: int) -> tuple[Record, int] | None:
    """The record and where the next begins; None where it is not whole yet."""
    if len(buffer) < at + RECORD.size:
        return None
    key_length, value_length, created, modified = RECORD.unpack_from(buffer, at)
    start = at + RECORD.size
    end = start + key_length + value_length
    if len(buffer) < end:
        return None
    key = buffer[start : start + key_length].decode()
    return Record(key, buffer[start + key_length : end], created, modified), end


def keys_in(folder: Path) -> dict[str, str]:
    """The files of pki/ that a cluster cannot be restored without."""
    found = sorted(p for p in folder.iterdir() if p.name.startswith(KEEP_TOGETHER))
    return {p.name: p.read_bytes().decode("latin-1") for p in found}


async def pages(store: Any, revision: int, size: int = 1000) -> AsyncIterator[Sequence[Record]]:
    """All records of a store as of a revision."""
    after = ""
    while True:
        page = await store.list("/", limit=size, after=after, revision=revision)
        if page.records:
            yield page.records
            after = page.records[-1].key
        if not page.remaining:
            return
