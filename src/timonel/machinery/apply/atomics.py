"""What a configuration sets that belongs to one manager as a whole: admission policies may not change such parts.

Upstream: apiserver/pkg/admission/plugin/policy/mutating/patch/smd.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.machinery.apply.typed import Atomic, Branch, Items, Node


def atomics(node: Node, value: Any, path: str = "") -> Iterator[str]:
    """The paths of atomic lists, maps and structs in `value`."""
    if isinstance(node, Atomic):
        if isinstance(value, dict | list):
            yield path
        return
    if isinstance(node, Branch) and isinstance(value, dict):
        for key, item in value.items():
            child = node.child(key)
            if child is not None:
                yield from atomics(child, item, f"{path}.{key}")
    if isinstance(node, Items) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from atomics(node.element, item, f"{path}[{index}]")
