"""Formats in the schemas of a definition that nothing knows: a typing error, most likely, so it is warned of.

Upstream: apiextensions-apiserver/pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis.apiextensions.hub import Hub, subschemas
from timonel.machinery.field import quote
from timonel.machinery.structural.formats import known


def warnings(hub: Hub) -> Iterator[str]:
    for schema in hub.schemas():
        for one in subschemas(schema):
            name = one.get("format") or ""
            if name and not known(name, (one["type"],) if one.get("type") else ()):
                yield f"unrecognized format {quote(name)}"
