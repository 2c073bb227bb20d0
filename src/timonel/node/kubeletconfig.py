"""A KubeletConfiguration as the flags that say the same. Pure.

Upstream: k8s.io/kubelet/config/v1beta1 (types.go), cmd/kubelet/app/options/options.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from timonel.node import flags, imagesettings, shutdownplan

API_VERSION, KIND = "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"
EVICTION_FIELDS = {
    "evictionHard": ("eviction-hard", "<"),
    "evictionSoft": ("eviction-soft", "<"),
    "evictionSoftGracePeriod": ("eviction-soft-grace-period", "="),
    "evictionMinimumReclaim": ("eviction-minimum-reclaim", "="),
}


def flags_of(tree: Any) -> dict[str, str]:
    """Raises ValueError for what is no such configuration, and for fields that are not taken over."""
    if not isinstance(tree, dict) or (tree.get("apiVersion"), tree.get("kind")) != (API_VERSION, KIND):
        raise ValueError(f"it is no {KIND} of {API_VERSION}")
    fields = {name: value for name, value in tree.items() if name not in ("apiVersion", "kind")}
    unknown = sorted(fields.keys() - FIELDS.keys())
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: not taken over here")
    found = dict[str, str]()
    for name, value in fields.items():
        if value is None:
            continue
        flag, written = FIELDS[name]
        try:
            found[flag] = written(value)
        except (KeyError, TypeError, AttributeError) as e:
            raise ValueError(f"{name}: cannot be {value!r}") from e
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise TypeError("neither text nor number")
    return str(value)


def _pairs(separator: str) -> Callable[[Any], str]:
    def written(value: Mapping[str, Any]) -> str:
        return ",".join(f"{key}{separator}{_plain(amount)}" for key, amount in value.items())

    return written


def _list(value: Any) -> str:
    if not isinstance(value, list):
        raise TypeError("no list")
    return ",".join(_plain(entry) for entry in value)


def _taints(value: list[Mapping[str, Any]]) -> str:
    return ",".join(f"{taint['key']}={taint.get('value') or ''}:{taint['effect']}" for taint in value)


def _periods(value: list[Mapping[str, Any]]) -> str:
    return ",".join(f"{period['priority']}={period['shutdownGracePeriodSeconds']}" for period in value)


FIELDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    **{name: (flag, _pairs(separator)) for name, (flag, separator) in EVICTION_FIELDS.items()},
    "evictionPressureTransitionPeriod": ("eviction-pressure-transition-period", _plain),
    "evictionMaxPodGracePeriod": ("eviction-max-pod-grace-period", _plain),
    "allowedUnsafeSysctls": (flags.SYSCTLS, _list),
    "cpuManagerPolicy": (flags.CPU_POLICY, _plain),
    "enforceNodeAllocatable": (flags.ENFORCE, _list),
    "imageGCHighThresholdPercent": (imagesettings.HIGH, _plain),
    "imageGCLowThresholdPercent": (imagesettings.LOW, _plain),
    "imageMaximumGCAge": (imagesettings.OLDEST, _plain),
    "imageMinimumGCAge": (imagesettings.YOUNGEST, _plain),
    "imagePullCredentialsVerificationPolicy": (imagesettings.VERIFY, _plain),
    "kubeReserved": ("kube-reserved", _pairs("=")),
    "maxParallelImagePulls": (imagesettings.AT_ONCE, _plain),
    "maxPods": (flags.MAX_PODS, _plain),
    "podPidsLimit": (flags.PIDS, _plain),
    "registerWithTaints": (flags.TAINTS, _taints),
    "reservedSystemCPUs": (flags.RESERVED_CPUS, _plain),
    "serializeImagePulls": (imagesettings.SERIAL, _plain),
    "shutdownGracePeriod": (shutdownplan.PERIOD, _plain),
    "shutdownGracePeriodByPodPriority": (shutdownplan.BY_PRIORITY, _periods),
    "shutdownGracePeriodCriticalPods": (shutdownplan.CRITICAL, _plain),
    "staticPodPath": (flags.MANIFESTS, _plain),
    "systemReserved": ("system-reserved", _pairs("=")),
}
