"""core/v1: ConfigMap.

Upstream: pkg/apis/core/validation/validation.go, pkg/registry/core/configmap/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

MAX_BYTES = 1024 * 1024
SEALED = "field is immutable when `immutable` is set"


def validate(obj: Object) -> Iterator[Cause]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, text in sorted(data.items()):
        yield from checks.told(f"data[{key}]", key, names.config_map_key(key))
        if key in binary:
            yield field.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        size += len(text.encode())
    for key, encoded in sorted(binary.items()):
        yield from checks.told(f"binaryData[{key}]", key, names.config_map_key(key))
        size += decoded_length(encoded)
    if size > MAX_BYTES:
        yield field.too_long("[]", MAX_BYTES)  # the object itself, as upstream writes an empty path


def decoded_length(encoded: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(encoded) // 4 * 3 - encoded[-2:].count("=")


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    if old.get("immutable"):
        if not new.get("immutable"):
            yield field.forbidden("immutable", SEALED)
        for key in ("data", "binaryData"):
            if (new.get(key) or {}) != (old.get(key) or {}):
                yield field.forbidden(key, SEALED)
    yield from validate(new)


CONFIG_MAP = ResourceType(
    group="",
    version="v1",
    kind="ConfigMap",
    plural="configmaps",
    short_names=("cm",),
    validate=validate,
    validate_update=validate_update,
    columns=(
        Column("Data", lambda o, now: len(o.get("data") or {}) + len(o.get("binaryData") or {}), doc="data"),
        AGE,
    ),
)

RESOURCES = (CONFIG_MAP,)
