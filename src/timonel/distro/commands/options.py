"""Options that several commands share, and what they resolve to."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from timonel.cli.main import Failure
from timonel.distro import config as settings
from timonel.distro.config import ClusterConfig, Paths

DEFAULT_NAME = "timonel"


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--name and --data-dir: which cluster is meant."""
    for option in (
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="TIMONEL_DATA_DIR",
            help="Where clusters keep their state. [default: /var/lib/timonel as root, else below the home folder]",
        ),
        click.option(
            "--name",
            default=DEFAULT_NAME,
            envvar="TIMONEL_CLUSTER",
            show_default=True,
            help="Which cluster.",
            shell_complete=_complete_names,
        ),
    ):
        command = option(command)
    return command


def _complete_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    folder = ctx.params.get("data_dir") or settings.default_data_dir()
    found = sorted(p.parent.name for p in Path(folder).glob("*/cluster.json"))
    return [name for name in found if name.startswith(incomplete)]


def again(data_dir: Path | None, name: str) -> str:
    """The options by which the next command means the same cluster, as hints name them."""
    where = f" --data-dir {shlex.quote(str(data_dir))}" if data_dir is not None else ""
    return f" --name {shlex.quote(name)}{where}"


def paths(data_dir: Path | None, name: str) -> Paths:
    try:
        return settings.paths_of(data_dir or settings.default_data_dir(), name)
    except settings.ConfigError as exc:
        raise Failure(str(exc), exc.hint) from exc


def existing(data_dir: Path | None, name: str) -> tuple[Paths, ClusterConfig]:
    """The folder and settings of a cluster that must exist."""
    where = paths(data_dir, name)
    try:
        config = settings.load(where)
    except settings.ConfigError as exc:
        raise Failure(str(exc), exc.hint) from exc
    except PermissionError as exc:
        raise Failure(
            f"{where.settings} cannot be read", "Are you the user who started the cluster?"
        ) from exc
    if config is None:
        raise Failure(
            f"there is no cluster {name!r} in {where.root.parent}",
            f"Start it: timonel up{again(data_dir, name)}",
        )
    return where, config
