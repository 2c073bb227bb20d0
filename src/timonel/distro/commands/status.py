"""`timonel status`: the clusters of this machine and what of them is running."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from timonel.cli.main import Failure
from timonel.cli.output import output_option, render
from timonel.distro import config as settings
from timonel.distro import processes
from timonel.distro.commands import options
from timonel.distro.config import Paths

MOST_NAMED = 5  # nodes that are named one by one
COLUMNS = (
    ("NAME", "name"),
    ("STATE", "state"),
    ("SERVER", "server"),
    ("RUNTIME", "runtime"),
    ("COMPONENTS", "components"),
    ("NODES", "nodes"),
    ("MEMORY", "memory"),
)


@click.command(epilog="Examples:\n\n  timonel status\n\n  timonel status --name two -o json")
@click.option("--name", help="Only this cluster; exit code 1 if it does not run.", envvar="TIMONEL_CLUSTER")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), envvar="TIMONEL_DATA_DIR")
@output_option
def status(name: str | None, data_dir: Path | None, output: str) -> None:
    """Show clusters: whether they run, where, and with what."""
    folder = data_dir or settings.default_data_dir()
    found = [p.parent.name for p in sorted(folder.glob("*/cluster.json"))] if name is None else [name]
    rows = [_row(folder, each, named=name is not None) for each in found]
    if not rows and output == "table":
        raise Failure(f"there is no cluster in {folder}", "Start one: timonel up")
    click.echo(render(rows[0] if name is not None else rows, output, columns=COLUMNS))
    if name is not None and rows[0]["state"] != "running":
        sys.exit(1)


def _row(folder: Path, name: str, *, named: bool) -> dict[str, Any]:
    """One that is damaged must not hide the others; asked for by name, its error is the answer."""
    try:
        return _describe(*options.existing(folder, name))
    except Failure as failure:
        if named:
            raise
        failure.show()
        return {"name": name, "state": "damaged", "folder": str(folder / name)}


def _describe(where: Paths, config: settings.ClusterConfig) -> dict[str, Any]:
    server = processes.find(where.pid)
    return {
        "name": config.name,
        "state": "running" if server else "stopped",
        "server": f"https://{config.address}:{config.port}",
        "runtime": config.runtime if "node" in config.components else "",
        "components": list(config.components),
        "nodes": _nodes(where, config),
        "memory": _memory(server.pid) if server else "",
        "kubeconfig": str(where.kubeconfig),
        "folder": str(where.root),
    }


def _nodes(where: Paths, config: settings.ClusterConfig) -> list[str]:
    if config.runtime == "simulated" and "node" in config.components:
        from timonel.distro.nodes import node_name

        first = node_name(config, 1)
        if config.nodes > MOST_NAMED:
            return [f"{first} … {node_name(config, config.nodes)} (simulated)"]
        return [f"{node_name(config, number)} (simulated)" for number in range(1, config.nodes + 1)]
    return [_node(where, node) for node in where.nodes]


def _node(where: Paths, name: str) -> str:
    agent = processes.find(where.node(name) / "agent.pid")
    return f"{name} ({'running' if agent else 'stopped'})"


def _memory(pid: int) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return ""
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return f"{kilobytes // 1024} MB"
