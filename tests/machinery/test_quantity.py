from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.quantity import BINARY_SI, MAX_INT64, Quantity, QuantityError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("0Gi", "0"),
        ("0.5", "500m"),
        ("1.0", "1"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("1024Ki", "1Mi"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("0.1Gi", "107374182400m"),
        ("512", "512"),
        ("1e3", "1e3"),
        ("100E2", "10e3"),
        ("12e6", "12e6"),
        ("1E", "1E"),
        ("1u", "1u"),
        ("0.0000000001", "1n"),
        ("-5", "-5"),
        ("+1", "1"),
        (".5", "500m"),
        ("5.", "5"),
        ("9999999999999999999999", "9223372036854775807"),
    ],
)
def test_a_quantity_prints_in_canonical_form(text: str, canonical: str) -> None:
    assert str(Quantity.parse(text)) == canonical


@pytest.mark.parametrize("text", ["", "a", "1.2.3", "-", ".", "1 Gi", "Gi", "0x1"])
def test_a_text_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(QuantityError, match="must match the regular expression"):
        Quantity.parse(text)


@pytest.mark.parametrize("text", ["1gi", "1KI", "1e", "1mi", "1Gi3", "1e+"])
def test_an_unknown_suffix_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        Quantity.parse(text)


def test_whole_and_milli_values_round_away_from_zero() -> None:
    assert Quantity.parse("1500m").value() == 2
    assert Quantity.parse("-1500m").value() == -2
    assert Quantity.parse("1.0001").milli() == 1001


def test_a_sum_keeps_the_form_of_what_was_there_first() -> None:
    assert str(Quantity.parse("1Gi") + Quantity.parse("1024")) == "1048577Ki"
    assert str(Quantity.parse("0") + Quantity.parse("1Gi")) == "1Gi"
    assert str(Quantity.parse("1") - Quantity.parse("250m")) == "750m"


def test_quantities_compare_by_value() -> None:
    assert Quantity.parse("1Gi") == Quantity.parse("1073741824")
    assert Quantity.parse("1Gi") > Quantity.parse("1G")
    assert len({Quantity.parse("1000m"), Quantity.parse("1")}) == 1


@given(
    st.integers(-MAX_INT64, MAX_INT64), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "n", "u", "e3"])
)
def test_the_canonical_form_reads_back_as_the_same_value(number: int, suffix: str) -> None:
    found = Quantity.parse(f"{number}{suffix}")

    again = Quantity.parse(str(found))

    assert again == found
    assert str(again) == str(found)


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_adding_and_taking_away_is_exact(one: int, two: int) -> None:
    a, b = Quantity.parse(f"{one}m"), Quantity.of(two, BINARY_SI)

    assert (a + b) - b == a
