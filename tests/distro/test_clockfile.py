from __future__ import annotations

from pathlib import Path

import pytest

from timonel.aio.clock import VirtualClock
from timonel.distro.clockfile import ClockFile
from timonel.distro.config import ConfigError


async def test_time_goes_on_where_it_stood_however_the_process_ended(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    with ClockFile(path, 1_700_000_000.0, VirtualClock()) as file:
        clock = VirtualClock(file.now, moved=file.moved)
        read: list[float] = []
        clock.call_later(1234.5, lambda: read.append(float(path.read_text())))
        await clock.advance(2000)

        assert read == [1_700_001_234.5]  # what is kept is there before anything happens

    with ClockFile(path, 5.0, VirtualClock()) as again:
        assert again.now == 1_700_002_000.0


@pytest.mark.parametrize("content", [b"", b"noon\n", b"\xff\xfe"])
def test_what_is_no_time_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clock"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="does not hold a time"):
        ClockFile(path, 1.0, VirtualClock())

    assert path.read_bytes() == content


async def test_a_shorter_time_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    with ClockFile(path, 1.0, VirtualClock()) as file:
        file.moved(1_700_000_000.123456)
        file.moved(1_700_000_001.0)

    assert float(path.read_text()) == 1_700_000_001.0
