"""The published API as data (types, resources, descriptions) and its loader; `go_types` is our part of it."""

from __future__ import annotations

from timonel.schema.store import Schema, TypesFileMissing, load

__all__ = ["Schema", "TypesFileMissing", "load"]
