"""`timonel restore`: a cluster's state from a backup, into a file or into etcd."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import click

from timonel.aio.clock import SystemClock
from timonel.cli.main import Failure
from timonel.distro import backups, pki, processes
from timonel.distro import config as settings
from timonel.distro.backups import Header
from timonel.distro.commands import options
from timonel.distro.commands.backup import bar
from timonel.distro.commands.etcdoptions import changed, store_options
from timonel.distro.config import ClusterConfig, ConfigError, Paths
from timonel.store.base import KeyExists, Record, StoreError

BUMP, BUMP_ETCD = 1_000_000, 10_000  # etcd's revision can only be raised by writing
AT_ONCE = 64


@click.command(
    epilog="""Examples:

  timonel restore monday.backup           into the stopped cluster

  timonel restore --force monday.backup   what was there is kept beside it

  timonel restore all.backup --name b     a new one, from one with keys

  timonel restore monday.backup --store etcd://10.0.0.1:2379"""
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--force", is_flag=True, help="Replace what the cluster stores.")
@click.option(
    "--bump", type=click.IntRange(0), help=f"Revisions to skip. [default: {BUMP}; {BUMP_ETCD} in etcd]"
)
@store_options
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@options.cluster_options
def restore(
    file: Path,
    force: bool,
    bump: int | None,
    store: str | None,
    etcd: dict[str, str],
    quiet: bool,
    name: str,
    data_dir: Path | None,
) -> None:
    """Bring back what FILE holds, into a cluster that is stopped or does not exist yet.

    Revisions go on well after those of the backup, and history begins there: whoever watches has to list again, and
    takes nothing that is stored now for something that was stored before.
    """
    where = options.paths(data_dir, name)
    if processes.find(where.pid) is not None:
        raise Failure(f"cluster {name} is running", f"First: timonel down{options.again(data_dir, name)}")
    try:
        header = backups.check(file)
    except backups.NotABackup as exc:
        raise Failure(f"{file} cannot be restored: {exc}") from exc
    config = _settings(where, name, header, store, etcd)
    is_new = not where.root.exists()
    try:
        where.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with processes.locked(where.server_lock):
            _restore(file, header, config, where, force=force, bump=bump, quiet=quiet)
    except StoreError as exc:
        raise Failure(str(exc)) from exc
    except ConfigError as exc:
        raise Failure(str(exc), exc.hint) from exc
    except processes.Held as exc:
        raise Failure(f"cluster {name} is starting or stopping", "Try again in a moment") from exc
    finally:
        if is_new and not where.settings.exists():  # it has come to nothing
            shutil.rmtree(where.root, ignore_errors=True)
    if not quiet:
        click.echo(f"Restored {header.count} objects of revision {header.revision}.")
        click.echo(f"Start the cluster: timonel up{options.again(data_dir, name)}")


def _settings(
    where: Paths, name: str, header: Header, store: str | None, etcd: dict[str, str]
) -> ClusterConfig:
    """Those of the cluster that is there, else those in the backup."""
    try:
        found = settings.load(where)
        if found is None:
            settings.check_new_name(where, name)
            if next(settings.problems(header.settings), None) is not None:
                raise ConfigError("the settings in the backup cannot be used")
            found = replace(settings.from_wire(header.settings), name=name, network=settings.NetworkConfig())
        config = replace(found, store=store or found.store)
    except ConfigError as exc:
        raise Failure(str(exc), exc.hint) from exc
    config = replace(config, etcd=changed(config.etcd, etcd))
    if config.store == "memory":
        raise Failure("nothing can be restored into memory", "Say where to: --store sqlite")
    return config


def _restore(
    file: Path,
    header: Header,
    config: ClusterConfig,
    where: Paths,
    *,
    force: bool,
    bump: int | None,
    quiet: bool,
) -> None:
    from timonel.distro.stores import root_of

    if root_of(config.etcd) != header.root:
        raise Failure(
            f"its keys began with {header.root}, not with {root_of(config.etcd)}: secrets could not be read",
            f"Restore it with: --etcd-prefix {header.root}",
        )
    missing = not (where.pki / "ca.key").exists()
    if missing and not header.keys:
        raise Failure(
            f"the keys of the cluster are neither in the backup nor in {where.pki}",
            f"Copy the folder pki of cluster {header.cluster} there first",
        )
    if config.store == "etcd":
        asyncio.run(
            _into_etcd(file, header, config, where, force, BUMP_ETCD if bump is None else bump, quiet)
        )
    else:
        _into_file(file, header, where, force, BUMP if bump is None else bump, quiet)
    if missing:
        for name, text in header.keys.items():
            mode = 0o644 if name.endswith(".crt") else 0o600
            settings.write_private(where.pki / Path(name).name, text.encode("latin-1"), mode)
        pki.sync(where.pki)
    settings.save(where, config)


def _into_file(file: Path, header: Header, where: Paths, force: bool, bump: int, quiet: bool) -> None:
    from timonel.store import sqlitefile

    if where.database.exists() and not force:
        raise Failure(
            f"{where.database} exists already", "--force puts the backup in its place, and keeps it beside"
        )
    fresh = where.database.with_name("state.db.restoring")
    for leftover in _files(fresh):
        leftover.unlink(missing_ok=True)
    with bar("Restoring", header.count, quiet) as shown:

        def records() -> object:
            for number, record in enumerate(backups.read_records(file), 1):
                yield record
                if number % 100 == 0:
                    shown.update(100)

        sqlitefile.make(fresh, records(), revision=header.revision + bump)  # type: ignore[arg-type]
    if where.database.exists():
        _keep(where.database)
    for path in _files(where.database)[1:]:
        path.unlink(missing_ok=True)
    os.replace(fresh, where.database)
    pki.sync(where.root)


def _files(database: Path) -> list[Path]:
    return [database, *(database.with_name(database.name + end) for end in ("-wal", "-shm"))]


def _keep(database: Path) -> None:
    """What was stored stays beside it under another name, whole."""
    number = next(n for n in range(1, 10_000) if not database.with_name(f"state.db.before-{n}").exists())
    kept = database.with_name(f"state.db.before-{number}")
    for old, new in zip(_files(database), _files(kept), strict=True):
        if old.exists():
            os.replace(old, new)


async def _into_etcd(
    file: Path, header: Header, config: ClusterConfig, where: Paths, force: bool, bump: int, quiet: bool
) -> None:
    from timonel.distro.stores import opened_store
    from timonel.store.etcd.store import EtcdStore

    async with opened_store(config, where, SystemClock()) as store:
        assert isinstance(store, EtcdStore)
        there = await store.list("/", limit=1)
        if there.records and not force:
            raise Failure(
                f"there are keys below {config.etcd.prefix} in etcd already",
                "--force removes them; stop all servers that use them first",
            )
        await store.remove_all()
        target = header.revision + bump
        with bar("Raising the revision", target, quiet) as shown:
            await store.raise_revision(target, shown.update)
        with bar("Restoring", header.count, quiet) as shown:
            batch: list[Record] = []
            for record in backups.read_records(file):
                batch.append(record)
                if len(batch) == AT_ONCE:
                    await _create(store, batch)
                    shown.update(len(batch))
                    batch = []
            await _create(store, batch)
        await store.compact(await store.revision())


async def _create(store: object, records: list[Record]) -> None:
    from timonel.store.etcd.store import EtcdStore

    assert isinstance(store, EtcdStore)
    try:
        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(store.create(record.key, record.value))
    except* KeyExists as group_error:
        raise Failure(
            "somebody else writes to the same keys of etcd", "Stop all servers first"
        ) from group_error
