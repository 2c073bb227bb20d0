"""The kubelet's flags that `timonel up --kubelet-arg NAME=VALUE` takes over, for every node with real containers.

`config=FILE` is a KubeletConfiguration: its fields are read as flags, and flags beside it win.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from timonel.distro.config import ConfigError
from timonel.distro.flagwords import hint
from timonel.node import credentialproviders, flags, kubeletconfig

CONFIG = "config"


def parse(pairs: Iterable[str]) -> dict[str, str]:
    """Raises ConfigError for what is no flag that is known here, and for values that nodes could not start with.

    A repeated flag is one list."""
    found: dict[str, str] = {}
    files = list[str]()
    for pair in pairs:
        name, separator, value = pair.lstrip("-").partition("=")
        if name == CONFIG:
            files.append(value)
            continue
        if name not in flags.KNOWN:
            raise ConfigError(f"unknown flag --{name} of the kubelet", hint(name, flags.KNOWN))
        value = value if separator else "true"
        found[name] = f"{found[name]},{value}" if name in found else value
    for file in files:
        found = {**_read(Path(file)), **found}
    try:
        images = flags.changes(found).get("images")
        if images is not None and images.providers is not None and images.programs is not None:
            credentialproviders.read(images.providers, images.programs)
    except ValueError as e:
        raise ConfigError(f"the kubelet's flags cannot be used: {e}") from e
    return found


def _read(file: Path) -> dict[str, str]:
    import yaml  # here: most clusters have no such file

    try:
        return kubeletconfig.flags_of(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValueError) as e:
        raise ConfigError(f"the kubelet's configuration {file} cannot be used: {e}") from e
