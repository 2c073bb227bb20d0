"""Resources inside of custom resources: they have an apiVersion, a kind and metadata like every object.

`compile_coerce` drops what metadata does not know and brings the rest into its form; `compile_embedded` says what is
wrong with what is there. Both give None for a schema without embedded resources, and both leave metadata as such to
the functions that they are given.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/objectmeta/{algorithm,coerce,validation}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.machinery.structural.schema import Schema

Object = dict[str, Any]
Coerce = Callable[[Any, str, list[str]], None]  # (value, path, unknown fields found)
Embedded = Callable[[Any, str], Iterator[Cause]]  # (value, path)


class Malformed(ValueError):
    """Something that every object has is of a wrong type; the API answers 400. `str()` is upstream's text."""


class Metadata(Protocol):
    """What the API knows of metadata."""

    def normalize(self, metadata: Any, path: str) -> tuple[Object, list[str]]:
        """(in its form, paths of unknown fields); raises Malformed."""
        ...

    def validate(self, metadata: Object, path: str) -> Iterator[Cause]:
        """Names, labels, annotations, owners and finalizers; a name may be absent."""
        ...


def compile_coerce(schema: Schema | None, metadata: Metadata, *, own: bool = True) -> Coerce | None:
    if schema is None:
        return None
    here = own and schema.embedded
    items = compile_coerce(schema.items, metadata)
    members = {
        key: inner
        for key, below in schema.properties.items()
        if (inner := compile_coerce(below, metadata)) is not None
    }
    others = compile_coerce(schema.additional, metadata)
    if not here and items is None and others is None and not members:
        return None

    def run(value: Any, path: str, unknown: list[str]) -> None:
        if type(value) is list and items is not None:
            for index, item in enumerate(value):
                items(item, f"{path}[{index}]", unknown)
        if type(value) is not dict:
            return
        if here:
            _coerce(value, path, unknown, metadata)
        for key, item in value.items():
            below = members.get(key)
            if below is None and key not in schema.properties:
                below = others
            if below is not None:
                below(item, field.child(path, key), unknown)

    return run


def _coerce(value: Object, path: str, unknown: list[str], metadata: Metadata) -> None:
    for key in ("apiVersion", "kind"):
        if key in value and type(value[key]) is not str:
            cause = field.invalid(field.child(path, key), value[key], "must be string")
            raise Malformed(str(cause))
    if "metadata" in value:
        value["metadata"], found = metadata.normalize(value["metadata"], field.child(path, "metadata"))
        unknown += found


def compile_embedded(schema: Schema | None, metadata: Metadata, *, own: bool = True) -> Embedded | None:
    if schema is None:
        return None
    here = own and schema.embedded
    items = compile_embedded(schema.items, metadata)
    members = {
        key: inner
        for key, below in schema.properties.items()
        if (inner := compile_embedded(below, metadata)) is not None
    }
    others = compile_embedded(schema.additional, metadata)
    if not here and items is None and others is None and not members:
        return None

    def run(value: Any, path: str) -> Iterator[Cause]:
        if type(value) is list and items is not None:
            for index, item in enumerate(value):
                yield from items(item, f"{path}[{index}]")
        if type(value) is not dict:
            return
        if here:
            yield from validate_resource(value, path, metadata)
        for key, item in value.items():
            if key in schema.properties:
                if (below := members.get(key)) is not None:
                    yield from below(item, field.child(path, key))
            elif others is not None:
                yield from others(item, f"{path}[{key}]")

    return run


def validate_resource(value: Object, path: str, metadata: Metadata) -> Iterator[Cause]:
    yield from _api_version(value, field.child(path, "apiVersion"))
    yield from _kind(value, field.child(path, "kind"))
    found = value.get("metadata")
    if type(found) is dict:
        yield from metadata.validate(found, field.child(path, "metadata"))


def _api_version(value: Object, path: str) -> Iterator[Cause]:
    found = value.get("apiVersion", "")
    if type(found) is not str:
        yield field.invalid(path, found, "must be a string")
    elif not found:
        yield field.required(path)
    elif found.count("/") > 1:
        yield field.invalid(path, found, f"unexpected GroupVersion string: {found}")


def _kind(value: Object, path: str) -> Iterator[Cause]:
    found = value.get("kind", "")
    if type(found) is not str:
        yield field.invalid(path, found, "must be a string")
    elif not found:
        yield field.required(path)
    elif problems := names.dns1035_label(found.lower()):
        text = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        yield field.invalid(path, found, text)
