"""What a batch of writes comes to: as if they had been written one after the other."""

from __future__ import annotations

import asyncio
import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from timonel.store.base import Event, Record, StoreError
from timonel.store.memory import MemoryStore
from timonel.store.sqlitebatch import SIZES, Create, Delete, Result, Update, Write, decide, parts

KEYS = ("/r/a", "/r/b", "/r/c")
values = st.binary(max_size=4)
# small revisions, so that some expectations are right
writes = st.lists(
    st.one_of(
        st.builds(Create, st.sampled_from(KEYS), values),
        st.builds(Update, st.sampled_from(KEYS), values, st.integers(2, 9)),
        st.builds(Delete, st.sampled_from(KEYS), st.integers(2, 9)),
    ),
    max_size=12,
)


async def one_by_one(batch: list[Write]) -> tuple[list[type | Record], dict[str, Record]]:
    """The outcomes, and what there is afterwards, of the reference store."""
    store, outcomes = MemoryStore(), list[type | Record]()
    for write in batch:
        try:
            if isinstance(write, Create):
                outcomes.append(await store.create(write.key, write.value))
            elif isinstance(write, Update):
                outcomes.append(await store.update(write.key, write.value, expected=write.expected))
            else:
                outcomes.append(await store.delete(write.key, expected=write.expected))
        except StoreError as error:
            outcomes.append(type(error))
    return outcomes, {record.key: record for record in (await store.list("/")).records}


def told(result: Result) -> type | Record:
    if not isinstance(result, Event):
        return type(result)
    if result.record is not None:
        return result.record
    assert result.previous is not None
    return Record(result.key, result.previous.value, result.previous.created, result.revision)


@given(writes)
def test_a_batch_comes_to_what_its_writes_come_to_one_by_one(batch: list[Write]) -> None:
    outcomes, left = asyncio.run(one_by_one(batch))

    decided = decide(batch, {}, 1)

    assert [told(result) for result in decided.results] == outcomes
    assert {key: revision for key, revision in decided.current.items() if revision} == {
        key: record.modified for key, record in left.items()
    }
    assert [row[0] for row in decided.log] == list(range(2, 2 + len(decided.log)))


@given(writes, writes)
def test_the_next_batch_begins_where_the_last_one_ended(first: list[Write], second: list[Write]) -> None:
    whole = decide([*first, *second], {}, 1)

    before = decide(first, {}, 1)
    now = {
        result.key: result.record
        for result in before.results
        if isinstance(result, Event)
        and result.record is not None
        and before.current[result.key] == result.revision
    }
    after = decide(second, now, 1 + len(before.log))

    assert [*before.log, *after.log] == whole.log


@given(st.integers(0, 200))
def test_parts_hold_every_row_once_in_few_sizes(count: int) -> None:
    rows = [(number,) for number in range(count)]

    found = list(parts(rows))

    assert [row for part in found for row in part] == rows
    assert {len(part) for part in found} <= set(SIZES)


def test_statements_of_many_rows_are_those_that_sqlite_takes() -> None:
    with sqlite3.connect(":memory:") as database:
        limit = database.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)

    assert max(SIZES) * 6 <= limit
