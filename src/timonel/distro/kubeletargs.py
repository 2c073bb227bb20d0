"""The kubelet's flags that `timonel up --kubelet-arg NAME=VALUE` takes over, for every node with real containers."""

from __future__ import annotations

from collections.abc import Iterable

from timonel.distro.config import ConfigError
from timonel.distro.flagwords import hint
from timonel.node import flags


def parse(pairs: Iterable[str]) -> dict[str, str]:
    """Raises ConfigError for what is no flag that is known here, and for values that nodes could not start with.

    A repeated flag is one list."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.lstrip("-").partition("=")
        if name not in flags.KNOWN:
            raise ConfigError(f"unknown flag --{name} of the kubelet", hint(name, flags.KNOWN))
        value = value if separator else "true"
        found[name] = f"{found[name]},{value}" if name in found else value
    try:
        flags.changes(found)
    except ValueError as e:
        raise ConfigError(f"the kubelet's flags cannot be used: {e}") from e
    return found
