"""OpenAPI v2 of another server: what of it is about one group version. Pure.

Upstream: kube-openapi/pkg/aggregator (FilterSpecByPathsWithoutSideEffects).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PREFIX = "#/definitions/"


def of_group_version(document: Any, group: str, version: str) -> dict[str, Any]:
    """Its paths and the definitions that they lead to; of an odd document what can be understood."""
    paths, definitions = document.get("paths"), document.get("definitions")
    if not isinstance(paths, dict):
        return {"paths": {}, "definitions": {}}
    mine = f"/apis/{group}/{version}/"
    kept = {path: item for path, item in paths.items() if f"{path}/".startswith(mine)}
    return {
        "paths": kept,
        "definitions": _reached(kept, definitions if isinstance(definitions, dict) else {}),
    }


def _reached(start: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left = list(_references(start))
    while left:
        name = left.pop()
        if name in definitions and name not in found:
            found[name] = definitions[name]
            left += _references(definitions[name])
    return found


def _references(tree: Any) -> Iterator[str]:
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str) and reference.startswith(PREFIX):
                yield reference.removeprefix(PREFIX)
            left += node.values()
        elif isinstance(node, list):
            left += node
