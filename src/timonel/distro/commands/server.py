"""`timonel server`: a cluster's server process, in the foreground. `timonel up` runs it in the background."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

import click

from timonel.cli.main import Failure
from timonel.distro import processes
from timonel.distro.commands import options
from timonel.distro.commands.etcdoptions import changed, store_options
from timonel.distro.config import ClusterConfig, ConfigError, Paths

logger = logging.getLogger(__name__)


@click.command()
@options.cluster_options
@store_options
@click.option("--report-fd", type=int, hidden=True, help="Where to write what happens, as JSON lines.")
@click.option("--verbose", is_flag=True, help="Log more.")
def server(
    name: str,
    data_dir: Path | None,
    store: str | None,
    etcd: dict[str, str],
    report_fd: int | None,
    verbose: bool,
) -> None:
    """Run the server of a cluster that `timonel up` has prepared. Ends on SIGTERM; boxed nodes go on.

    What is said of the store holds for this run; `timonel up` remembers it.
    """
    where, config = options.existing(data_dir, name)
    config = replace(config, store=store or config.store, etcd=changed(config.etcd, etcd))
    serve(where, config, report_fd=report_fd, verbose=verbose)


def serve(
    where: Paths, config: ClusterConfig, *, report_fd: int | None = None, verbose: bool = False
) -> None:
    """Until a signal ends it, alone on the cluster's folder."""
    from timonel.aio.lifecycle import until_signalled
    from timonel.distro.logs import set_up_logging
    from timonel.distro.server import report_to, run_server

    flags = config.apiserver_args
    set_up_logging(
        verbose=verbose,
        verbosity=int(flags.get("v", "0")),
        form=flags.get("logging-format", "text"),
    )
    processes.raise_file_limit()
    report = report_to(report_fd)

    async def work() -> None:
        with _as_running(where):
            await run_server(config, where, report)

    def tell(error: BaseException) -> None:
        failure = explained(error, where)
        is_port = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        told = {"text": failure.message, "hint": failure.hint, "port_taken": is_port}
        report({"event": "error", **told})
        failure.show()

    with contextlib.suppress(asyncio.CancelledError):
        sys.exit(_run(lambda: until_signalled(work(), tell)))


@contextlib.contextmanager
def _as_running(where: Paths) -> Iterator[None]:
    """The only server of the cluster, and found by its pid file whoever has started it."""
    with processes.locked(where.server_lock):
        processes.record(where.pid, os.getpid())
        yield


def explained(error: BaseException, where: Paths) -> Failure:
    """What people are told of an error that ended the server; one that nobody has foreseen is logged as a whole."""
    from timonel.distro.box import BoxError
    from timonel.distro.pki import Damaged
    from timonel.server.atrest import Unreadable
    from timonel.store.base import Corrupt, StoreError

    name, folder = where.root.name, where.root.parent
    anew = f"or start anew without what it holds: timonel down --name {name} --data-dir {folder} --delete"
    if isinstance(error, processes.Held):
        return Failure(f"the server of cluster {name} runs already", f"See: timonel status --name {name}")
    if isinstance(error, Corrupt):
        command = f"timonel restore --force FILE --name {name} --data-dir {folder}"
        return Failure(str(error), f"Restore it from a backup ({command}), {anew}")
    if isinstance(error, Unreadable):
        hint = f"It was written with other keys than those in {where.root / 'pki'}: put them there"
        return Failure(error.message, hint)
    if isinstance(error, ConfigError):
        return Failure(str(error), error.hint)
    if isinstance(error, Damaged):
        return Failure(str(error), f"Restore it from a backup, {anew}")
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        hint = "Choose another one: --port 0 takes a free one"
        return Failure(f"its port is taken by another process: {error}", hint)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Failure(str(error), f"Free some space in {where.root}.")
    if isinstance(error, OSError | StoreError | BoxError):
        return Failure(str(error), f"The log: {where.log}")
    logger.error("The server failed", exc_info=error)
    return Failure(f"the server failed: {error!r}", f"The log: {where.log}")


def _run(main: Callable[[], Coroutine[None, None, int]]) -> int:
    """On uvloop where there is one."""
    import uvloop

    return int(uvloop.run(main()))
