"""Reads types.bin: the published API as data, a package of types at a time.

A type is a plain dict: `full` (upstream's definition name), `fields` (name -> field), and where it applies `map` and
`gvk`. A field has `t`:

    string boolean int32 int64 number double bytes time microtime quantity intstr any raw
    ref (struct named by `ref`)   list, map (of the element `of`)

and where they apply: `req` (required), `ptr` (a pointer: zero is kept), `emit` (written even when nothing was sent),
    `empty` (an empty list is kept),
`list` with `keys` and `map` (merge granularity of server-side apply), `merge` and `strategy` (strategic merge patch),
`default` (of a key of list items), `enum`.

`tools/build_schema.py` writes the file.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from functools import cached_property
from importlib import resources
from typing import Any

import orjson

from timonel.schema import retired

TypeData = dict[str, Any]


class TypesFileMissing(RuntimeError):
    """The package was not built; a source tree needs `pip install -e .` or `python tools/build_schema.py`."""


class Schema:
    """Types by name (`core.v1.Pod`) and by group, version and kind; each package is decoded on first use."""

    def __init__(self, data: bytes) -> None:
        header, _, body = data.partition(b"\n")
        self._sections: dict[str, list[int]] = orjson.loads(header)
        self._body = memoryview(body)
        self._packages: dict[str, dict[str, TypeData]] = {}

    @cached_property
    def digest(self) -> str:
        """Changes when anything in the file does."""
        return hashlib.sha256(self._body).hexdigest()

    def section(self, name: str) -> Any:
        offset, length = self._sections[name]
        return orjson.loads(zlib.decompress(self._body[offset : offset + length]))

    @cached_property
    def _index(self) -> dict[str, Any]:
        found: dict[str, Any] = self.section("index")
        return found

    @property
    def kubernetes_version(self) -> str:
        version: str = self._index["kubernetes"]
        return version

    @property
    def resource_index(self) -> list[dict[str, Any]]:
        """Each served resource: group, version, kind, plural, namespaced, verbs, subresources."""
        found: list[dict[str, Any]] = self._index["resources"]
        return found

    @property
    def kinds(self) -> dict[str, str]:
        """`group/version/Kind` -> type name."""
        found: dict[str, str] = self._index["kinds"]
        return found

    def type(self, name: str) -> TypeData:
        """The type called so, such as `core.v1.PodSpec`."""
        if name in retired.TYPES:
            return retired.TYPES[name]
        if name in retired.LIKE:
            full, base, fields = retired.LIKE[name]
            found = self.type(base)
            return {**found, "full": full, "fields": {**found["fields"], **fields}}
        package = name.rpartition(".")[0]
        types = self._packages.get(package)
        if types is None:
            types = self._packages[package] = self.section(package)
        return types[name]

    def name_of(self, group: str, version: str, kind: str) -> str | None:
        key = f"{group}/{version}/{kind}"
        return self.kinds.get(key) or retired.KINDS.get(key)

    def type_of(self, group: str, version: str, kind: str) -> TypeData | None:
        name = self.name_of(group, version, kind)
        return self.type(name) if name else None

    def packages(self) -> Iterator[str]:
        return (name for name in self._sections if name != "index" and not name.endswith("#docs"))

    def types_in(self, package: str) -> dict[str, TypeData]:
        if package not in self._packages:
            self._packages[package] = self.section(package)
        return self._packages[package]

    def description(self, name: str, path: str) -> str:
        """The published text about the field at `path` (`spec.ports`) of the type called so; empty if there is none."""
        step, _, rest = path.partition(".")
        field = self.type(name)["fields"].get(step)
        if field is None:
            return ""
        if not rest:
            text: str = self.docs(name.rpartition(".")[0]).get(name, {}).get(step, "")
            return text
        while field["t"] in ("list", "map"):
            field = field["of"]
        return self.description(field["ref"], rest) if field["t"] == "ref" else ""

    def docs(self, package: str) -> dict[str, dict[str, str]]:
        """Descriptions of a package's types: type name -> field name (empty for the type itself) -> text."""
        found: dict[str, dict[str, str]] = self.section(f"{package}#docs")
        return found


def load() -> Schema:
    file = resources.files("timonel.schema") / "types.bin"
    try:
        return Schema(file.read_bytes())
    except FileNotFoundError as e:
        raise TypesFileMissing(
            "the registry of types is missing from the package: run `pip install -e .` or "
            "`python tools/build_schema.py` in the source tree"
        ) from e
