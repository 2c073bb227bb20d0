"""Schemas and values for properties: small, and related to each other often enough to meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "c", "name"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -2.0, 2**64]),
    st.text("ab1", max_size=3),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def _optional(**words: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=words)


_TEXT = _optional(
    maxLength=st.integers(0, 3),
    minLength=st.integers(0, 2),
    pattern=st.sampled_from(["^a", "[0-9]$"]),
    format=st.sampled_from(["date", "ipv4", "unknown"]),
    enum=st.lists(st.text("ab", max_size=2), min_size=1, max_size=2),
    nullable=st.booleans(),
    default=st.text("ab", max_size=2),
)
_NUMBER = _optional(
    maximum=st.sampled_from([0, 1, 2.5]),
    minimum=st.sampled_from([-1, 0, 0.5]),
    exclusiveMaximum=st.booleans(),
    exclusiveMinimum=st.booleans(),
    multipleOf=st.sampled_from([1, 2, 0.5]),
    format=st.sampled_from(["int32", "int64", "double"]),
    nullable=st.booleans(),
    enum=st.lists(st.integers(-2, 2), min_size=1, max_size=2),
)


def _typed(kind: str, words: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return words.map(lambda found: {"type": kind, **found})


def _objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    words = _optional(
        properties=st.dictionaries(KEYS, inner, max_size=3),
        required=st.lists(KEYS, max_size=2),
        minProperties=st.integers(0, 2),
        maxProperties=st.integers(1, 3),
        **{"x-kubernetes-preserve-unknown-fields": st.just(True)},
    )
    maps = _optional(additionalProperties=inner, maxProperties=st.integers(1, 3), nullable=st.booleans())
    return _typed("object", words | maps)


def _lists(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    words = _optional(
        minItems=st.integers(0, 2),
        maxItems=st.integers(0, 3),
        uniqueItems=st.booleans(),
        nullable=st.booleans(),
        **{"x-kubernetes-list-type": st.sampled_from(["set", "atomic"])},
    )
    return st.tuples(words, inner).map(lambda pair: {"type": "array", **pair[0], "items": pair[1]})


def _alternatives(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(inner, min_size=1, max_size=2)
    words = st.one_of(
        *(_optional(**{key: some}) for key in ("anyOf", "oneOf", "allOf")), _optional(**{"not": inner})
    )
    return st.tuples(inner, words).map(lambda pair: {**pair[0], **pair[1]})


LEAVES = st.one_of(
    _typed("string", _TEXT),
    _typed("integer", _NUMBER),
    _typed("number", _NUMBER),
    st.just({"type": "boolean"}),
    st.just({"x-kubernetes-int-or-string": True}),
    st.just({"x-kubernetes-preserve-unknown-fields": True}),
)
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    LEAVES, lambda inner: _objects(inner) | _lists(inner) | _alternatives(inner), max_leaves=5
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
OBJECT_SCHEMAS = _objects(SCHEMAS)
