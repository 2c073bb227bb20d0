"""Selectors of devices: CEL over `device`, compiled when a claim or class is stored.

Upstream: dynamic-resource-allocation/cel/compile.go, pkg/apis/resource/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from timonel.machinery import field
from timonel.machinery.errors import Cause

if TYPE_CHECKING:
    from timonel.machinery.cel import Environment

MAX_LENGTH = 10 * 1024
MAX_COST = 1_000_000
_MAX_VALUE, _MAX_DOMAIN, _MAX_ID, _MAX_DRIVER, _MAX_ATTRIBUTES = 64, 63, 32, 63, 32


@cache
def environment() -> Environment:
    from timonel.machinery.cel import DEVICES, Environment, types
    from timonel.machinery.cel.types import Type

    def text(size: int) -> Type:
        return Type("string", max_elements=size, min_size=2)

    def by_domain(value: Type) -> Type:
        inner = types.map_of(text(_MAX_ID), value, max_elements=_MAX_ATTRIBUTES)
        return types.map_of(text(_MAX_DOMAIN), inner, max_elements=_MAX_ATTRIBUTES)

    device = types.object(
        "kubernetes.DRADevice",
        {
            "driver": text(_MAX_DRIVER),
            "attributes": by_domain(Type("dyn", max_elements=_MAX_VALUE)),
            "capacity": by_domain(types.opaque("kubernetes.Quantity")),
            "allowMultipleAllocations": types.BOOL,
        },
    )
    return Environment({"device": device}, libraries=DEVICES)


def validate(path: str, text: str) -> Iterator[Cause]:
    if len(text) > MAX_LENGTH:
        yield field.too_long(path, MAX_LENGTH)
        return
    from timonel.machinery.cel import CompileError, WrongResult, types

    try:
        program = environment().compile(text, returns=(types.BOOL,))
    except WrongResult as error:
        yield field.invalid(path, text, f"{error} or the unknown type, not {error.actual}")
    except CompileError as error:
        yield field.invalid(path, text, f"compilation failed: {error}")
    else:
        if program.estimate().max > MAX_COST:
            yield field.forbidden(path, "too complex, exceeds cost limit")
