"""`timonel secrets`: the keys of what is stored encrypted: show, rotate, re-encrypt.

A running server does it itself, asked below /timonel/encryption/; of one that is stopped, the store is opened here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from timonel.aio.clock import SystemClock, WallClock
from timonel.cli.main import Failure
from timonel.cli.output import output_option, render
from timonel.cli.progress import Steps
from timonel.distro import encryption, pki, processes
from timonel.distro.commands import options
from timonel.distro.config import ClusterConfig, ConfigError, Paths
from timonel.server.atrest.configuration import Configuration
from timonel.server.atrest.reencryption import PLAIN, UNNAMED

KINDS = ("aesgcm", "chacha20poly1305", "aescbc", "secretbox")
COLUMNS = (("RESOURCE", "resource"), ("KEY", "key"), ("OBJECTS", "objects"), ("STATE", "state"))


@click.group(
    epilog="""Examples:

  timonel secrets status              the keys, and what is under each

  timonel secrets rotate-key          a new key for all; the old one goes

  timonel secrets resources secrets configmaps   encrypt ConfigMaps as well"""
)
def secrets() -> None:
    """Show and change the keys that stored Secrets are encrypted with."""


class Operator:
    """Asks the running server, or does it itself."""

    def __init__(self, config: ClusterConfig, paths: Paths) -> None:
        self.config, self.paths = config, paths
        self.is_running = processes.find(paths.pid) is not None

    def configuration(self) -> Configuration:
        try:
            return encryption.load(self.config, self.paths)
        except (ConfigError, pki.Damaged) as exc:
            raise Failure(str(exc), getattr(exc, "hint", "")) from exc

    def own(self) -> Configuration:
        """For what changes it: refuses a file that the user keeps."""
        if encryption.FLAG in self.config.apiserver_args:
            raise Failure(
                f"the keys are in {self.config.apiserver_args[encryption.FLAG]}, which you keep",
                "Change it there, then: timonel secrets reload, timonel secrets reencrypt",
            )
        return self.configuration()

    def save(self, configuration: Configuration) -> None:
        encryption.save(self.paths, configuration)
        self.ask("POST", "reload")

    def ask(self, method: str, what: str) -> Any:
        """The server's answer; None where it does not run."""
        return asyncio.run(self._asked(method, what)) if self.is_running else None

    async def _asked(self, method: str, what: str) -> Any:
        from timonel.client import kubeconfig
        from timonel.client.https import HttpsTransport

        endpoint = kubeconfig.load(str(self.paths.kubeconfig)).endpoint()
        transport = HttpsTransport(endpoint, SystemClock())
        try:
            return await transport.raw(method, f"/timonel/encryption/{what}")
        finally:
            await transport.close()

    def usage(self) -> dict[str, dict[str, int]]:
        found = self.ask("GET", "usage")
        return found if found is not None else asyncio.run(self._with_store(_usage))

    def reencrypt(self) -> tuple[int, list[str]]:
        written, unreadable = 0, list[str]()
        while (part := self.ask("POST", "reencrypt")) is not None:
            written += part["written"]
            unreadable = part["unreadable"]
            if not part["left"]:
                return written, unreadable
        done: tuple[int, list[str]] = asyncio.run(self._with_store(_reencrypted))
        return done

    async def _with_store(self, work: Callable[[Any, Configuration, str], Awaitable[Any]]) -> Any:
        from timonel.distro.stores import opened_store, root_of
        from timonel.store.base import StoreError

        try:
            with processes.locked(self.paths.server_lock):
                async with opened_store(self.config, self.paths, SystemClock()) as store:
                    return await work(store, self.configuration(), root_of(self.config.etcd))
        except StoreError as exc:
            raise Failure(str(exc)) from exc
        except processes.Held as exc:
            raise Failure("the server is starting or stopping", "Try again in a moment") from exc


def _known() -> list[tuple[str, str]]:
    from timonel.apis.scheme import Scheme

    return [(rtype.plural, rtype.group) for rtype in Scheme().resources]


async def _usage(store: Any, configuration: Configuration, root: str) -> dict[str, dict[str, int]]:
    from timonel.server.atrest.reencryption import resources_of, usage

    named = resources_of(configuration, _known())
    return {f"{p}.{g}".rstrip("."): dict(await usage(store, p, g)) for p, g in named}


async def _reencrypted(store: Any, configuration: Configuration, root: str) -> tuple[int, list[str]]:
    from timonel.server.atrest import Vault
    from timonel.server.atrest.reencryption import reencrypt, resources_of

    vault, written, unreadable = Vault(configuration, root=root), 0, list[str]()
    for plural, group in resources_of(configuration, _known()):
        done, failed = await reencrypt(store, vault, plural, group)
        written += done
        unreadable += failed
    return written, unreadable


def _operator(name: str, data_dir: Path | None) -> Operator:
    where, config = options.existing(data_dir, name)
    if config.store == "memory" and processes.find(where.pid) is None:
        raise Failure(f"cluster {name} keeps its state in memory and does not run")
    return Operator(config, where)


@secrets.command(epilog="Example: timonel secrets status -o json")
@options.cluster_options
@output_option
def status(name: str, data_dir: Path | None, output: str) -> None:
    """Which keys there are, and how many objects are under each."""
    operator = _operator(name, data_dir)
    configuration, usage = operator.configuration(), operator.usage()
    rows = list[dict[str, Any]]()
    for resource, counts in usage.items():
        rule = configuration.rule_of(*resource.partition(".")[::2])
        keys = [f"{k.kind}/{k.name}" for k in rule.keys if k.kind != "identity"] if rule is not None else []
        for key in dict.fromkeys([*keys, *counts]):
            rows.append(
                {
                    "resource": resource,
                    "key": key,
                    "objects": str(counts.get(key, 0)),
                    "state": _state(key, keys, encrypts=rule is not None and rule.keys[0].kind != "identity"),
                }
            )
    click.echo(render(rows, output, columns=COLUMNS))


