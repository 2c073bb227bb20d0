"""`timonel backup`: everything that a cluster stores, in one file, while it runs."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.termui import progressbar

from timonel.aio.clock import SystemClock
from timonel.cli.main import Failure
from timonel.distro import backups
from timonel.distro.backups import Header, Writer
from timonel.distro.commands import options
from timonel.distro.config import ClusterConfig, Paths
from timonel.store.base import StoreError


@click.command(
    epilog="""Examples:

  timonel backup monday.backup            the default cluster

  timonel backup --with-keys all.backup   with its keys: keep it safe

Restore it with: timonel restore monday.backup"""
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--with-keys", is_flag=True, help="Add the cluster's CA, token and encryption keys.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where it exists.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@options.cluster_options
def backup(
    file: Path, with_keys: bool, overwrite: bool, quiet: bool, name: str, data_dir: Path | None
) -> None:
    """Write what a cluster stores to FILE, as of one moment, while the cluster goes on.

    Secrets stay encrypted in it. Without --with-keys they can be restored only where the cluster's folder pki is.
    """
    where, config = options.existing(data_dir, name)
    if config.store == "memory":
        raise Failure(f"cluster {name} keeps its state in memory: there is nothing to save")
    if file.exists() and not overwrite:
        raise Failure(f"{file} exists already", "Choose another name, or --overwrite")
    if not file.absolute().parent.is_dir():
        raise Failure(f"there is no folder {file.absolute().parent}")
    keys = backups.keys_in(where.pki) if with_keys and where.pki.is_dir() else {}
    try:
        save = _from_etcd if config.store == "etcd" else _from_file
        header = save(config, where, file, keys, overwrite, quiet)
    except StoreError as exc:
        raise Failure(str(exc)) from exc
    except FileExistsError as exc:
        raise Failure(f"{file} exists already", "Choose another name, or --overwrite") from exc
    except FileNotFoundError as exc:
        raise Failure(
            f"cluster {name} has stored nothing yet", f"Start it: timonel up{options.again(data_dir, name)}"
        ) from exc
    if not quiet:
        click.echo(f"Saved {header.count} objects as of revision {header.revision} to {file}.")
        if not with_keys:
            click.echo(f"The keys are not in it: keep {where.pki} as well.")


def _header(config: ClusterConfig, keys: dict[str, str], *, revision: int, count: int, root: str) -> Header:
    return Header(
        cluster=config.name,
        created=SystemClock().now(),
        revision=revision,
        count=count,
        root=root,
        store=config.store,
        settings=asdict(config),
        keys=keys,
    )


@contextmanager
def _writing(file: Path, header: Header, *, replace: bool) -> Iterator[Writer]:
    """The file is there after the block, or it is not."""
    writer = Writer(file, header)
    try:
        yield writer
        writer.finish(replace=replace)
    except BaseException:
        with suppress(OSError):
            writer.abandon()
        raise


def _from_file(
    config: ClusterConfig, where: Paths, file: Path, keys: dict[str, str], overwrite: bool, quiet: bool
) -> Header:
    from timonel.distro.stores import root_of
    from timonel.store import sqlitefile

    with sqlitefile.snapshot(where.database) as found:
        header = _header(config, keys, revision=found.revision, count=found.count, root=root_of(config.etcd))
        with _writing(file, header, replace=overwrite) as writer, bar("Saving", found.count, quiet) as shown:
            for number, record in enumerate(found.records, 1):
                writer.add(record)
                if number % 100 == 0:
                    shown.update(100)
    return header


def _from_etcd(
    config: ClusterConfig, where: Paths, file: Path, keys: dict[str, str], overwrite: bool, quiet: bool
) -> Header:
    return asyncio.run(_saved_from_etcd(config, where, file, keys, overwrite, quiet))


async def _saved_from_etcd(
    config: ClusterConfig, where: Paths, file: Path, keys: dict[str, str], overwrite: bool, quiet: bool
) -> Header:
    from timonel.distro.stores import opened_store, root_of

    async with opened_store(config, where, SystemClock()) as store:
        first = await store.list("/", limit=1)
        count = len(first.records) + first.remaining
        header = _header(config, keys, revision=first.revision, count=count, root=root_of(config.etcd))
        with _writing(file, header, replace=overwrite) as writer, bar("Saving", count, quiet) as shown:
            async for page in backups.pages(store, first.revision):
                for record in page:
                    writer.add(record)
                shown.update(len(page))
    return header


@contextmanager
def bar(label: str, count: int, quiet: bool) -> Iterator[Any]:
    """A progress bar on standard error, where that is a terminal."""
    out = sys.stderr if sys.stderr.isatty() and not quiet else io.StringIO()
    with progressbar(length=max(count, 1), label=label, file=out) as shown:
        yield shown
