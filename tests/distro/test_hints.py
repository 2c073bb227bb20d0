"""What a command proposes to do next means the cluster that it was asked about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from timonel.cli.main import Failure
from timonel.distro.commands import node
from timonel.distro.commands.backup import backup
from timonel.distro.commands.clock import clock
from timonel.distro.commands.kubeconfig import kubeconfig


def hint(command: click.Command, *line: str) -> str:
    with pytest.raises(Failure) as failure:
        command.main(line, standalone_mode=False)
    return failure.value.hint or ""


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (node.node, ("list",)),
        (node.node, ("rm", "nosuch")),
        (clock, ("advance", "1h")),
        (kubeconfig, ()),
        (backup, ("file",)),
    ],
)
def test_a_cluster_that_is_not_there_is_started_where_it_was_looked_for(
    command: click.Command, line: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "my clusters"

    found = hint(command, *line, "--name", "blue", "--data-dir", str(folder))

    assert found == f"Start it: timonel up --name blue --data-dir '{folder}'"


@pytest.mark.parametrize("given", [True, False])
def test_a_node_that_is_not_there_is_looked_for_among_those_of_the_same_cluster(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_nodes(resource: str) -> Any:
        return SimpleNamespace(items=[])

    def ask(data_dir: Path | None, name: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def asked() -> Any:
            return await work(SimpleNamespace(list=no_nodes))

        return asyncio.run(asked())

    monkeypatch.delenv("TIMONEL_DATA_DIR", raising=False)
    monkeypatch.setattr(node, "_with_client", ask)
    where = ("--data-dir", str(tmp_path)) if given else ()

    found = hint(node.node, "rm", "nosuch", "--name", "blue", *where)

    assert found == "See: timonel node list --name blue" + (f" --data-dir {tmp_path}" if given else "")


def test_none_removed_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_with_client", lambda data_dir, name, work: 0)

    found = CliRunner().invoke(node.node, ["rm", "--simulated", "--label", "pool=none"])

    assert (found.exit_code, found.output) == (0, "Removed 0 simulated nodes.\n")
