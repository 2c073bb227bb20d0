"""The kubelet's flags that are taken over, by their names, as settings of `shell.NodeConfig`. Pure.

Upstream: cmd/kubelet/app/options/options.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timonel.node import pressure

SYSCTLS, LABELS, MAX_PODS, TAINTS = (
    "allowed-unsafe-sysctls",
    "node-labels",
    "max-pods",
    "register-with-taints",
)
MANIFESTS = "pod-manifest-path"
KNOWN = frozenset((*pressure.FLAGS, SYSCTLS, LABELS, MAX_PODS, TAINTS, MANIFESTS))
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def changes(flags: Mapping[str, str]) -> dict[str, Any]:
    """What they change. Raises ValueError."""
    found: dict[str, Any] = {}
    if not pressure.FLAGS.isdisjoint(flags):
        found["eviction"] = pressure.settings(flags)
    if SYSCTLS in flags:
        found["allowed_unsafe_sysctls"] = tuple(_parts(flags[SYSCTLS]))
    if LABELS in flags:
        found["labels"] = dict(_label(part) for part in _parts(flags[LABELS]))
    if MAX_PODS in flags:
        if not flags[MAX_PODS].isascii() or not flags[MAX_PODS].isdigit():
            raise ValueError(f"invalid argument {flags[MAX_PODS]!r} for --{MAX_PODS}: not a number of pods")
        found["max_pods"] = int(flags[MAX_PODS])
    if MANIFESTS in flags:
        found["static_pods"] = Path(flags[MANIFESTS])
    if TAINTS in flags:
        found["taints"] = tuple(_taint(part) for part in _parts(flags[TAINTS]))
    return found


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"--{LABELS}: {text} must be formatted as key=value")
    return key, value


def _taint(text: str) -> Mapping[str, str]:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not key or effect not in EFFECTS:
        raise ValueError(
            f"invalid taint spec: {text}, expected key=value:effect, effect one of {', '.join(EFFECTS)}"
        )
    return {"key": key, "effect": effect} | ({"value": value} if value else {})
