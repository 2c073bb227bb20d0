"""Where state lives: `--store`, and the options of etcd, which have upstream's names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from timonel.distro.config import EtcdConfig

URL = "etcd://"
OPTIONS = (
    (
        "servers",
        "HOST:PORT,…",
        "etcd's endpoints, with http:// or https:// before each. [implies --store etcd]",
    ),
    ("cafile", "FILE", "Who etcd's certificate must be signed by."),
    ("certfile", "FILE", "Our client certificate for etcd."),
    ("keyfile", "FILE", "Its key."),
    ("username", "NAME", "Our user in etcd."),
    ("password-file", "FILE", "Its password, on the first line."),
    ("prefix", "PATH", "What all keys in etcd begin with. [default: /registry]"),
)
FIELDS = {
    "cafile": "ca_file",
    "certfile": "certificate_file",
    "keyfile": "key_file",
    "password-file": "password_file",
}


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command gets `store`, a kind or None, and `etcd`, what is to be changed of its settings."""

    @functools.wraps(command)
    def with_store(*args: Any, store: str | None, **values: Any) -> Any:
        given = {field: values.pop(f"etcd_{option.replace('-', '_')}") for option, field in _fields()}
        if store is not None and store.startswith(URL):
            given["servers"], store = store.removeprefix(URL), "etcd"
        if given["servers"]:
            if store not in (None, "etcd"):
                raise click.UsageError(f"--etcd-servers and --store {store} exclude each other")
            store = "etcd"
        return command(*args, store=store, etcd={k: v for k, v in given.items() if v is not None}, **values)

    result: Callable[..., Any] = with_store
    for option, _ in reversed(_fields()):
        _, metavar, text = next(o for o in OPTIONS if o[0] == option)
        result = click.option(f"--etcd-{option}", metavar=metavar, callback=_absolute, help=text)(result)
    return click.option(
        "--store",
        metavar="sqlite|memory|etcd://HOST:PORT,…",
        callback=_known,
        help="Where state lives. [default: sqlite]",
    )(result)


def _fields() -> list[tuple[str, str]]:
    return [(option, field_of(option)) for option, _, _ in OPTIONS]


def field_of(option: str) -> str:
    """Of EtcdConfig."""
    return FIELDS.get(option, option)


def _known(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or value in ("sqlite", "memory") or (value.startswith(URL) and value != URL):
        return value
    raise click.BadParameter(f"{value!r} is none of sqlite, memory, etcd://HOST:PORT")


def _absolute(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The server runs elsewhere: it needs whole paths. Files must exist."""
    if value is None or parameter.metavar != "FILE":
        return value
    path = Path(value).absolute()
    if not path.is_file():
        raise click.BadParameter(f"there is no file {value}")
    return str(path)


def changed(etcd: EtcdConfig, changes: dict[str, str]) -> EtcdConfig:
    known = {f.name for f in fields(EtcdConfig)}
    return replace(etcd, **{key: value for key, value in changes.items() if key in known})
