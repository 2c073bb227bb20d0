"""Writes that share one transaction of SQLite: what each comes to, in few statements.

The statements are few because each of them costs the writer's thread a turn at the interpreter's lock, and another
one for every row: what is there is read at once, and what is new goes in by statements of many rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from timonel.records import dataclass
from timonel.store.base import Event, KeyExists, KeyMissing, Record, RevisionConflict, StoreError

SIZES = (32, 16, 8, 4, 2, 1)  # rows of one statement: a few sizes, so that few statements are prepared

BEFORE = (
    "SELECT log.key, log.value, log.created, log.revision FROM json_each(?) AS wanted "
    "CROSS JOIN current ON current.key = wanted.value CROSS JOIN log ON log.revision = current.revision"
)
APPEND = "INSERT INTO log (revision, key, created, previous, deleted, value) VALUES {}"
POINT = "INSERT INTO current (key, revision) VALUES {} ON CONFLICT (key) DO UPDATE SET revision = excluded.revision"
UNPOINT = "DELETE FROM current WHERE key IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Create:
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Update:
    key: str
    value: bytes
    expected: int


@dataclass(frozen=True, slots=True)
class Delete:
    key: str
    expected: int


Write = Create | Update | Delete
Result = Event | StoreError


@dataclass(slots=True)
class Decided:
    """What becomes of the writes, in their order, and the rows that say so."""

    results: list[Result] = field(default_factory=list)
    log: list[tuple[Any, ...]] = field(default_factory=list)
    current: dict[str, int] = field(default_factory=dict)  # key -> its newest revision; 0: it is gone


def decide(writes: Iterable[Write], before: Mapping[str, Record], revision: int) -> Decided:
    """`before` has the records of the keys that exist, `revision` is the newest one. Later writes see earlier ones."""
    decided = Decided()
    now = dict(before)
    for write in writes:
        old = now.get(write.key)
        error = _refused(write, old)
        if error is not None:
            decided.results.append(error)
            continue
        revision += 1
        new = _written(write, old, revision)
        _note(decided, write.key, old, new, revision)
        if new is None:
            del now[write.key]
        else:
            now[write.key] = new
    return decided


def _refused(write: Write, old: Record | None) -> StoreError | None:
    if isinstance(write, Create):
        return None if old is None else KeyExists(write.key)
    if old is None:
        return KeyMissing(write.key)
    if old.modified != write.expected:
        return RevisionConflict(f"{write.key} is at {old.modified}, not {write.expected}")
    return None


def _written(write: Write, old: Record | None, revision: int) -> Record | None:
    if isinstance(write, Delete):
        return None
    return Record(write.key, write.value, old.created if old else revision, revision)


def _note(decided: Decided, key: str, old: Record | None, new: Record | None, revision: int) -> None:
    created = new.created if new is not None else old.created if old is not None else revision
    value = new.value if new is not None else b""
    decided.log.append((revision, key, created, old.modified if old else 0, int(new is None), value))
    decided.current[key] = revision if new is not None else 0
    decided.results.append(Event(key, revision, new, old))


def read_before(db: sqlite3.Connection, writes: Iterable[Write]) -> dict[str, Record]:
    keys = json.dumps(list({write.key for write in writes}))
    return {row[0]: Record(*row) for row in db.execute(BEFORE, (keys,))}


def write_down(db: sqlite3.Connection, decided: Decided) -> None:
    """Within a transaction."""
    _insert(db, APPEND, decided.log)
    _insert(db, POINT, [item for item in decided.current.items() if item[1]])
    if gone := [key for key, revision in decided.current.items() if not revision]:
        db.execute(UNPOINT, (json.dumps(gone),))


def _insert(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for part in parts(rows):
        places = f"({', '.join('?' * len(part[0]))})"
        values = [value for row in part for value in row]
        db.execute(statement.format(", ".join([places] * len(part))), values)


def parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows in as few parts as their sizes allow."""
    at = 0
    for size in SIZES:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size
