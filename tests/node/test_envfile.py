from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import container, pod
from timonel.node import envfile, environment
from timonel.node.environment import ConfigError, Sources
from timonel.node.volumes.source import VolumeError
from timonel.node.volumes.subpath import read_below


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB='two words'\n", {"A": "1", "B": "two words"}),
        ("# nothing\n\n  \nA='a\nb # c'\nB=", {"A": "a\nb # c", "B": ""}),
        ("A='1'\nA='2'", {"A": "2"}),
        ("A=x=y\n", {"A": "x=y"}),
        ("", {}),
    ],
)
def test_files_of_variables(text: str, expected: dict[str, str]) -> None:
    assert envfile.parse(text) == expected


@pytest.mark.parametrize("text", ["A", "=1", "A='1", "A='1'2"])
def test_what_is_no_file_of_variables(text: str) -> None:
    with pytest.raises(ConfigError):
        envfile.parse(text)


def test_a_variable_comes_from_a_file() -> None:
    def built(files: dict[tuple[str, str], Any], **ref: Any) -> dict[str, str]:
        spec = container(
            env=[
                {
                    "name": "X",
                    "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "A", **ref}},
                }
            ]
        )
        assert environment.file_refs(spec) == {("v", "p")}
        return environment.build(pod(spec), spec, Sources(files=files))

    assert built({("v", "p"): {"A": "1"}}) == {"X": "1"}
    assert built({("v", "p"): None}, optional=True) == {}
    assert built({("v", "p"): {}}, optional=True) == {}
    with pytest.raises(ConfigError):
        built({("v", "p"): {}})
    with pytest.raises(ConfigError):
        built({("v", "p"): None})


def test_a_file_is_read_within_its_volume(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    (volume / "d").mkdir(parents=True)
    (volume / "d" / "f").write_text("A=1")
    (volume / "out").symlink_to("/etc/hostname")
    (volume / "in").symlink_to("d/f")

    assert read_below(volume, "d/f", 100) == "A=1"
    assert read_below(volume, "in", 100) == "A=1"
    assert read_below(volume, "none", 100) is None
    for refused in ("out", "d"):
        with pytest.raises(VolumeError):
            read_below(volume, refused, 100)
    with pytest.raises(VolumeError):
        read_below(volume, "d/f", 2)
