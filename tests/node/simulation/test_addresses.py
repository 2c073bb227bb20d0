from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.node.simulation.addresses import Addresses, NoAddress


@given(st.lists(st.one_of(st.none(), st.integers(0, 40), st.integers(-40, -1)), max_size=60))
def test_no_address_is_given_twice(moves: list[int | None]) -> None:
    """None takes an address, a number gives one back; one below zero is of an address that somebody has already."""
    addresses, held = Addresses("10.0.0.0/27"), list[str]()
    for move in moves:
        if move is not None and move < 0:
            known = f"10.0.0.{-move}"
            if addresses.seen(known):
                held.append(known)
            continue
        if move is not None:
            if held:
                addresses.free(held.pop(move % len(held)))
            continue
        if len([h for h in held if h != "10.0.0.31"]) == 29:
            with pytest.raises(NoAddress):
                addresses.take()
            continue
        fresh = addresses.take()
        assert fresh not in held
        held.append(fresh)


def test_addresses_that_were_seen_are_not_given_and_those_before_them_are() -> None:
    addresses = Addresses("10.0.0.0/29")
    assert addresses.seen("10.0.0.4")
    assert not addresses.seen("10.0.0.4")
    assert not addresses.seen("192.168.0.1")
    assert not addresses.seen("none")
    addresses.free("192.168.0.1")

    assert [addresses.take() for _ in range(4)] == ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(NoAddress, match=r"no IP addresses available in range set: 10\.0\.0\.1-10\.0\.0\.6$"):
        addresses.take()
    addresses.free("10.0.0.4")
    assert addresses.take() == "10.0.0.4"


@pytest.mark.parametrize("tiny", ["10.0.0.0/32", "10.0.0.0/31", "fd00::/128"])
def test_a_range_that_is_too_small_says_so(tiny: str) -> None:
    with pytest.raises(NoAddress):
        Addresses(tiny).take()
