"""Cells of printer columns by their type."""

from __future__ import annotations

import pytest

from timonel.server.custom.columns import cell, columns_of

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("string", "x", "x"),
        ("string", 3, "3"),
        ("string", {"a": 1}, '{"a":1}'),
        ("integer", 3, 3),
        ("integer", 3.7, 3),
        ("integer", "3", None),
        ("integer", True, None),
        ("number", 1.5, 1.5),
        ("boolean", True, True),
        ("boolean", "true", None),
        ("date", "2023-11-14T22:13:10Z", "10s"),
        ("date", "2023-11-15T00:13:10+02:00", "10s"),
        ("date", "soon", "<invalid>"),
        ("date", 5, None),
        ("string", None, None),
    ],
)
def test_a_cell_is_what_its_column_says_or_nothing(kind: str, value: object, shown: object) -> None:
    assert cell(kind, value, NOW) == shown


def test_without_columns_the_age_is_shown() -> None:
    (age,) = columns_of(())

    assert (age.name, age.type) == ("Age", "date")
    assert age.value({"metadata": {"creationTimestamp": "2023-11-14T22:13:10Z"}}, NOW) == "10s"


def test_a_path_that_does_not_fit_leaves_the_cell_empty() -> None:
    (column,) = columns_of([{"name": "A", "type": "string", "jsonPath": ".spec[0]"}])

    assert column.value({"spec": {}}, NOW) is None
