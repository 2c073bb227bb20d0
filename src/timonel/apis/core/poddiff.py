"""The difference of two pod specs as text, for the message about an update that changes what it may not.

Upstream prints a comparison of Go structs that is not stable from one build to the next; ours names every path that
changed, with a minus before the old value and a plus before the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.machinery import field


def spec_diff(old: Any, new: Any) -> str:
    return "".join(f"{line}\n" for line in _lines(old, new, "spec"))


def _lines(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _lines(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, two) in enumerate(zip(old, new, strict=True)):
            yield from _lines(one, two, f"{path}[{index}]")
    else:
        if old is not None:
            yield f"- {path}: {field.show(old)}"
        if new is not None:
            yield f"+ {path}: {field.show(new)}"
