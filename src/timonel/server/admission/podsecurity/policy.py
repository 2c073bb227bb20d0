"""Which pod security level holds in a namespace, as its labels say. Pure.

Upstream: pod-security-admission/api/{constants,helpers}.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from timonel.machinery import field
from timonel.machinery.errors import Cause

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
LATEST = 10_000  # a minor version beyond all

_VERSION = re.compile(r"^v1\.(0|[1-9][0-9]*)$")


class Level(NamedTuple):
    level: str
    minor: int

    @property
    def rank(self) -> int:
        return LEVELS.index(self.level)

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"


PRIVILEGED = Level("privileged", LATEST)


class Policy(NamedTuple):
    enforce: Level
    audit: Level
    warn: Level


def parse(labels: Mapping[str, str]) -> tuple[Policy, list[Cause]]:
    """The policy, and what is wrong with the labels. Without a warn level, users are warned of what is enforced."""
    causes: list[Cause] = []
    enforce = _one(labels, "enforce", causes, broken="restricted")
    audit = _one(labels, "audit", causes)
    warn = _one(labels, "warn", causes)
    if f"{PREFIX}warn" not in labels and enforce.rank > warn.rank:
        warn = enforce
    return Policy(enforce, audit, warn), causes


def _one(labels: Mapping[str, str], mode: str, causes: list[Cause], broken: str = "privileged") -> Level:
    level, minor = labels.get(PREFIX + mode, "privileged"), LATEST
    if level not in LEVELS:
        path = f"metadata.labels[{PREFIX}{mode}]"
        causes.append(field.invalid(path, level, f"must be one of {', '.join(LEVELS)}"))
        level = broken
    version = labels.get(f"{PREFIX}{mode}-version", "latest")
    found = _VERSION.match(version)
    if found is not None:
        minor = int(found[1])
    elif version != "latest":
        path = f"metadata.labels[{PREFIX}{mode}-version]"
        causes.append(field.invalid(path, version, 'must be "latest" or "v1.x"'))
    return Level(level, minor)
