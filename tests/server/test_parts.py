"""A large list goes out in pieces, no faster than its client reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.server.parts import PIECE, SMALL, Parts


@dataclass
class Client:
    """A sink that takes some pieces and then pauses."""

    takes: int = 1 << 30
    got: list[bytes] = field(default_factory=list)
    ended: int = 0

    @property
    def writable(self) -> bool:
        return self.takes > 0

    def push(self, data: bytes) -> None:
        self.takes -= 1
        self.got.append(data)

    def in_turn(self, step: Callable[[], bool]) -> None:
        while step():
            pass

    def end(self) -> None:
        self.ended += 1

    def break_off(self) -> None:
        raise AssertionError("nothing is missing")


def parts(*texts: bytes) -> Parts:
    made = Parts.body(texts, b",")
    assert isinstance(made, Parts)
    return made


@given(st.lists(st.binary(max_size=3 * PIECE // 100).map(lambda b: b * 100), min_size=1, max_size=40))
def test_the_pieces_are_the_whole_and_as_long_as_was_said(texts: list[bytes]) -> None:
    client, body = Client(), Parts.body(texts, b",")
    whole = b",".join(texts)

    if isinstance(body, bytes):
        assert body == whole
        assert len(body) <= SMALL
        return
    length = body.length
    body.start(client)

    assert b"".join(client.got) == whole
    assert length == len(whole)
    assert client.ended == 1


def test_a_client_that_pauses_gets_the_rest_when_it_reads_on() -> None:
    client = Client(takes=1)
    body = parts(*[b"x" * PIECE] * 4)

    body.start(client)
    before = len(client.got), client.ended
    client.takes = 100
    body.resume()

    assert before == (1, 0)
    assert b"".join(client.got) == b",".join([b"x" * PIECE] * 4)
    assert client.ended == 1


def test_nothing_is_sent_to_a_client_that_has_gone() -> None:
    client = Client(takes=1)
    body = parts(*[b"x" * PIECE] * 4)
    body.start(client)

    body.close()
    client.takes = 100
    body.resume()

    assert len(client.got) == 1
    assert not client.ended


def test_small_bodies_are_one_piece() -> None:
    assert Parts.body([b"a", b"b"], b",") == b"a,b"


@pytest.mark.parametrize("count", [1, 3, 50])
async def test_it_can_be_iterated_over_and_joined_instead(count: int) -> None:
    texts = [b"x" * SMALL + b"%d" % number for number in range(count)]

    whole = parts(*texts).joined()

    assert whole == b",".join(texts)
    assert b"".join([piece async for piece in parts(*texts)]) == whole
