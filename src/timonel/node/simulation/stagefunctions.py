"""What the templates of Stages may call besides Go's own functions. Pure, but for the addresses that are taken.

Upstream: kwok's pkg/utils/gotpl, and of sprig's functions those that Stages use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import yaml

from timonel.node.nodestatus import KUBELET_VERSION
from timonel.node.simulation import machines
from timonel.node.simulation.template import Function, shown, truth
from timonel.objects.meta import Object, format_micro_time


def functions(
    obj: Object, *, node: str, node_ip: str, address: Callable[[], str], now: float
) -> Mapping[str, Function]:
    """`address` gives a pod's IP; a pod that has one keeps it."""

    def pod_ip(*given: Any) -> str:
        known = (obj.get("status") or {}).get("podIP")
        if known:
            return str(known)
        if len(given) > 1 and given[1]:  # on the node's network
            return node_ip
        return address()

    when = format_micro_time(now)
    return {
        **PLAIN,
        "Now": lambda: when,
        "now": lambda: when,
        "StartTime": lambda: when,
        "NodeIP": lambda: node_ip,
        "NodeIPWith": lambda name=None: node_ip,
        "NodeName": lambda: node,
        "NodePort": lambda: 0,
        "NodeConditions": partial(_conditions, obj, now),
        "PodIP": pod_ip,
        "PodIPWith": pod_ip,
        "Version": lambda: KUBELET_VERSION,
    }


def _conditions(obj: Object, now: float) -> list[Object]:
    return machines.conditions({"metadata": {"name": ""}, "status": obj.get("status") or {}}, now)


def _quote(value: Any = None) -> str:
    return json.dumps(value if isinstance(value, str) else "" if value is None else shown(value))


def _yaml(value: Any, indent: int = 0) -> str:
    text = yaml.safe_dump(value, default_flow_style=False)
    if indent <= 0:
        return text
    pad = " " * 2 * indent
    return ("\n" + text).replace("\n", "\n" + pad)


def _dict(*pairs: Any) -> Object:
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _whole(value: Any) -> int:
    return int(value or 0)


PLAIN: Mapping[str, Function] = {
    "Quote": _quote,
    "quote": _quote,
    "YAML": _yaml,
    "toYaml": _yaml,
    "toJson": json.dumps,
    "dict": _dict,
    "list": lambda *values: list(values),
    "default": lambda fallback, value=None: value if truth(value) else fallback,
    "ternary": lambda yes, no, test: yes if test else no,
    "hasKey": lambda tree, key: key in tree,
    "add": lambda *values: sum(map(_whole, values)),
    "add1": lambda value=0: _whole(value) + 1,
    "sub": lambda a, b: _whole(a) - _whole(b),
    "mul": lambda a, b: _whole(a) * _whole(b),
    "div": lambda a, b: _whole(a) // _whole(b),
    "mod": lambda a, b: _whole(a) % _whole(b),
    "int": _whole,
    "atoi": _whole,
    "toString": shown,
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "trim": lambda text: str(text).strip(),
    "contains": lambda part, text: part in text,
    "hasPrefix": lambda part, text: text.startswith(part),
    "hasSuffix": lambda part, text: text.endswith(part),
}
