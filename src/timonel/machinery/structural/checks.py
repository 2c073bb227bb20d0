"""Whether a value is valid, found out fast: one closure per place in the schema, and no words.

`compile_check(schema)` gives a function that is true exactly where `findings.explain` finds nothing; None stands for a
schema that every value satisfies.

Upstream: kube-openapi/pkg/validation/validate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timonel.machinery.patterns import PatternError, compile_pattern
from timonel.machinery.structural import findings, formats, numbers
from timonel.machinery.structural.schema import Schema

Check = Callable[[Any], bool]


def compile_check(schema: Schema) -> Check | None:
    """The parts that apply, joined; a shape that is common has code of its own."""
    plain = _plain_scalar(schema)
    if plain is not None:
        return plain
    by_kind: dict[type, Check] = {}
    if (text := _text(schema)) is not None:
        by_kind[str] = text
    if (number := _number(schema)) is not None:
        by_kind[int] = by_kind[float] = number
    if (items := _items(schema)) is not None:
        by_kind[list] = items
    if (members := _members(schema)) is not None:
        by_kind[dict] = members
    parts = [part for part in (_type(schema), _enum(schema)) if part is not None]
    whole = _alternatives(schema)
    if not by_kind and not parts and whole is None:
        return None
    if schema.types == ("object",) and not schema.format and len(parts) == 1 and whole is None:
        return _object_only(members, schema.nullable)
    kind_of = by_kind.get

    def check(value: Any) -> bool:
        for part in parts:
            if not part(value):
                return False
        if value is None:
            return True
        if whole is not None and not whole(value):
            return False
        rule = kind_of(type(value))
        return rule is None or rule(value)

    return check


def _is_bare(schema: Schema) -> bool:
    return not (schema.format or schema.enum or schema.all_of or schema.any_of or schema.one_of or schema.no)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_boolean(value: Any) -> bool:
    return type(value) is bool


def _is_list(value: Any) -> bool:
    return type(value) is list


def _is_object(value: Any) -> bool:
    return type(value) is dict


def _plain_scalar(schema: Schema) -> Check | None:
    """For scalars that have a type and nothing else to satisfy."""
    if not _is_bare(schema) or len(schema.types) != 1 or schema.nullable:
        return None
    kind = schema.types[0]
    if kind == "string" and _text(schema) is None:
        return _is_text
    if kind == "boolean":
        return _is_boolean
    if kind == "integer" and _number(schema) is None:
        return numbers.is_whole
    return None


def _object_only(members: Check | None, nullable: bool) -> Check:
    if members is None and not nullable:
        return _is_object
    if members is None:
        return lambda value: type(value) is dict or (nullable and value is None)

    def check(value: Any) -> bool:
        if type(value) is dict:
            return members(value)
        return nullable and value is None

    return check


def _type(schema: Schema) -> Check | None:
    if not schema.types and not schema.format:
        return None
    fast = None if schema.nullable or len(schema.types) != 1 else _fast_type(schema.types[0], schema.format)
    return fast or (lambda value: next(findings.type_findings(schema, value, ""), None) is None)


def _fast_type(kind: str, form: str) -> Check | None:
    if kind == "integer":
        return numbers.is_whole
    if kind == "number":
        return numbers.is_number
    if kind == "string" and form:  # as upstream: where there is a format, a list is not refused for its type
        return lambda value: type(value) is str or type(value) is list
    return None if form else _OF_TYPE.get(kind)


_OF_TYPE: dict[str, Check] = {
    "string": _is_text, "boolean": _is_boolean, "array": _is_list, "object": _is_object,
}  # fmt: skip


def _text(schema: Schema) -> Check | None:
    high, low, form = schema.max_length, schema.min_length, schema.format
    rule = formats.validator(form) if form else None
    search: Callable[[str], Any] | None = None
    if schema.pattern:
        try:
            search = compile_pattern(schema.pattern).search
        except PatternError:
            return lambda value: False
    if high is None and low is None and rule is None and search is None:
        return None

    def check(value: str) -> bool:
        size = len(value)
        if (high is not None and size > high) or (low is not None and size < low):
            return False
        return (search is None or search(value) is not None) and (rule is None or rule(value))

    return check


def _number(schema: Schema) -> Check | None:
    limits = (schema.maximum, schema.minimum, schema.multiple_of)
    exact = schema.types == ("integer",)
    if limits == (None, None, None) and schema.format != "float" and (not exact or not schema.format):
        return None  # the type's own check says all there is to say
    slowly = _any_number(schema)
    high, low = schema.maximum, schema.minimum
    if (
        schema.multiple_of is not None
        or not exact
        or not all(type(limit) is int for limit in limits if limit is not None)
    ):
        return slowly
    if not all(numbers.fits(limit, "integer", schema.format) for limit in limits if limit is not None):
        return slowly
    bound = numbers.INT32 if schema.format == "int32" else numbers.INT64
    least = -bound if low is None else max(-bound, int(low) + schema.exclusive_minimum)
    most = bound - 1 if high is None else min(bound - 1, int(high) - schema.exclusive_maximum)

    def check(value: int | float) -> bool:
        return least <= value <= most if type(value) is int else slowly(value)

    return check


def _any_number(schema: Schema) -> Check:
    return lambda value: next(findings.number_findings(schema, value, ""), None) is None


def _enum(schema: Schema) -> Check | None:
    values = schema.enum
    if not values:
        return None
    texts = frozenset(value for value in values if type(value) is str)
    if len(texts) == len(set(map(str, values))) and all(type(value) is str for value in values):
        return lambda value: type(value) is str and value in texts
    return lambda value: any(numbers.equal(value, one) for one in values)


def _items(schema: Schema) -> Check | None:
    each = compile_check(schema.items) if schema.items is not None else None
    high, low, unique = schema.max_items, schema.min_items, schema.unique_items
    if each is None and high is None and low is None and not unique:
        return None

    def check(value: list[Any]) -> bool:
        size = len(value)
        if (high is not None and size > high) or (low is not None and size < low):
            return False
        if each is not None:
            for item in value:
                if not each(item):
                    return False
        return not unique or not numbers.has_repeated(value)

    return check


def _members(schema: Schema) -> Check | None:
    known = {key: compile_check(below) for key, below in schema.properties.items()}
    others = compile_check(schema.additional) if schema.additional is not None else None
    closed = schema.additional is None and schema.allows_additional is False
    high, low, required = schema.max_properties, schema.min_properties, schema.required
    if closed or others is not None or high is not None or low is not None:
        return _any_members(schema, known, others, closed=closed)
    rules = {key: run for key, run in known.items() if run is not None}
    if not rules and not required:
        return None
    rule_of = rules.get

    def check(value: dict[str, Any]) -> bool:
        for key in required:
            if key not in value:
                return False
        for key, item in value.items():
            rule = rule_of(key)
            if rule is not None and not rule(item):
                return False
        return True

    return check


def _any_members(
    schema: Schema, known: dict[str, Check | None], others: Check | None, *, closed: bool
) -> Check:
    high, low, required = schema.max_properties, schema.min_properties, schema.required

    def check(value: dict[str, Any]) -> bool:
        size = len(value)
        if (high is not None and size > high) or (low is not None and size < low):
            return False
        for key in required:
            if key not in value:
                return False
        for key, item in value.items():
            if key in known:
                rule = known[key]
            elif closed:
                return False
            else:
                rule = others
            if rule is not None and not rule(item):
                return False
        return True

    return check


def _alternatives(schema: Schema) -> Check | None:
    parts: list[Check] = []
    for one in schema.all_of:
        if (rule := compile_check(one)) is not None:
            parts.append(rule)
    if schema.any_of:
        rules = [compile_check(one) for one in schema.any_of]
        if None not in rules:
            given = [rule for rule in rules if rule is not None]
            parts.append(lambda value: any(rule(value) for rule in given))
    if schema.one_of:
        choices = [compile_check(one) for one in schema.one_of]
        parts.append(lambda value: sum(rule is None or rule(value) for rule in choices) == 1)
    if schema.no is not None:
        denied = compile_check(schema.no)
        parts.append(lambda value: denied is not None and not denied(value))
    if not parts:
        return None
    return lambda value: all(part(value) for part in parts)
