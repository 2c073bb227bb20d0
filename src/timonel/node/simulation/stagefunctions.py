"""What the templates of Stages may call besides Go's own functions. Pure, but for the addresses that are taken.

Upstream: kwok's pkg/utils/gotpl.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from timonel.node.nodestatus import KUBELET_VERSION
from timonel.node.simulation import sprig
from timonel.node.simulation.template import Function
from timonel.objects.meta import Object, format_micro_time

# what kwok's nodes say of themselves: type, status, reason, message
CONDITIONS = (
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("NetworkUnavailable", "False", "RouteCreated", "RouteController created a route"),
)


def functions(
    obj: Object, *, node: str, node_ip: str, address: Callable[[], str], now: float, chance: Random
) -> Mapping[str, Function]:
    """`address` gives a pod's IP; a pod that has one keeps it. `chance` decides what a template leaves to it."""
    taken: list[str] = []

    def pod_ip(*given: Any) -> str:
        known = (obj.get("status") or {}).get("podIP")
        if known:
            return str(known)
        if len(given) > 1 and given[1]:  # on the node's network
            return node_ip
        if not taken:
            taken.append(address())
        return taken[0]

    when = format_micro_time(now)
    return {
        **PLAIN,
        **sprig.random_functions(chance),
        "Now": lambda: when,
        "now": lambda: when,
        "StartTime": lambda: when,
        "NodeIP": lambda: node_ip,
        "NodeIPWith": lambda name=None: node_ip,
        "NodeName": lambda: node,
        "NodePort": lambda: 0,
        "NodeConditions": _conditions,
        "PodIP": pod_ip,
        "PodIPWith": pod_ip,
        "Version": lambda: KUBELET_VERSION,
    }


def _conditions() -> list[Object]:
    return [dict(zip(("type", "status", "reason", "message"), each, strict=True)) for each in CONDITIONS]


def _quote(value: Any = None) -> str:
    """As JSON; what is no text, the JSON of it as a text."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
    return json.dumps(text, ensure_ascii=False)


def _yaml(value: Any, indent: int = 0) -> str:
    import yaml  # here: it is slow to import, and most clusters have no Stages

    text = yaml.safe_dump(value, default_flow_style=False)
    if indent <= 0:
        return text
    pad = " " * 2 * indent
    return ("\n" + text).replace("\n", "\n" + pad)


PLAIN: Mapping[str, Function] = {**sprig.FUNCTIONS, "Quote": _quote, "YAML": _yaml, "toYaml": _yaml}
