"""Shuffle sharding: a flow is dealt a hand of queues, and joins the emptiest of them.

Two flows rarely hold the same hand, so one that floods the server fills its own queues, and leaves the others at least
one that is free. Upstream: apiserver/pkg/util/shufflesharding/dealer.go.
"""

from __future__ import annotations

from hashlib import sha256


def hashed(schema: str, distinguisher: str) -> int:
    """64 bits that stand for a flow."""
    digest = sha256(schema.encode())
    digest.update(b"\0")
    digest.update(distinguisher.encode(errors="replace"))
    return int.from_bytes(digest.digest()[:8], "little")


def hand(value: int, deck: int, size: int) -> list[int]:
    """`size` different numbers below `deck`, all hands alike likely over all values.

    The value is read as digits of the falling bases deck, deck - 1, …; each digit counts among the cards still there.
    """
    taken: list[int] = []  # sorted
    dealt: list[int] = []
    for number in range(size):
        value, card = divmod(value, deck - number)
        at = 0
        while at < len(taken) and taken[at] <= card:
            card += 1
            at += 1
        taken.insert(at, card)
        dealt.append(card)
    return dealt
