"""Answers that once equalled those recorded from upstream still do. known_differences.md: those that cannot."""

from __future__ import annotations

import pytest

from tests.wire import replay


@pytest.mark.timeout(1200)  # some 17,000 requests, one after the other
def test_no_count_falls_and_the_slice_keeps_its_shares() -> None:
    counts, text = replay.RECORDED.replay()

    fallen = {f: (counts[f].good if f in counts else 0, n) for f, n in replay.kept().items()}
    fallen = {f: pair for f, pair in fallen.items() if pair[0] < pair[1]}
    assert not fallen, f"(now, before): {fallen}\n{text[-5000:]}"
    shares = replay.shares(counts)
    assert shares["scenarios"] >= 0.9, f"{shares}"
    assert shares["manifests"] >= 0.8, f"{shares}"
