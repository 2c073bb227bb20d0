"""Files of environment variables that init containers leave in a volume (`fileKeyRef`): `NAME='value'`, one after
another. Pure.

A quoted value may go over several lines and is taken as it stands; without quotes it ends with its line. Empty lines
and those that begin with # say nothing. Upstream: pkg/kubelet/kubelet_pods.go, pkg/kubelet/util/env.
"""

from __future__ import annotations

from timonel.node.environment import ConfigError

SIZE_LIMIT = 64 << 10


def parse(text: str) -> dict[str, str]:
    found = dict[str, str]()
    lines = iter(text.split("\n"))
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"invalid line in environment file: {line!r}")
        if not value.startswith("'"):
            found[name] = value.rstrip()
            continue
        quoted = value[1:]
        while "'" not in quoted:
            more = next(lines, None)
            if more is None:
                raise ConfigError(f"unterminated quote in environment file, variable {name}")
            quoted += f"\n{more}"
        found[name], _, rest = quoted.partition("'")
        if rest.strip():
            raise ConfigError(f"unexpected text after the value of {name} in environment file")
    return found
