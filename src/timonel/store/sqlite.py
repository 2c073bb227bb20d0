"""A store in one SQLite file: durable, kill -9 safe, with history until it is compacted.

`log` holds every write of the kept history, `current` the newest revision of each living key. All writes go through one
thread: what arrives while it is busy becomes its next transaction, so many concurrent writes share one fsync, each with
a result of its own. Reads use a small pool of connections, each seeing one snapshot (WAL). Watchers are fed by
`aio.broadcast` after the commit; what they missed before is read from `log`.

A full disk fails the writes in flight (Unreachable) and nothing else: the transaction is rolled back and the next one
is tried as usual.

Upstream: k3s-io/kine pkg/drivers/generic, pkg/logstructured (the same table, as one log).
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import operator
import queue
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timonel.aio.broadcast import Broadcast, Lagged
from timonel.aio.threads import Threads
from timonel.store.base import (
    FIRST_REVISION,
    Compacted,
    Corrupt,
    Event,
    FutureRevision,
    Page,
    Record,
    StoreError,
    Unreachable,
)
from timonel.store.memory import BACKLOG, after_prefix
from timonel.store.sqlitebatch import Create, Delete, Result, Update, Write, decide, read_before, write_down

logger = logging.getLogger(__name__)

READERS = 2
REPLAY_BATCH = 1000  # events read at once for a watcher that starts in the past
COMPACT_BATCH = 1000  # revisions forgotten in one transaction, so that writers never wait long
CHECKPOINT_EVERY = 2000  # writes after which the write-ahead log is copied into the database
VACUUM_PAGES = 500  # pages given back to the file system in one transaction; what a writer may wait for
SPARE_PAGES = 2000  # free pages that are kept for what comes next
WAL_LIMIT = 64 << 20  # bytes in the write-ahead log after which it is begun anew
PAGE_SIZE = 4096
CHECKED_AT_START = (
    128 << 20
)  # bytes of a database that is looked through before anything is served from it (0.2 s)

PRAGMAS = (
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 0",  # a checkpoint in the writer would stall all who wait for it: see `_checkpoint`
    f"PRAGMA journal_size_limit = {2 * WAL_LIMIT}",  # of a log that has been longer; one that keeps its size is faster
)
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS log (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, "
    "previous INTEGER NOT NULL, deleted INTEGER NOT NULL, value BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS log_key ON log (key, revision)",
    "CREATE TABLE IF NOT EXISTS current (key TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT OR IGNORE INTO meta VALUES ('compacted', 1)",
    # 0: keys are as they were before they were laid out as upstream's
    "INSERT OR IGNORE INTO meta SELECT 'layout', NOT EXISTS (SELECT 1 FROM log)",
)
COMPACTED = "SELECT value FROM meta WHERE name = 'compacted'"
SET_COMPACTED = "UPDATE meta SET value = ? WHERE name = 'compacted'"
NEWEST = "SELECT max(coalesce((SELECT max(revision) FROM log), 1), (SELECT value FROM meta WHERE name = 'compacted'))"
GET = (
    "SELECT log.key, log.value, log.created, log.revision FROM current "
    "JOIN log ON log.revision = current.revision WHERE current.key = ?"
)
LIST = (
    "SELECT log.key, log.value, log.created, log.revision FROM current JOIN log ON log.revision = current.revision "
    "WHERE current.key >= ? AND current.key < ? AND current.key > ? ORDER BY current.key LIMIT ?"
)
# The same, in the order in which they lie in the file: three times as fast where there are many.
SCAN = (
    "SELECT log.key, log.value, log.created, log.revision FROM log NOT INDEXED "
    "JOIN current ON current.key = log.key AND current.revision = log.revision "
    "WHERE log.key >= ? AND log.key < ? AND log.key > ?"
)
COUNT = "SELECT count(*) FROM current WHERE key >= ? AND key < ? AND key > ?"
LIST_AT = (
    "SELECT log.key, log.value, log.created, log.revision FROM log JOIN "
    "(SELECT max(revision) AS r FROM log WHERE key >= ? AND key < ? AND key > ? AND revision <= ? GROUP BY key) "
    "ON log.revision = r WHERE NOT log.deleted ORDER BY log.key LIMIT ?"
)
COUNT_AT = (
    "SELECT count(*) FROM log JOIN "
    "(SELECT max(revision) AS r FROM log WHERE key >= ? AND key < ? AND key > ? AND revision <= ? GROUP BY key) "
    "ON log.revision = r WHERE NOT log.deleted"
)
AFTER = (
    "SELECT log.key, log.value, log.created, log.revision, log.deleted, old.value, old.created, old.revision FROM log "
    "LEFT JOIN log AS old ON old.revision = log.previous WHERE log.revision > ? ORDER BY log.revision LIMIT ?"
)
FORGET_SUPERSEDED = (
    "DELETE FROM log WHERE revision IN "
    "(SELECT previous FROM log WHERE revision > ? AND revision <= ? AND previous > 0)"
)
FORGET_TOMBSTONES = "DELETE FROM log WHERE deleted AND revision <= ?"
LAYOUT = "SELECT value FROM meta WHERE name = 'layout'"
MOVE = (
    "UPDATE log SET key = moved(key)",
    "UPDATE current SET key = moved(key)",
    "UPDATE meta SET value = 1 WHERE name = 'layout'",
)
VACUUM = f"PRAGMA incremental_vacuum({VACUUM_PAGES})"
FREE_PAGES = "PRAGMA freelist_count"
CHECK = "PRAGMA quick_check(1)"
SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
BEGIN_LOG_ANEW = ("PRAGMA busy_timeout = 0", "PRAGMA wal_checkpoint(RESTART)", "PRAGMA busy_timeout = 5000")
NO_LIMIT = -1
MANY = 10_000  # records that are not looked up one by one

_key = operator.itemgetter(0)


def translated(error: sqlite3.Error) -> StoreError:
    text = str(error)
    if isinstance(error, sqlite3.OperationalError):
        if "full" in text:
            return Unreachable("the disk is full: free some space, the store carries on by itself")
        if "I/O" in text:  # also what a full disk looks like where it is met outside of a plain write
            name = getattr(error, "sqlite_errorname", "SQLITE_IOERR")
            return Unreachable(
                f"the disk cannot be written or read ({name}): it may be full or broken; "
                "once it works the store carries on by itself"
            )
        if "malformed" not in text:
            return Unreachable(f"the database cannot be used now: {text}")
    return Corrupt(f"the database file is damaged: {text}")


def opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    for pragma in PRAGMAS:
        connection.execute(pragma).close()
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself where the disk is full
            connection.execute("ROLLBACK")
        raise


class SqliteStore:
    """Open it with `await SqliteStore.open(path)`; who opens it closes it."""

    shared = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer_threads = Threads("store-writer")
        self._reader_threads = Threads("store-reader", READERS)
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._events: Broadcast[Event] = Broadcast(BACKLOG)
        self._pending: list[tuple[Write, asyncio.Future[Event]]] = []
        self._writing = False
        self._closed = False
        self._since_checkpoint = 0
        self._checkpointing = False
        self._revision = 0
        self._damage = ""  # found by the check beside the server
        self._checker: sqlite3.Connection | None = None
        self._connection: sqlite3.Connection

    @classmethod
    async def open(cls, path: Path, *, moved: Callable[[str], str] | None = None) -> SqliteStore:
        """Raises Corrupt where the file is no database, Unreachable where it cannot be opened or made.

        `moved` gives the keys of a database that was made before keys were laid out as upstream's their new names.
        """
        store = cls(path)
        try:
            await store._writer_threads.run(store._open, moved)
        except sqlite3.Error as error:
            await store.close()
            raise translated(error) from error
        except Corrupt:
            await store.close()
            raise
        return store

    def _open(self, moved: Callable[[str], str] | None) -> None:
        self._connection = opened(self._path)
        self._path.chmod(0o600)
        with transaction(self._connection):
            for statement in SCHEMA:
                self._connection.execute(statement)
            if moved is not None and not self._connection.execute(LAYOUT).fetchone()[0]:
                self._connection.create_function("moved", 1, moved, deterministic=True)
                for statement in MOVE:
                    self._connection.execute(statement)
        for _ in range(READERS):
            self._readers.put(opened(self._path))
        self._revision = self._connection.execute(NEWEST).fetchone()[0]
        if self._connection.execute(SIZE).fetchone()[0] <= CHECKED_AT_START:
            if problem := self._looked_through(self._connection):
                raise Corrupt(f"the database file is damaged: {problem}")
        else:
            self._checker = opened(self._path)

    @staticmethod
    def _looked_through(db: sqlite3.Connection) -> str:
        """What is wrong with the file; empty where nothing is."""
        found = str(db.execute(CHECK).fetchone()[0])
        return "" if found == "ok" else found

    async def check(self) -> str:
        """What is wrong with a file that was too large to be looked through when it was opened; once.

        It runs beside everything else. From then on a damaged file is not written to any more.
        """
        if self._checker is None:
            return ""
        threads = Threads("store-check")
        try:
            self._damage = await threads.run(self._looked_through, self._checker)
        except sqlite3.Error as error:
            self._damage = "" if self._closed else str(error)
        finally:
            threads.close()
            checker, self._checker = self._checker, None
            if checker is not None:
                checker.close()
        return self._damage

    # ---- reads

    async def get(self, key: str) -> Record | None:
        row = await self._read(lambda db: db.execute(GET, (key,)).fetchone())
        return Record(*row) if row else None

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        span = (prefix, after_prefix(prefix), after)

        def read(db: sqlite3.Connection) -> Page:
            newest = db.execute(NEWEST).fetchone()[0]
            if revision > newest:
                raise FutureRevision(f"revision {revision} is newer than {newest}")
            if revision and revision < (oldest := db.execute(COMPACTED).fetchone()[0]):
                raise Compacted(f"revision {revision} is older than {oldest}")
            if revision and revision != newest:
                rows = db.execute(LIST_AT, (*span, revision, limit or NO_LIMIT)).fetchall()
                total = db.execute(COUNT_AT, (*span, revision)).fetchone()[0] if limit else len(rows)
            else:
                total = db.execute(COUNT, span).fetchone()[0]
                if limit or total < MANY:
                    rows = db.execute(LIST, (*span, limit or NO_LIMIT)).fetchall()
                else:
                    rows = sorted(db.execute(SCAN, span), key=_key)
            return Page([Record(*row) for row in rows], revision or newest, total - len(rows))

        page: Page = await self._read(read)
        return page

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Event]]:
        after = max(after, FIRST_REVISION)
        with self._events.subscribe() as subscription:
            target = self._revision
            while after < target:
                past = await self._past(after)
                if found := [e for e in past if e.key.startswith(prefix)]:
                    yield found
                after = past[-1].revision if past else target
            if after < await self._read(lambda db: db.execute(COMPACTED).fetchone()[0]):
                raise Compacted(f"revision {after} is compacted")
            while True:
                try:
                    batch = await subscription.next()
                except Lagged as error:
                    raise Compacted("the watcher was too slow") from error
                if found := [e for e in batch if e.revision > after and e.key.startswith(prefix)]:
                    yield found

    async def _past(self, after: int) -> builtins.list[Event]:
        def read(db: sqlite3.Connection) -> builtins.list[Any]:
            if after < (oldest := db.execute(COMPACTED).fetchone()[0]):
                raise Compacted(f"revision {after} is older than {oldest}")
            return db.execute(AFTER, (after, REPLAY_BATCH)).fetchall()

        return [
            Event(
                key,
                revision,
                None if deleted else Record(key, value, created, revision),
                Record(key, old_value, old_created, old_revision) if old_revision else None,
            )
            for key, value, created, revision, deleted, old_value, old_created, old_revision in await self._read(
                read
            )
        ]

    async def revision(self) -> int:
        return self._revision

    async def barrier(self) -> int:
        return self._revision

    async def _read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        def with_reader() -> Any:
            connection = self._readers.get()
            try:
                with transaction(connection, "BEGIN"):
                    return work(connection)
            except sqlite3.Error as error:
                raise translated(error) from error
            finally:
                self._readers.put(connection)

        if self._closed:
            raise Unreachable("the store is closed")
        return await self._reader_threads.run(with_reader)

    # ---- writes

    async def create(self, key: str, value: bytes) -> Record:
        event = await self._write(Create(key, value))
        assert event.record is not None
        return event.record

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        event = await self._write(Update(key, value, expected))
        assert event.record is not None
        return event.record

    async def delete(self, key: str, *, expected: int) -> Record:
        event = await self._write(Delete(key, expected))
        assert event.previous is not None
        return Record(key, event.previous.value, event.previous.created, event.revision)

    async def _write(self, write: Write) -> Event:
        if self._closed:
            raise Unreachable("the store is closed")
        if self._damage:
            raise Corrupt(f"the database file is damaged: {self._damage}")
        done: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._pending.append((write, done))
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._flush)  # with what else comes in this turn of the loop
        return await done

    def _flush(self) -> None:
        batch, self._pending = self._pending, []
        work = self._writer_threads.submit(self._commit, [write for write, _ in batch])

        def committed(results: asyncio.Future[builtins.list[Result]]) -> None:
            error = results.exception()
            failed = Unreachable(f"the write failed: {error!r}")
            self._answer(batch, [failed] * len(batch) if error is not None else results.result())
            if self._pending:
                self._flush()
            else:
                self._writing = False

        work.add_done_callback(committed)

    def _answer(
        self, batch: builtins.list[tuple[Write, asyncio.Future[Event]]], results: builtins.list[Result]
    ) -> None:
        events = [r for r in results if isinstance(r, Event)]
        if events:
            self._revision = events[-1].revision
            self._events.publish(events)
            self._since_checkpoint += len(events)
            if self._since_checkpoint >= CHECKPOINT_EVERY and not self._checkpointing and not self._closed:
                self._begin_checkpoint()
        for (_, done), result in zip(batch, results, strict=True):
            if done.done():  # the caller was cancelled; the write happened all the same
                continue
            if isinstance(result, Event):
                done.set_result(result)
            else:
                done.set_exception(result)

    def _commit(self, writes: builtins.list[Write]) -> builtins.list[Result]:
        """In the writer thread: one transaction for all of them."""
        db = self._connection
        try:
            with transaction(db):
                decided = decide(writes, read_before(db, writes), db.execute(NEWEST).fetchone()[0])
                write_down(db, decided)
        except sqlite3.Error as error:
            return [translated(error) for _ in writes]
        return decided.results

    # ---- upkeep

    def _begin_checkpoint(self) -> None:
        """Beside the writer, in a reader's thread: passive, so that nobody waits for it."""
        self._since_checkpoint = 0
        self._checkpointing = True

        def copied(result: asyncio.Future[bool]) -> None:
            failed = result.cancelled() or told(result)
            if not failed and result.result() and not self._closed:
                self._writer_threads.submit(self._begin_log_anew).add_done_callback(done)
            else:
                self._checkpointing = False

        def done(result: asyncio.Future[None]) -> None:
            self._checkpointing = False
            told(result)

        def told(result: asyncio.Future[Any]) -> bool:
            error = result.exception()
            if error is not None:
                logger.warning("Failed to checkpoint the database", extra={"error": str(error)})
            return error is not None

        self._reader_threads.submit(self._checkpoint).add_done_callback(copied)

    def _checkpoint(self) -> bool:
        """Whether the log has become long: while others write it is never all copied, and so goes on growing."""
        connection = self._readers.get()
        try:
            _, pages, _ = connection.execute(CHECKPOINT).fetchone()
        finally:
            self._readers.put(connection)
        return bool(pages * PAGE_SIZE > WAL_LIMIT)

    def _begin_log_anew(self) -> None:
        """In the writer's thread: copies the little that is left, and writes over what was copied. Not now if somebody
        reads from the log; nobody is waited for."""
        for statement in BEGIN_LOG_ANEW:
            self._connection.execute(statement).fetchall()

    async def compact(self, revision: int) -> None:
        target = min(revision, self._revision)
        done = False
        while not done:
            try:
                done = await self._writer_threads.run(self._compact_step, target)
            except sqlite3.Error as error:
                raise translated(error) from error
        try:
            await self.shrink()
        except sqlite3.Error as error:
            raise translated(error) from error
        if not self._checkpointing and not self._closed:
            self._begin_checkpoint()  # the file itself becomes shorter with it

    def _compact_step(self, target: int) -> bool:
        """Forget a part; whether the target is reached."""
        db = self._connection
        with transaction(db):
            start = db.execute(COMPACTED).fetchone()[0]
            end = min(target, start + COMPACT_BATCH)
            if end > start:
                db.execute(FORGET_SUPERSEDED, (start, end))
                db.execute(FORGET_TOMBSTONES, (end,))
                db.execute(SET_COMPACTED, (end,))
        return bool(end >= target)

    async def shrink(self) -> None:
        """Give free pages back to the file system, a few at a time: writers come in between."""
        free = await self._writer_threads.run(self._shrink_step)
        while free > SPARE_PAGES and not self._closed:
            left = await self._writer_threads.run(self._shrink_step)
            if left >= free:
                return
            free = left

    def _shrink_step(self) -> int:
        """Pages that are free after it."""
        db = self._connection
        free = int(db.execute(FREE_PAGES).fetchone()[0])
        if free <= SPARE_PAGES:
            return free
        db.execute(VACUUM).fetchall()
        return int(db.execute(FREE_PAGES).fetchone()[0])

    async def close(self) -> None:
        """Waits for what is being written."""
        self._closed = True
        if self._checker is not None:
            self._checker.interrupt()
        while self._writing:
            await self._writer_threads.run(lambda: None)
        self._reader_threads.close()  # first: then all connections are back
        await self._writer_threads.run(self._close)
        self._writer_threads.close()

    def _close(self) -> None:
        while not self._readers.empty():
            self._readers.get().close()
        if hasattr(self, "_connection"):
            self._connection.close()
