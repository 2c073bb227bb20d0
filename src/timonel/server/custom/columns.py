"""Printer columns that a definition asks for: JSONPath into the object, shown as the column's type.

Upstream: apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from timonel.apis.printing import AGE, human_duration
from timonel.apis.resource import Column
from timonel.machinery import jsonpath
from timonel.objects.meta import Object
from timonel.server.tables import AGE_DESCRIPTION

_DESCRIPTION = "Custom resource definition column (in JSONPath format): "


def columns_of(given: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """After the name. Without any, the age is shown."""
    if not given:
        return (replace(AGE, type="date", description=AGE_DESCRIPTION),)
    return tuple(_column(column) for column in given)


def _column(given: Mapping[str, Any]) -> Column:
    kind, text = given["type"], given["jsonPath"]
    path: jsonpath.Path | None = None

    def value(obj: Object, now: float) -> Any:
        nonlocal path
        if path is None:
            path = jsonpath.parse(text)
        try:
            found = path.find(obj)
        except jsonpath.JsonPathError:
            return None
        return cell(kind, found[0], now) if found else None

    return Column(
        given["name"],
        value,
        type=kind,
        priority=given.get("priority") or 0,
        format=given.get("format") or "",
        description=given.get("description") or f"{_DESCRIPTION}{text}",
    )


def cell(kind: str, value: Any, now: float) -> Any:
    """A value in a column of a type; None where it does not fit."""
    if value is None:
        return None
    if kind == "string":
        return jsonpath.show(value)
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "date":
        if not isinstance(value, str):
            return None
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return "<invalid>"
        return human_duration(now - at.timestamp())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if kind == "integer" else value
