"""What a `timonel up` asks for that the running cluster does not have: it would have to be started anew for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from timonel.distro.commands.etcdoptions import OPTIONS as ETCD_OPTIONS
from timonel.distro.commands.etcdoptions import field_of
from timonel.distro.config import ClusterConfig, EtcdConfig
from timonel.distro.launch import Wishes

ARGUMENTS = {"apiserver_args": "--apiserver-arg", "kubelet_args": "--kubelet-arg"}
SECRET = "token"


def differences(wishes: Wishes, config: ClusterConfig) -> Iterator[str]:
    """One text for each option. What leaves the choice to the cluster is no difference, whatever it has chosen."""
    for name in (f.name for f in fields(Wishes)):
        wanted, has = getattr(wishes, name), getattr(config, name)
        if wanted is None or wanted == has or (name, wanted) in (("port", 0), ("runtime", "auto")):
            continue
        if isinstance(wanted, EtcdConfig):
            yield from _of_etcd(wanted, has)
        elif isinstance(wanted, Mapping):
            yield from _of_arguments(ARGUMENTS[name], wanted, has)
        elif name == SECRET:
            yield "--token: it has another one" if has else "--token: it has none"
        else:
            yield _told(f"--{name.replace('_', '-')}", wanted, has)


def _of_etcd(wanted: EtcdConfig, has: EtcdConfig) -> Iterator[str]:
    for option, _, _ in ETCD_OPTIONS:
        pair = getattr(wanted, field_of(option)), getattr(has, field_of(option))
        if pair[0] != pair[1]:
            yield _told(f"--etcd-{option}", *pair)


def _of_arguments(option: str, wanted: Mapping[str, str], has: Mapping[str, str]) -> Iterator[str]:
    """Those that are given replace all that there were."""
    for name in sorted(wanted.keys() | has.keys()):
        if wanted.get(name) != has.get(name):
            yield _told(f"{option} {name}", wanted.get(name), has.get(name))


def _told(option: str, wanted: Any, has: Any) -> str:
    return f"{option}: it has {_shown(has)}, not {_shown(wanted)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return "none" if value in (None, "") else str(value)
