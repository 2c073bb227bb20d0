"""JSON merge patch (RFC 7386): objects merge, null removes, everything else replaces. Pure; nothing is changed."""

from __future__ import annotations

from typing import Any


def merge_patch(document: Any, patch: Any) -> Any:
    """A new document; parts that the patch does not touch are shared with the old one."""
    if not isinstance(patch, dict):
        return patch
    found = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge_patch(found.get(key), value)
    return found
