"""Whether what clients were told can be true: their histories held against all that was committed. No I/O.

As Jepsen does: every client notes what it asked, when, and what it was answered; a write that got no answer may have
happened or not. The log is the truth: all commits in order, as the store itself tells them afterwards.

    no acknowledged write is lost      it is in the log, once, with the revision that was told
    no revision is used twice          in the log, nor told for two writes
    nothing comes from nowhere         each commit is a write that somebody has asked for
    compare and swap holds             a write that named a revision follows that very one of its key
    what is answered is in the past    a write that began after another was answered has a later revision; a read that
                                       began then shows it or something later
    watches are the log                what a watcher saw is the log from where it began, each commit once, in order
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

DELETED = ""


@dataclass(frozen=True, slots=True)
class Commit:
    revision: int
    key: str
    value: str  # DELETED


@dataclass(frozen=True, slots=True)
class Write:
    """`expected` is the revision that was named, 0 for a create. `revision` is 0 where none was told: no answer came,
    or one that does not tell it (`done`)."""

    key: str
    value: str
    expected: int
    begun: float
    ended: float
    revision: int
    done: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """`revision` is that of the object, 0 where there was none."""

    key: str
    begun: float
    revision: int


@dataclass(slots=True)
class Watched:
    """What one watch showed after it began at `start`: as (revision, key, deleted), and how far it got."""

    start: int
    events: list[tuple[int, str, bool]] = field(default_factory=list)


def problems(
    log: Sequence[Commit], writes: Sequence[Write], reads: Sequence[Read], watches: Iterable[Watched]
) -> Iterator[str]:
    yield from _log_problems(log)
    yield from _write_problems(log, writes)
    yield from _order_problems(writes)
    yield from _read_problems(log, writes, reads)
    for watched in watches:
        yield from _watch_problems(log, watched)


def _log_problems(log: Sequence[Commit]) -> Iterator[str]:
    for before, after in itertools.pairwise(log):
        if after.revision <= before.revision:
            yield f"revision {after.revision} comes after {before.revision}"


def _write_problems(log: Sequence[Commit], writes: Sequence[Write]) -> Iterator[str]:
    by_revision = {commit.revision: commit for commit in log}
    told: dict[int, Write] = {}
    untold = {(w.key, w.value, w.expected): w for w in writes if not w.revision}
    for write in writes:
        if not write.revision:
            continue
        if write.revision in told:
            yield f"revision {write.revision} was told twice: {write} and {told[write.revision]}"
        told[write.revision] = write
        commit = by_revision.get(write.revision)
        if commit is None or (commit.key, commit.value) != (write.key, write.value):
            yield f"acknowledged, and lost: {write}; there is {commit}"
    last: dict[str, int] = {}  # 0: deleted, or never there
    for commit in log:
        before = last.get(commit.key, 0)
        asked = told.get(commit.revision)
        if asked is not None and asked.expected != before:
            yield f"{asked} was done upon {before}"
        elif asked is None and untold.pop((commit.key, commit.value, before), None) is None:
            yield f"nobody asked for {commit}"
        last[commit.key] = 0 if commit.value == DELETED else commit.revision
    yield from (f"acknowledged, and lost: {write}" for write in untold.values() if write.done)


def _order_problems(writes: Sequence[Write]) -> Iterator[str]:
    answered = [w for w in writes if w.revision]
    by_begin = sorted(answered, key=lambda w: w.begun)
    by_end = iter(sorted(answered, key=lambda w: w.ended))
    newest, ended = 0, next(by_end, None)
    for write in by_begin:
        while ended is not None and ended.ended < write.begun:
            newest = max(newest, ended.revision)
            ended = next(by_end, None)
        if write.revision <= newest:
            yield f"{write} began after revision {newest} was answered"


def _read_problems(log: Sequence[Commit], writes: Sequence[Write], reads: Sequence[Read]) -> Iterator[str]:
    history: dict[str, list[Commit]] = {}
    for commit in log:
        history.setdefault(commit.key, []).append(commit)
    answered: dict[str, list[Write]] = {}
    for write in writes:
        if write.revision:
            answered.setdefault(write.key, []).append(write)
    for read in reads:
        due = max((w.revision for w in answered.get(read.key, ()) if w.ended < read.begun), default=0)
        commits = history.get(read.key, [])
        if read.revision:
            if read.revision < due:
                yield f"{read} is older than {due}, which had been answered"
            if not any(c.revision == read.revision and c.value != DELETED for c in commits):
                yield f"{read} shows what was never committed"
        elif due and not any(c.revision >= due and c.value == DELETED for c in commits):
            yield f"{read} misses {due}, which had been answered"


def _watch_problems(log: Sequence[Commit], watched: Watched) -> Iterator[str]:
    if not watched.events:
        return
    end = watched.events[-1][0]
    expected = [(c.revision, c.key, c.value == DELETED) for c in log if watched.start < c.revision <= end]
    if watched.events != expected:
        seen, due = set(watched.events), set(expected)
        yield (
            f"a watch from {watched.start} to {end} missed {sorted(due - seen)[:5]}, "
            f"invented {sorted(seen - due)[:5]}, saw {len(watched.events)} of {len(expected)}"
        )
