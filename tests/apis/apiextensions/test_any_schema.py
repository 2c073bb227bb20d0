"""Whatever a definition says, it is judged: no schema makes the rules fail, nor what they let pass the compilers."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.apis.apiextensions.definitions import definition, version
from timonel.apis.apiextensions.definition import CUSTOM_RESOURCE_DEFINITION as DEFINITION
from timonel.apis.retired.definitions import RESOURCES
from timonel.apis.scheme import Scheme
from timonel.machinery.structural import Structural

SCHEME = Scheme()
RETIRED = RESOURCES[0]
KEYS = st.sampled_from(["a", "metadata", "apiVersion", "x.y", ""])
TEXTS = st.sampled_from(["", "a", "(", "date", "int32", "object", "array", "string", "set", "map", "atomic"])
NUMBERS = st.sampled_from([-1, 0, 1, 0.5, 2**31, 2**63 - 1])
WHOLES = st.sampled_from([-1, 0, 1, 2**31])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
RULES = st.fixed_dictionaries(
    {"rule": st.sampled_from(["", "self == oldSelf", "self.a", "true", "size(self) > 1", "1 +"])},
    optional={
        "message": TEXTS,
        "messageExpression": st.sampled_from(["", "'a'", "self", "1"]),
        "reason": TEXTS,
        "fieldPath": st.sampled_from([".a", "['a']", "."]),
        "optionalOldSelf": st.booleans(),
    },
)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(KEYS, inner, max_size=2)
    some = st.lists(inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "odd", ""]),
            "properties": named, "patternProperties": named, "definitions": named,
            "items": inner | some, "additionalProperties": inner | st.booleans(),
            "additionalItems": inner | st.booleans(), "not": inner, "allOf": some, "anyOf": some, "oneOf": some,
            "dependencies": st.dictionaries(KEYS, inner | st.lists(TEXTS, max_size=1), max_size=1),
            "default": JSON, "enum": st.lists(JSON, max_size=2), "example": JSON,
            "required": st.lists(KEYS, max_size=2),
            "pattern": TEXTS, "format": TEXTS, "title": TEXTS, "nullable": st.booleans(), "$ref": TEXTS, "id": TEXTS,
            "minimum": NUMBERS, "maximum": NUMBERS, "multipleOf": NUMBERS, "exclusiveMinimum": st.booleans(),
            "minLength": WHOLES, "maxLength": WHOLES, "minItems": WHOLES, "maxItems": WHOLES,
            "minProperties": WHOLES, "maxProperties": WHOLES, "uniqueItems": st.booleans(),
            "x-kubernetes-preserve-unknown-fields": st.booleans(), "x-kubernetes-embedded-resource": st.booleans(),
            "x-kubernetes-int-or-string": st.booleans(), "x-kubernetes-list-type": TEXTS,
            "x-kubernetes-map-type": TEXTS, "x-kubernetes-list-map-keys": st.lists(KEYS, max_size=2),
            "x-kubernetes-validations": st.lists(RULES, max_size=2),
        },
    )  # fmt: skip


SCHEMAS: st.SearchStrategy[Any] = st.recursive(st.just({}), _schemas, max_leaves=6)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=3)


def decoded(schema: Any) -> Any:
    """A definition with this schema as it comes out of the codec."""
    crd = definition(version(schema={"type": "object", **schema}))
    found, _ = SCHEME.codec(DEFINITION).normalize(
        {"apiVersion": DEFINITION.api_version, "kind": DEFINITION.kind, **crd}
    )
    return found


@given(SCHEMAS, OBJECTS)
def test_every_schema_is_judged_and_the_good_ones_judge_every_object(schema: Any, obj: Any) -> None:
    crd = decoded(schema)
    causes = list(DEFINITION.validate(crd))
    list(DEFINITION.warnings(crd))

    assert all(cause.message and cause.field for cause in causes)
    if not causes:
        found = Structural(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        found.prune(obj)
        found.default(obj)
        list(found.validate(obj, copy.deepcopy(obj)))
        assert found.prune(obj) == []


@given(SCHEMAS, SCHEMAS)
def test_every_update_of_a_schema_is_judged(old: Any, new: Any) -> None:
    before, after = decoded(old), decoded(new)
    DEFINITION.prepare_update(after, before)

    assert all(cause.message for cause in DEFINITION.validate_update(after, before))


@given(SCHEMAS)
def test_a_valid_definition_stays_valid(schema: Any) -> None:
    crd = decoded(schema)
    if not list(DEFINITION.validate(crd)):
        assert list(DEFINITION.validate_update(copy.deepcopy(crd), crd)) == []


@given(SCHEMAS, st.booleans())
def test_every_schema_can_be_sent_as_v1beta1(schema: Any, keeps_unknown: bool) -> None:
    assert RETIRED.retired is not None
    crd = definition(
        preserveUnknownFields=keeps_unknown, validation={"openAPIV3Schema": schema}, version="v1"
    )
    crd["spec"]["versions"] = [{"name": "v1", "served": True, "storage": True}]
    crd, _ = SCHEME.codec(RETIRED).normalize({"apiVersion": RETIRED.api_version, "kind": RETIRED.kind, **crd})
    RETIRED.default(crd)
    RETIRED.retired.to_stored(crd)
    once = copy.deepcopy(crd)
    list(DEFINITION.validate(crd))
    RETIRED.retired.from_stored(crd)
    RETIRED.retired.to_stored(crd)

    assert crd == once
