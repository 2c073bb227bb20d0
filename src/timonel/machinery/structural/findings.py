"""What is wrong with a value, told as upstream tells it: the slow way, for values that are not valid.

`explain(schema, value, path)` walks a value as kube-openapi's validators do, in their order, and keeps count of the
checks that passed: of the alternatives of an anyOf the one that came furthest is reported. `causes` makes of findings
the causes of an answer. Whether a value is valid at all is found out faster by `timonel.machinery.structural.checks`,
which must agree with this module.

With an `old` value (`Old`), what is unchanged since is not refused again.

Upstream: kube-openapi/pkg/validation/{validate,errors}, apiextensions-apiserver/pkg/apiserver/validation/
{validation,ratcheting}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Any

import orjson

from timonel.machinery import field as fields
from timonel.machinery.errors import Cause
from timonel.machinery.field import quote
from timonel.machinery.patterns import PatternError, compile_pattern
from timonel.machinery.structural import formats, numbers
from timonel.machinery.structural.correlation import Old
from timonel.machinery.structural.schema import Schema
from timonel.records import dataclass

NOWHERE = "<nil>"
"""How upstream prints the path of the whole object."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One error. `kind` says which cause it makes; `limit` and `valid` belong to some kinds."""

    kind: str
    path: str
    message: str
    value: Any = ""
    limit: int = -1
    valid: tuple[Any, ...] = ()


@dataclass(slots=True)
class Result:
    """Errors, and how many checks were gone through."""

    errors: list[Finding] = field(default_factory=list)
    matches: int = 0

    def add(self, *found: Finding) -> None:
        for one in found:
            if all(one.message != known.message for known in self.errors):
                self.errors.append(one)

    def merge(self, other: Result) -> None:
        self.add(*other.errors)
        self.matches += other.matches


def explain(schema: Schema, value: Any, path: str = "", old: Old | None = None) -> Result:
    result = _explain(schema, value, path, old)
    if result.errors and old is not None and old.is_same(value):
        return Result(matches=result.matches)
    return result


def _explain(schema: Schema, value: Any, path: str, old: Old | None) -> Result:
    result = Result(matches=1)
    result.add(*type_findings(schema, value, path))
    if value is None:
        result.add(*_enum(schema, value, path))
        return result
    result.matches += 1
    result.merge(_alternatives(schema, value, path))
    result.matches += 1
    if type(value) is str:
        result.add(*_string(schema, value, path), *_format(schema, value, path))
        result.matches += 1
    elif numbers.is_number(value):
        result.add(*number_findings(schema, value, path))
        result.matches += 2
    elif type(value) is list:
        result.merge(_list(schema, value, path, old))
        result.matches += 1
    result.add(*_enum(schema, value, path))
    result.matches += 1
    if type(value) is dict:
        result.merge(_object(schema, value, path, old))
        result.matches += 1
    result.matches += 1
    return result


# ---- type


def type_of(value: Any) -> tuple[str, str]:
    """(JSON type, the format that Go's value has)."""
    if value is None:
        return "null", ""
    if type(value) is bool:
        return "boolean", ""
    if type(value) is str:
        return "string", ""
    if numbers.is_integer(value):
        return "integer", "int64"
    if numbers.is_number(value):
        return "number", "float64"
    return ("array", "") if type(value) is list else ("object", "")


def type_findings(schema: Schema, value: Any, path: str) -> Iterator[Finding]:
    types = schema.types
    if not types and not schema.format:
        return
    kind, form = type_of(value)
    if value is None:
        if types and not schema.nullable:
            yield _wrong_type(path, ",".join(types), "null")
        return
    whole = kind == "number" and "integer" in types and float(value).is_integer()
    widened = kind == "integer" and "number" in types
    texts = kind in ("string", "array")
    if not texts and schema.format and not (kind in types or form == schema.format or whole or widened):
        yield _wrong_type(path, schema.format, form)
        return
    if texts and schema.format and not {"number", "integer"} & set(types):
        return
    if types and not (kind in types or whole or widened):
        yield _wrong_type(path, ",".join(types), kind)


def _wrong_type(path: str, wanted: str, found: str) -> Finding:
    return Finding("type", path, f"{path} in body must be of type {wanted}: {quote(found)}", found)


# ---- single values


def _string(schema: Schema, value: str, path: str) -> Iterator[Finding]:
    if schema.max_length is not None and len(value) > schema.max_length:
        message = f"{path} in body should be at most {schema.max_length} chars long"
        yield Finding("long", path, message, value, limit=schema.max_length)
    elif schema.min_length is not None and len(value) < schema.min_length:
        yield Finding(
            "other", path, f"{path} in body should be at least {schema.min_length} chars long", value
        )
    elif schema.pattern:
        try:
            if compile_pattern(schema.pattern).search(value) is not None:
                return
            wanted = schema.pattern
        except PatternError as error:
            wanted = f"{schema.pattern}, but pattern is invalid: {error}"
        yield Finding("other", path, f"{path} in body should match '{wanted}'", value)


def _format(schema: Schema, value: str, path: str) -> Iterator[Finding]:
    rule = formats.validator(schema.format) if schema.format else None
    if rule is not None and not rule(value):
        yield _wrong_type(path, schema.format, value)


