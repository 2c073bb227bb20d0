"""`timonel down`: stop a cluster; its state stays unless it is deleted."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import click

from timonel.aio.clock import SystemClock, WallClock
from timonel.cli.main import Failure
from timonel.cli.progress import Steps
from timonel.distro import box, launch
from timonel.distro.commands import options
from timonel.distro.config import ClusterConfig, ConfigError, Paths


@click.command(epilog="Examples:\n\n  timonel down\n\n  timonel down --name two --delete")
@options.cluster_options
@click.option("--delete", is_flag=True, help="Also remove everything the cluster has stored.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before deleting.")
def down(name: str, data_dir: Path | None, delete: bool, yes: bool) -> None:
    """Stop a cluster: server, nodes and their containers. `timonel up` brings it back as it was."""
    where, config = _what_is_known(data_dir, name) if delete else options.existing(data_dir, name)
    if delete and not yes:
        click.confirm(f"Delete cluster {name} with everything in {where.root}?", abort=True)
    with Steps(WallClock()) as steps:
        steps.begin(f"Stopping cluster {name}")
        ran = asyncio.run(launch.stop(where, config, SystemClock()))
        steps.done(f"Stopped cluster {name}" if ran else f"Cluster {name} was not running")
        if delete:
            steps.begin(f"Deleting {where.root}")
            box.unmount_below(where.root)
            shutil.rmtree(where.root)


def _what_is_known(data_dir: Path | None, name: str) -> tuple[Paths, ClusterConfig]:
    """To delete a cluster its settings need not be whole."""
    try:
        return options.existing(data_dir, name)
    except Failure as failure:
        if not isinstance(failure.__cause__, ConfigError):
            raise
    where = options.paths(data_dir, name)
    return where, ClusterConfig(name=name, network=box.salvaged_network(str(where.root)))
