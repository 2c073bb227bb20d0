from __future__ import annotations

import pytest

from timonel.aio.backoff import doubled


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (0, 0.5),
        (1, 0.5),
        (2, 1.0),
        (3, 2.0),
        (5, 8.0),
        (6, 10.0),
        (1_024, 10.0),
        (1_100, 10.0),
        (10**9, 10.0),
    ],
)
def test_waits_double_up_to_the_longest_however_many_failures_there_were(
    failures: int, expected: float
) -> None:
    assert doubled(0.5, failures, 10.0) == expected
