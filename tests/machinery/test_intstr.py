from __future__ import annotations

import pytest

from timonel.machinery import intstr


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [
        (3, 10, 3, 3),
        ("25%", 10, 3, 2),
        ("100%", 7, 7, 7),
        ("0%", 7, 0, 0),
        ("50%", 0, 0, 0),
        ("150%", 3, 5, 4),
    ],
)
def test_a_percentage_is_rounded_as_asked(value: int | str, total: int, up: int, down: int) -> None:
    assert intstr.scaled(value, total, True) == up
    assert intstr.scaled(value, total, False) == down


@pytest.mark.parametrize("text", ["a%", "%", "25", ""])
def test_a_text_that_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(intstr.IntOrStringError, match="invalid value for IntOrString"):
        intstr.scaled(text, 10, True)
