"""What `timonel clock` says of a command line that is wrong, before it asks any cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from timonel.distro.commands.clock import clock


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (["advance", "-1h"], "time does not go back: '-1h'"),
        (["advance", "banana"], "'banana' is no duration, such as 90s, 1h30m, 30d or 1y"),
        (
            ["advance", "99999999999y"],
            "'99999999999y' is too long: at once, time goes on by 100 years at the most",
        ),
        (["advance", "9" * 400 + "y"], "time goes on by 100 years at the most"),
        (["advance", "100y1s"], "'100y1s' is too long"),
        (["advance"], "Missing argument 'DURATION'"),
        (["advance", "1h", "2h"], "unexpected extra argument"),
        (["advance", "--fast", "1h"], "No such option"),
        (["set", "noon"], "'noon' is no time, such as 2030-01-01T00:00:00Z"),
        (["set", "2026-13-01"], "is no time"),
        (["advance", "1h", "-o", "xml"], "'xml' is not one of"),
    ],
)
def test_a_wrong_command_line_is_told_what_is_wrong_with_it(
    tmp_path: Path, line: list[str], why: str
) -> None:
    found = CliRunner().invoke(clock, [*line, "--data-dir", str(tmp_path)])

    assert found.exit_code == 2
    assert why in found.output


@pytest.mark.parametrize("line", [["advance", "100y"], ["set", "2030-01-01"], ["set", "2030-01-01T00:00:00"]])
def test_a_command_line_that_is_right_asks_its_cluster(tmp_path: Path, line: list[str]) -> None:
    found = CliRunner().invoke(clock, [*line, "--data-dir", str(tmp_path)])

    assert found.exit_code == 1
    assert "there is no cluster" in found.output