@secrets.command("rotate-key", epilog="Example: timonel secrets rotate-key --kind chacha20poly1305")
@click.option("--kind", type=click.Choice(KINDS), default="aesgcm", show_default=True, help="Of the new key.")
@click.option("--keep-old", is_flag=True, help="Keep the old keys for reading, such as for backups.")
@options.cluster_options
def rotate_key(kind: str, keep_old: bool, name: str, data_dir: Path | None) -> None:
    """Make a new key, write everything anew under it, and forget the old ones.

    Servers that share an etcd need the new key before any of them writes with it: use add-key, copy
    pki/encryption.yaml to each, then use-key on each, reencrypt on one, drop-keys on each.
    """
    operator = _operator(name, data_dir)
    with Steps(WallClock()) as steps:
        steps.begin("Making a new key")
        operator.save(encryption.with_new_key(operator.own(), kind))
        operator.save(encryption.with_newest_first(operator.own()))
        steps.begin("Writing everything anew")
        written, unreadable = operator.reencrypt()
        steps.done(f"{_objects(written)} written anew")
        _refuse(unreadable)
        if not keep_old:
            steps.begin("Forgetting the old keys")
            operator.save(encryption.with_first_only(operator.own()))


@secrets.command("add-key")
@click.option("--kind", type=click.Choice(KINDS), default="aesgcm", show_default=True, help="Of the new key.")
@options.cluster_options
def add_key(kind: str, name: str, data_dir: Path | None) -> None:
    """Make a new key that is only read with, until `use-key`."""
    operator = _operator(name, data_dir)
    operator.save(encryption.with_new_key(operator.own(), kind))
    click.echo(f"Added a key to {encryption.own_file(operator.paths)}.")


@secrets.command("use-key")
@options.cluster_options
def use_key(name: str, data_dir: Path | None) -> None:
    """Write with the key that was added last."""
    operator = _operator(name, data_dir)
    operator.save(encryption.with_newest_first(operator.own()))
    click.echo("The newest key is used. Next: timonel secrets reencrypt")


@secrets.command()
@options.cluster_options
def reload(name: str, data_dir: Path | None) -> None:
    """Let the running server read its keys again."""
    operator = _operator(name, data_dir)
    answer = operator.ask("POST", "reload")
    if answer is None:
        raise Failure(f"the server of cluster {name} does not run", "It reads its keys when it starts")
    click.echo("Read again." if answer["changed"] else "Read again: nothing has changed.")


@secrets.command(epilog="Example: timonel secrets reencrypt")
@options.cluster_options
def reencrypt(name: str, data_dir: Path | None) -> None:
    """Write what is under other keys, or not encrypted, anew under the one that writes."""
    operator = _operator(name, data_dir)
    with Steps(WallClock()) as steps:
        steps.begin("Writing everything anew")
        written, unreadable = operator.reencrypt()
        steps.done(f"{_objects(written)} written anew")
        _refuse(unreadable)


@secrets.command("drop-keys")
@click.option("--force", is_flag=True, help="Also where objects are still under them: those are lost.")
@options.cluster_options
def drop_keys(force: bool, name: str, data_dir: Path | None) -> None:
    """Forget all keys but the one that writes."""
    operator = _operator(name, data_dir)
    configuration = operator.own()
    for resource, counts in operator.usage().items():
        rule = configuration.rule_of(*resource.partition(".")[::2])
        if rule is None:
            continue
        mine = (f"{rule.keys[0].kind}/{rule.keys[0].name}", PLAIN)
        others = sum(count for key, count in counts.items() if key not in mine)
        if others and not force:
            raise Failure(
                f"{_objects(others)} of {resource} are under other keys", "First: timonel secrets reencrypt"
            )
    operator.save(encryption.with_first_only(configuration))
    click.echo("Only the key that writes is left.")


@secrets.command(epilog="Example: timonel secrets resources secrets configmaps widgets.example.com")
@click.argument("resource", nargs=-1, required=True)
@options.cluster_options
def resources(resource: tuple[str, ...], name: str, data_dir: Path | None) -> None:
    """Say which resources are encrypted, as PLURAL or PLURAL.GROUP; what is stored is written anew."""
    operator = _operator(name, data_dir)
    before = operator.own()
    gone = set(before.rules[0].resources) - set(resource)
    if gone:
        raise Failure(
            f"{', '.join(sorted(gone))} would be left as it is", "Name it as well: it stays encrypted"
        )
    operator.save(encryption.with_resources(before, resource))
    written, unreadable = operator.reencrypt()
    click.echo(f"{_objects(written)} written anew.")
    _refuse(unreadable)


def _state(key: str, keys: list[str], *, encrypts: bool) -> str:
    """What becomes of objects under a key, of those that there are."""
    if encrypts and key == keys[0]:
        return "writes"
    if key in keys or key == UNNAMED:
        return "reads"
    return "" if key == PLAIN else "key is missing"


def _objects(count: int) -> str:
    return f"{count} object{'s' if count != 1 else ''}"


def _refuse(unreadable: list[str]) -> None:
    if unreadable:
        shown = ", ".join(unreadable[:3])
        raise Failure(
            f"{_objects(len(unreadable))} cannot be read with any key: {shown}", "Their keys are missing"
        )
