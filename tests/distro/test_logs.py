"""Log lines: klog's form and JSON, with the fields of a record, at the verbosity that was asked for."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from timonel.distro.logs import VERBOSE, Json, Text


def record(level: int = logging.INFO, message: str = "What happened", **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("timonel.server", level, "/x/module.py", 7, message, None, None)
    vars(made).update(fields)
    return made


@pytest.mark.parametrize(
    ("level", "letter"),
    [(logging.DEBUG, "I"), (VERBOSE - 3, "I"), (logging.INFO, "I"), (logging.WARNING, "W"), (logging.ERROR, "E"),
     (logging.CRITICAL, "F")],
)  # fmt: skip
def test_a_line_as_klog_writes_it(level: int, letter: str) -> None:
    line = Text().format(record(level, path='/a "b"', code=3))

    form = (
        letter
        + r"\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ module\.py:7\] timonel\.server: What happened path=\"/a \\\"b\\\"\" code=3"
    )
    assert re.fullmatch(form, line)


def test_a_field_cannot_begin_a_line_of_its_own() -> None:
    assert "\n" not in Text().format(record(agent="curl\nE0101 forged"))


def test_a_line_of_json() -> None:
    tree = json.loads(Json().format(record(VERBOSE - 3, agent="a\nb", odd=object)))

    assert (tree["msg"], tree["v"], tree["caller"], tree["agent"]) == (
        "What happened",
        3,
        "module.py:7",
        "a\nb",
    )
    assert isinstance(tree["ts"], float)


def test_an_error_brings_its_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        failed = record(logging.ERROR)
        failed.exc_info = (ValueError, error, error.__traceback__)

    assert "ValueError: broken" in Text().format(failed)
    assert "ValueError: broken" in json.loads(Json().format(failed))["err"]
