"""Logs are formatted in blocks of many lines: with the same result as line by line, and over any boundary."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.aio.clock import VirtualClock
from timonel.node import logreader
from timonel.node.logs import Formatter, Query, lines_of, select

TIME = b"2026-11-25T16:02:33.3Z"
TEXTS = st.binary(max_size=30).map(lambda text: text.replace(b"\n", b""))
TAGS = st.sampled_from((b"F", b"P", b"F:other"))
LINES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from((b"stdout", b"stderr")), TAGS, TEXTS).map(
            lambda p: b" ".join((TIME, *p)) + b"\n"
        ),
        TEXTS.map(lambda text: text + b"\n"),  # no log line at all
    ),
    max_size=12,
)
QUERIES = st.builds(
    Query,
    follow=st.booleans(),
    timestamps=st.booleans(),
    limit_bytes=st.one_of(st.none(), st.integers(0, 60)),
    stream=st.sampled_from(("All", "Stdout", "Stderr")),
)


def one_by_one(lines: list[bytes], query: Query) -> bytes:
    formatter = Formatter(query)
    return b"".join(formatter.feed(line) for line in lines)


@given(LINES, QUERIES)
def test_a_block_is_what_its_lines_are(lines: list[bytes], query: Query) -> None:
    assert Formatter(query).feed_all(b"".join(lines)) == one_by_one(lines, query)


@given(LINES)
def test_only_a_newline_ends_a_line(lines: list[bytes]) -> None:
    text = b"".join(lines)

    assert lines_of(text) == lines
    assert lines_of(text + b"half") == [*lines, b"half"]
    assert select(text, Query()) == one_by_one(lines, Query())


async def read(path: Path, query: Query) -> bytes:
    pieces = [piece async for piece in logreader.stream(path, query, VirtualClock(), lambda: False)]
    return b"".join(pieces)


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("block", [7, 64, 100_000])
async def test_lines_that_lie_across_blocks_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, *, follow: bool
) -> None:
    monkeypatch.setattr(logreader, "BLOCK", block)
    log = tmp_path / "0.log"
    lines = [TIME + b" stdout F line %d\r more\n" % number for number in range(200)]
    log.write_bytes(b"".join(lines) + TIME + b" stdout F half writ")

    found = await read(log, Query(follow=follow))

    assert found == b"".join(b"line %d\r more\n" % number for number in range(200))
    log.write_bytes(b"".join(lines))
    assert await read(log, Query(follow=follow, tail=2)) == b"line 198\r more\nline 199\r more\n"
    assert await read(log, Query(follow=follow, limit_bytes=10)) == b"line 0\r mo"
