"""Opening the store that a cluster's settings name: for the server, and for commands that work on stored data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.distro.config import ClusterConfig, ConfigError, EtcdConfig, Paths
from timonel.server import layout
from timonel.store.base import Store


async def open_store(config: ClusterConfig, paths: Paths, clock: Clock) -> Store:
    """Who opens it closes it. Raises ConfigError, Corrupt, Unreachable."""
    if config.store == "memory":
        from timonel.store.memory import MemoryStore

        return MemoryStore()
    if config.store == "etcd":
        return await _open_etcd(config.etcd, clock)
    from timonel.store.sqlite import SqliteStore

    return await SqliteStore.open(paths.database, moved=layout.moved)


async def _open_etcd(etcd: EtcdConfig, clock: Clock) -> Store:
    from timonel.store.etcd.connection import Misconfigured, Settings
    from timonel.store.etcd.store import EtcdStore

    try:
        settings = Settings(
            endpoints=tuple(part for part in etcd.servers.split(",") if part.strip()),
            ca_file=_file(etcd.ca_file),
            certificate_file=_file(etcd.certificate_file),
            key_file=_file(etcd.key_file),
            username=etcd.username,
            password=_first_line(etcd.password_file),
            root=root_of(etcd),
        )
        return await EtcdStore.open(settings, clock)
    except Misconfigured as exc:
        raise ConfigError(str(exc), "Give it as: --etcd-servers https://HOST:2379") from exc


def root_of(etcd: EtcdConfig) -> str:
    """What all keys in etcd begin with."""
    return "/" + etcd.prefix.strip("/")


def _first_line(path: str) -> str:
    return Path(path).read_text().partition("\n")[0] if path else ""


def _file(path: str) -> Path | None:
    return Path(path) if path else None


@asynccontextmanager
async def opened_store(config: ClusterConfig, paths: Paths, clock: Clock) -> AsyncIterator[Store]:
    store = await open_store(config, paths, clock)
    try:
        yield store
    finally:
        await store.close()
