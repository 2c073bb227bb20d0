"""`timonel server`: a cluster's server process, in the foreground. `timonel up` runs it in the background."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import click

from timonel.distro.commands import options
from timonel.distro.config import ClusterConfig, Paths


@click.command()
@options.cluster_options
@click.option("--report-fd", type=int, hidden=True, help="Where to write what happens, as JSON lines.")
@click.option("--verbose", is_flag=True, help="Log more.")
def server(name: str, data_dir: Path | None, report_fd: int | None, verbose: bool) -> None:
    """Run the server of a cluster that `timonel up` has prepared. Ends on SIGTERM; boxed nodes go on."""
    where, config = options.existing(data_dir, name)
    serve(where, config, report_fd=report_fd, verbose=verbose)


def serve(
    where: Paths, config: ClusterConfig, *, report_fd: int | None = None, verbose: bool = False
) -> None:
    from timonel.aio.lifecycle import leaves
    from timonel.distro.box import BoxError
    from timonel.distro.logs import set_up_logging
    from timonel.distro.server import report_to, run_server
    from timonel.store.base import StoreError

    set_up_logging(verbose=verbose)
    report = report_to(report_fd)

    async def main() -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        code = 0
        try:
            await run_server(config, where, report)
        except* (OSError, StoreError, BoxError) as group:
            for error in leaves(group):
                report({"event": "error", "text": str(error)})
                click.echo(f"error: {error}", err=True)
            code = 1
        return code

    with contextlib.suppress(asyncio.CancelledError):
        sys.exit(_run(main))


def _run(main: object) -> int:
    """On uvloop where there is one."""
    import uvloop

    return int(uvloop.run(main()))  # type: ignore[operator]
