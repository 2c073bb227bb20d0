"""What upstream prints when an immutable struct was changed: a unified diff of its internal form as JSON.

A shape says which fields the internal struct has, in its order and under its Go names: a list of
(wire name, Go name, shape of the value or None). Absent fields are printed as null, or as the zero value given.

Upstream: apimachinery/pkg/util/diff/diff.go, pkg/apis/core/types.go.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class GoField:
    wire: str
    name: str
    zero: Any = None  # what an absent field is printed as
    shape: Sequence[GoField] | None = None


def in_go_form(value: Any, shape: Sequence[GoField] | None) -> Any:
    if isinstance(value, list):
        return [in_go_form(item, shape) for item in value]
    if not shape or not isinstance(value, dict):
        return value
    return {
        f.name: in_go_form(value[f.wire], f.shape)
        if value.get(f.wire) is not None
        else in_go_form(f.zero, f.shape)
        for f in shape
    }


def diff(old: Any, new: Any, shape: Sequence[GoField]) -> str:
    """Unified, three lines of context, without a header; empty where nothing differs."""
    before, after = (
        json.dumps(in_go_form(value, shape), indent=1, ensure_ascii=False).splitlines(keepends=True)
        for value in (old, new)
    )
    before[-1] += "\n"
    after[-1] += "\n"
    return "".join(list(difflib.unified_diff(before, after, n=3))[2:])
