"""A schema in the form that `kinds` uses; it takes what it is given as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


class Structural:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def prune(self, obj: Object) -> list[str]:
        return []

    def default(self, obj: Object) -> None:
        return None

    def validate(self, obj: Object, old: Object | None = None) -> Iterator[Cause]:
        return iter(())
