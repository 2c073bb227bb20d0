"""The text of an expression: places in it, and messages as upstream prints them.

    ERROR: <input>:1:11: undefined field 'big'
     | !variables.big
     | ..........^

Upstream: cel-go common/{source,error,errors}.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.machinery.cel.errors import CompileError, Issue

MAX_REPORTED = 100
MAX_CODE_POINTS = 100_000
MAX_DEPTH = 250


def failure(text: str, issues: Iterable[Issue]) -> CompileError:
    """The error that reports `issues`, by place."""
    ordered = tuple(sorted(issues, key=lambda issue: issue.offset))
    shown = [_render(text, issue) for issue in ordered[:MAX_REPORTED]]
    if len(ordered) > MAX_REPORTED:
        shown.append(f"{len(ordered) - MAX_REPORTED} more errors were truncated")
    return CompileError("\n".join(shown), ordered)


def _render(text: str, issue: Issue) -> str:
    if issue.offset < 0:
        return f"ERROR: <input>:-1:0: {issue.message}"
    start = text.rfind("\n", 0, issue.offset) + 1
    line = text.count("\n", 0, issue.offset) + 1
    if not text:
        return f"ERROR: <input>:1:0: {issue.message}"
    end = text.find("\n", issue.offset)
    source = text[start : end if end >= 0 else len(text)]
    column = issue.offset - start
    # Wide characters take a wide dot each, so that the caret stands under its place.
    dots = "".join("\uff0e" if len(char.encode("utf-8", "replace")) > 1 else "." for char in source[:column])
    wide = column < len(source) and len(source[column].encode("utf-8", "replace")) > 1
    caret = "\uff3e" if wide else "^"
    shown = source.replace("\t", " ")
    return f"ERROR: <input>:{line}:{column + 1}: {issue.message}\n | {shown}\n | {dots}{caret}"
