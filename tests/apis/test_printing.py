from __future__ import annotations

import pytest

from timonel.apis import printing
from timonel.objects.meta import format_time

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (192, "3m12s"), (10 * MINUTE, "10m"),
        (179 * MINUTE, "179m"), (3 * HOUR, "3h"), (3 * HOUR + 60, "3h1m"), (8 * HOUR + 60, "8h"), (47 * HOUR, "47h"),
        (2 * DAY, "2d"), (3 * DAY + 4 * HOUR, "3d4h"), (8 * DAY + HOUR, "8d"), (729 * DAY, "729d"), (2 * YEAR, "2y"),
        (2 * YEAR + 17 * DAY, "2y17d"), (9 * YEAR + 17 * DAY, "9y"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert printing.human_duration(seconds) == text


def test_ages() -> None:
    obj = {"metadata": {"creationTimestamp": format_time(1000)}}
    assert printing.age(obj, 1130) == "2m10s"
    assert printing.age({"metadata": {}}, 0) == "<unknown>"


@pytest.mark.parametrize(
    ("labels", "text"), [(None, "<none>"), ({}, "<none>"), ({"b": "1", "a": ""}, "a=,b=1")]
)
def test_labels(labels: dict[str, str] | None, text: str) -> None:
    assert printing.labels_cell(labels) == text


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a", "b", "c"], "a,b,c"), (["a", "b", "c", "d"], "a,b,c + 1 more...")]
)
def test_long_lists_are_cut(items: list[str], text: str) -> None:
    assert printing.join_some(items, 3) == text
