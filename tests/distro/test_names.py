from __future__ import annotations

from pathlib import Path

import pytest

from timonel.distro.config import NAME_LENGTH, ConfigError, check_new_name, paths_of
from timonel.machinery import names


@pytest.mark.parametrize("name", ["a", "two", "a-b", "a.b", "0", "x" * NAME_LENGTH])
def test_a_cluster_has_a_name_that_nodes_can_have(tmp_path: Path, name: str) -> None:
    paths = paths_of(tmp_path, name)

    check_new_name(paths, name)
    assert paths.root == tmp_path / name
    assert names.dns1123_subdomain(f"{name}-1") == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a b", "a\n", "a'b", 'a"b', "-a", "a-", "a..b", "a-.b", "a.-b", "A", "é", "a;b",
     "x" * (NAME_LENGTH + 1)],
)  # fmt: skip
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        check_new_name(paths_of(tmp_path, name), name)
