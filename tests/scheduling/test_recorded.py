"""Every decision recorded from upstream's scheduler comes out the same."""

from __future__ import annotations

import pytest

from tests.scheduling import replay

RECORDED = 388  # decisions, in 17 files


@pytest.mark.timeout(600)
def test_all_decisions_are_upstreams() -> None:
    counts, text = replay.RECORDED.replay()

    assert sum(count.total for count in counts.values()) >= RECORDED, text[-2000:]
    differing = {file: count for file, count in counts.items() if count.good < count.total}
    assert not differing, f"{differing}\n{text[-5000:]}"
