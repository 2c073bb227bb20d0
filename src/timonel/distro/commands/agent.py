"""`timonel agent`: a node, in the foreground. `timonel up` starts it in a box; elsewhere it is started by hand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

import click

from timonel.cli.main import Failure

logger = logging.getLogger(__name__)


@click.command()
@click.option(
    "--config",
    "config_file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The agent's settings, as written by `timonel up` (nodes/NODE/agent.json).",
)
@click.option("--verbose", is_flag=True, help="Log more.")
def agent(config_file: Path, verbose: bool) -> None:
    """Run a node's agent: containerd, pods, Service routing, DNS. Ends on SIGTERM; containers go on."""
    from timonel.aio.lifecycle import until_signalled
    from timonel.distro import collector
    from timonel.distro.agent import run_agent
    from timonel.distro.agentconfig import load
    from timonel.distro.logs import set_up_logging
    from timonel.node.containerd import RuntimeMissing

    set_up_logging(verbose=verbose)
    try:
        config = load(config_file)
    except (ValueError, KeyError, TypeError) as exc:
        raise Failure(f"{config_file} cannot be used: {exc}", "Let `timonel up` write it anew.") from exc

    def tell(error: BaseException) -> None:
        if not isinstance(error, OSError | RuntimeMissing):
            logger.error("The agent failed", exc_info=error)
        click.echo(f"error: {error}", err=True)  # the last line is what `timonel up` shows

    collector.settle()
    with contextlib.suppress(asyncio.CancelledError):
        sys.exit(asyncio.run(until_signalled(run_agent(config), tell)))
