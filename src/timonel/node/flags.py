"""The kubelet's flags that are taken over, by their names, as settings of `shell.NodeConfig`. Pure.

Upstream: cmd/kubelet/app/options/options.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timonel.machinery.quantity import QuantityError
from timonel.node import cpus, imagesettings, podresources, pressure, shutdownplan

SYSCTLS, LABELS, MAX_PODS, TAINTS = (
    "allowed-unsafe-sysctls",
    "node-labels",
    "max-pods",
    "register-with-taints",
)
MANIFESTS, PIDS = "pod-manifest-path", "pod-max-pids"
CPU_POLICY, RESERVED_CPUS = "cpu-manager-policy", "reserved-cpus"
RESERVED = ("kube-reserved", "system-reserved")
ENFORCE = "enforce-node-allocatable"
KNOWN = frozenset((
    *pressure.FLAGS, *shutdownplan.FLAGS, *imagesettings.FLAGS, *RESERVED, ENFORCE, SYSCTLS, LABELS, MAX_PODS, TAINTS,
    MANIFESTS, PIDS, CPU_POLICY, RESERVED_CPUS,
))  # fmt: skip
POLICIES = ("none", "static")
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
    if PIDS in flags:
        found["pids_limit"] = max(_number(flags[PIDS], PIDS), 0)
    found |= _processors(flags)
    if not imagesettings.FLAGS.isdisjoint(flags):
        found["images"] = imagesettings.settings(flags)
    if not shutdownplan.FLAGS.isdisjoint(flags):
        found["shutdown"] = shutdownplan.periods(flags)
    if ENFORCE in flags:
        found["bounds_pods"] = _enforced(flags[ENFORCE])
    if MANIFESTS in flags:
        found["static_pods"] = Path(flags[MANIFESTS])
    if TAINTS in flags:
        found["taints"] = tuple(_taint(part) for part in _parts(flags[TAINTS]))
    return found


def _number(text: str, flag: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"invalid argument {text!r} for --{flag}: not a number") from None


def _processors(flags: Mapping[str, str]) -> dict[str, Any]:
    """What is kept from pods, and whether some get processors alone."""
    found: dict[str, Any] = {}
    reserved = dict[str, int]()
    for flag in RESERVED:
        for part in _parts(flags.get(flag, "")):
            name, separator, amount = part.partition("=")
            if not separator or name not in ("cpu", "memory", "ephemeral-storage", "pid"):
                raise ValueError(f"--{flag}: cannot reserve {part!r}")
            try:
                reserved[name] = reserved.get(name, 0) + podresources.amount(amount, name)
            except QuantityError as e:
                raise ValueError(f"--{flag}: {part}: {e}") from e
    if RESERVED_CPUS in flags:
        try:
            found["reserved_cpus"] = cpus.parsed(flags[RESERVED_CPUS])
        except ValueError:
            raise ValueError(
                f"--{RESERVED_CPUS}: {flags[RESERVED_CPUS]!r} is no list of processors"
            ) from None
        reserved["cpu"] = 1000 * len(found["reserved_cpus"])
    if flags.get(CPU_POLICY, "none") not in POLICIES:
        raise ValueError(f"unknown policy: {flags[CPU_POLICY]!r} for --{CPU_POLICY}")
    if flags.get(CPU_POLICY) == "static" and not reserved.get("cpu"):
        raise ValueError(
            f"--{CPU_POLICY}=static needs processors that are reserved: --{RESERVED_CPUS}, --kube-reserved or "
            "--system-reserved"
        )
    if CPU_POLICY in flags:
        found["cpu_policy"] = flags[CPU_POLICY]
    if reserved:
        found["reserved"] = reserved
    return found


def _enforced(text: str) -> bool:
    """Whether all pods together are held to what can be allocated. Nothing else has a group here."""
    wanted = set(_parts(text))
    if wanted - {"pods", "none"} or len(wanted) > 1:
        raise ValueError(f"--{ENFORCE}: {text!r} cannot be enforced: only pods, or none")
    return "pods" in wanted


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
