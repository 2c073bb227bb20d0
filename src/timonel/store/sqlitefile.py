"""A store's database file as a whole, for those who do not serve from it: read at one moment, made anew, looked over.

Reading goes on beside a server that writes: it is one transaction, which sees one revision (WAL).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from timonel.records import dataclass
from timonel.store import sqlite
from timonel.store.base import Corrupt, Record

BATCH = 1000
EVERYTHING = (
    "SELECT log.key, log.value, log.created, log.revision FROM current "
    "JOIN log ON log.revision = current.revision ORDER BY current.key"
)

APPEND = "INSERT INTO log (revision, key, created, previous, deleted, value) VALUES (?, ?, ?, ?, ?, ?)"
POINT = "INSERT INTO current (key, revision) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Snapshot:
    revision: int
    count: int
    records: Iterator[Record]


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """For the length of the block. Raises Corrupt, Unreachable, FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(2, "there is no database", str(path))
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as db:
            db.execute("PRAGMA busy_timeout = 5000").close()
            db.execute("BEGIN").close()
            layout = db.execute(sqlite.LAYOUT).fetchone()
            if layout is None or not layout[0]:
                raise Corrupt(
                    "the database is of an older version: start its cluster once, which brings it up to date"
                )
            revision = db.execute(sqlite.NEWEST).fetchone()[0]
            count = db.execute("SELECT count(*) FROM current").fetchone()[0]
            yield Snapshot(revision, count, (Record(*row) for row in db.execute(EVERYTHING)))
    except sqlite3.Error as error:
        raise sqlite.translated(error) from error


def make(path: Path, records: Iterable[Record], *, revision: int) -> None:
    """A new database that holds these records, whose history begins at `revision`: who asks for what was before is
    told that it is gone."""
    try:
        with closing(sqlite.opened(path)) as db:
            path.chmod(0o600)
            db.execute("PRAGMA synchronous = OFF").close()  # synced once, at the end
            with sqlite.transaction(db):
                for statement in sqlite.SCHEMA:
                    db.execute(statement).close()
                for record in records:
                    row = (record.modified, record.key, record.created, 0, 0, record.value)
                    db.execute(APPEND, row).close()
                    db.execute(POINT, (record.key, record.modified)).close()
                db.execute(sqlite.SET_COMPACTED, (revision,)).close()
            db.execute("PRAGMA synchronous = FULL").close()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        raise sqlite.translated(error) from error
