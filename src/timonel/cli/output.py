"""Answers of commands as a table, JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

FORMATS = ("table", "json", "yaml")

output_option: Callable[[Any], Any] = click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How to print the answer.",
)


def render(value: Any, format_: str, *, columns: Sequence[tuple[str, str]] = ()) -> str:
    """`value` is a mapping or a list of mappings; `columns` are (heading, key) of the table."""
    if format_ == "json":
        return json.dumps(value, indent=2, default=str)
    if format_ == "yaml":
        import yaml

        return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True)).rstrip("\n")
    rows = value if isinstance(value, list) else [value]
    return table(
        [heading for heading, _ in columns], [[_cell(row.get(key)) for _, key in columns] for row in rows]
    )


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns three spaces apart, as kubectl prints them."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(headings))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
