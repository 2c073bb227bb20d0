"""Paths and addresses with characters that mean something where they are written to."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from timonel.node import containerd
from timonel.node.containerd import Layout
from timonel.node.localpath import PROVISIONED_BY, PROVISIONER, is_ours
from timonel.node.volumes import mounts

ODD = ['a"b', "a\\b", "ü 😀", 'x"\nroot = "/']


@pytest.mark.parametrize("name", ODD)
def test_a_directory_is_what_it_is_whatever_its_name(name: str) -> None:
    directory = Path("/data") / name

    text = containerd.render_config(Layout(directory, "n", "10.0.0.1", "10.1.0.0/24"))

    assert tomllib.loads(text)["root"] == f"{directory}/root"


@pytest.mark.parametrize("url", ["http://a", 'http://a"]\n[host."http://evil'])
def test_a_mirror_names_one_server(url: str) -> None:
    found = tomllib.loads(containerd.render_hosts(url))

    assert found["server"] == url
    assert list(found["host"]) == [url]


def test_mounts_are_found_below_names_that_the_table_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "tmpfs /da\\040tä/x tmpfs rw 0 0\ntmpfs /da\\040tä/x/y\\134z tmpfs rw 0 0\ntmpfs /else tmpfs rw 0 0\n"
    )
    monkeypatch.setattr(mounts, "TABLE", str(table))

    assert mounts.mounts_below(Path("/da tä")) == [Path("/da tä/x/y\\z"), Path("/da tä/x")]


@pytest.mark.parametrize(
    ("path", "ours"), [("pvc-1", True), ("..", False), ("pvc-2", False), ("pvc-1/x", False), (".", False)]
)
def test_only_what_was_made_for_a_volume_is_removed_with_it(path: str, ours: bool) -> None:
    volume: dict[str, Any] = {
        "metadata": {"name": "pvc-1", "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {"local": {"path": f"/data/volumes/{path}"}},
    }

    assert is_ours(volume, Path("/data/volumes")) is ours
