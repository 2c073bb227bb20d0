"""A short run of the torture for each backend, and that its judge finds what is planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.histories import DELETED, Commit, Read, Watched, Write, problems
from tests.faults.torture import torture

LOG = (Commit(5, "a", "1"), Commit(6, "a", "2"), Commit(7, "b", "3"), Commit(9, "a", DELETED))
WRITES = (
    Write("a", "1", 0, 0.0, 1.0, 5),
    Write("a", "2", 5, 2.0, 3.0, 6),
    Write("b", "3", 0, 2.5, 3.5, 7),
    Write("a", DELETED, 6, 4.0, 5.0, 0, done=True),
    Write("b", "never", 7, 4.0, 5.0, 0),
)
READS = (Read("a", 3.1, 6), Read("b", 0.0, 0), Read("a", 6.0, 0))
WATCH = Watched(5, [(6, "a", False), (7, "b", False), (9, "a", True)])


def test_a_true_history_is_found_so() -> None:
    assert list(problems(LOG, WRITES, READS, [WATCH])) == []


@pytest.mark.parametrize(
    ("log", "writes", "reads", "watches"),
    [
        (LOG[1:], WRITES, (), ()),  # acknowledged, and lost
        (LOG[:3], WRITES, (), ()),  # a deletion, likewise
        ((*LOG[:2], replace(LOG[2], revision=6), LOG[3]), WRITES, (), ()),  # a revision twice
        (LOG, (*WRITES, replace(WRITES[2], key="c", value="4")), (), ()),  # told twice
        (LOG, WRITES[1:], (), ()),  # from nowhere
        (LOG, (WRITES[0], replace(WRITES[1], expected=4), *WRITES[2:]), (), ()),  # upon another revision
        (LOG, (WRITES[0], WRITES[1], replace(WRITES[2], ended=1.0), *WRITES[3:]), (), ()),  # out of order
        (LOG, WRITES, (Read("a", 3.1, 5),), ()),  # an old read
        (LOG, WRITES, (Read("b", 4.0, 0),), ()),  # nothing where something was
        (LOG, WRITES, (Read("a", 3.1, 8),), ()),  # something that never was
        (LOG, WRITES, (), [Watched(5, WATCH.events[1:])]),  # a gap at the start
        (LOG, WRITES, (), [Watched(5, [WATCH.events[0], WATCH.events[2]])]),  # a gap
        (LOG, WRITES, (), [Watched(5, [WATCH.events[0], *WATCH.events])]),  # twice
    ],
)
def test_what_cannot_be_true_is_found(log, writes, reads, watches) -> None:  # type: ignore[no-untyped-def]
    assert list(problems(log, writes, reads, watches))


@pytest.mark.parametrize(("backend", "rounds"), [("sqlite", 3), ("etcd", 3)])
def test_kills_under_load_lose_and_repeat_nothing(tmp_path: Path, backend: str, rounds: int) -> None:
    verdict = torture(tmp_path, backend, rounds=rounds, seed=1)

    assert verdict.problems == []
    assert verdict.acknowledged > 50
    assert verdict.watched > 50