def number_findings(schema: Schema, value: int | float, path: str) -> Iterator[Finding]:
    kind = ",".join(schema.types)
    limits = (
        ("Checked", value, None),
        ("MultipleOf", schema.multiple_of, numbers.not_multiple),
        ("Maximum boundary", schema.maximum, numbers.above),
        ("Minimum boundary", schema.minimum, numbers.below),
    )
    for name, limit, rule in limits:
        if limit is None:
            continue
        fits = numbers.fits(limit, kind, schema.format)
        if not fits:
            form = f"with format {schema.format}" if schema.format else "(default format)"
            yield Finding("other", "", f"{name} value must be of type {kind} {form} in {path}")
        if rule is not None:
            exclusive = schema.exclusive_maximum if rule is numbers.above else schema.exclusive_minimum
            problem = rule(value, limit, exclusive=exclusive, native=fits)
            if problem:
                yield Finding("other", path, f"{path} in body {problem}", value)


def _enum(schema: Schema, value: Any, path: str) -> Iterator[Finding]:
    if schema.enum and not any(numbers.equal(value, one) for one in schema.enum):
        yield Finding(
            "enum", path, f"{path} in body should be one of {list(schema.enum)}", value, valid=schema.enum
        )


# ---- alternatives


def _alternatives(schema: Schema, value: Any, path: str) -> Result:
    result = Result()
    if schema.any_of:
        _any_of(schema, value, path, result)
    if schema.one_of:
        _one_of(schema, value, path, result)
    if schema.all_of:
        found = [_explain(one, value, path, None) for one in schema.all_of]
        for one in found:
            result.merge(one)
        valid = sum(not one.errors for one in found)
        if valid != len(found):
            more = "" if valid else ". None validated"
            result.add(_composite(f"{quote(path)} must validate all the schemas (allOf){more}"))
    if schema.no is not None and not _explain(schema.no, value, path, None).errors:
        result.add(_composite(f"{quote(path)} must not validate the schema (not)"))
    result.matches += 1
    return result


def _any_of(schema: Schema, value: Any, path: str, result: Result) -> None:
    best: Result | None = None
    for one in schema.any_of:
        found = _explain(one, value, path, None)
        if not found.errors:
            result.merge(found)
            return
        if best is None or found.matches > best.matches:
            best = found
    assert best is not None
    result.add(_composite(f"{quote(path)} must validate at least one schema (anyOf)"))
    result.merge(best)


def _one_of(schema: Schema, value: Any, path: str, result: Result) -> None:
    found = [_explain(one, value, path, None) for one in schema.one_of]
    valid = [one for one in found if not one.errors]
    if len(valid) == 1:
        result.merge(valid[0])
        return
    more = f"Found {len(valid)} valid alternatives" if valid else "Found none valid"
    result.add(_composite(f"{quote(path)} must validate one and only one schema (oneOf). {more}"))
    if not valid:
        result.merge(max(found, key=lambda one: one.matches))  # the first of those that came as far


def _composite(message: str) -> Finding:
    return Finding("other", "", message)


# ---- lists and objects


def _list(schema: Schema, value: list[Any], path: str, old: Old | None) -> Result:
    result = Result()
    if schema.items is not None:
        for index, item in enumerate(value):
            before = None if old is None else old.item(item)
            result.merge(explain(schema.items, item, f"{path}[{index}]", before))
    size = len(value)
    if schema.min_items is not None and size < schema.min_items:
        result.add(
            Finding("other", path, f"{path} in body should have at least {schema.min_items} items", size)
        )
    if schema.max_items is not None and size > schema.max_items:
        message = f"{path} in body should have at most {schema.max_items} items"
        result.add(Finding("many", path, message, size, limit=schema.max_items))
    if schema.unique_items and numbers.has_repeated(value):
        result.add(Finding("other", path, f"{path} in body shouldn't contain duplicates"))
    result.matches += 1
    return result


def _object(schema: Schema, value: dict[str, Any], path: str, old: Old | None) -> Result:
    result, size = Result(), len(value)
    if schema.min_properties is not None and size < schema.min_properties:
        message = f"{path} in body should have at least {schema.min_properties} properties"
        result.add(Finding("other", path, message, size))
        return result
    if schema.max_properties is not None and size > schema.max_properties:
        message = f"{path} in body should have at most {schema.max_properties} properties"
        result.add(Finding("many", path, message, size, limit=schema.max_properties))
        return result
    for key, item in value.items():
        if key in schema.properties:
            continue
        if schema.additional is not None:
            before = None if old is None else old.member(key)
            result.merge(explain(schema.additional, item, f"{path}.{key}", before))
        elif schema.allows_additional is False:
            result.add(Finding("other", path, f"{path}.{key} in body is a forbidden property", key))
    for key, below in schema.properties.items():
        if key in value:
            before = None if old is None else old.member(key)
            result.merge(explain(below, value[key], f"{path}.{key}" if path else key, before))
    for key in schema.required:
        if key not in value:
            result.add(Finding("required", f"{path}.{key}", f"{path}.{key} in body is required"))
    return result


# ---- causes


def causes(found: Iterable[Finding], base: str = "") -> Iterator[Cause]:
    """`base` is where the value is within the object."""
    for one in found:
        name = one.path.removeprefix(".")
        at = (f"{base}.{name}" if base else name) if name else base or NOWHERE
        if one.kind == "required":
            yield fields.required(at)
        elif one.kind == "enum":
            valid = [item if type(item) is str else orjson.dumps(item).decode() for item in one.valid]
            yield fields.not_supported(at, one.value, valid)
        elif one.kind == "long":
            yield fields.too_long(at, one.limit)
        elif one.kind == "many":
            yield fields.too_many(at, one.value, one.limit)
        elif one.kind == "type":
            yield Cause(
                "FieldValueTypeInvalid", f"Invalid value: {fields.show(one.value)}: {one.message}", at
            )
        else:
            yield fields.invalid(at, one.value, one.message)
