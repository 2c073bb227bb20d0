"""The table of field numbers against the published schemas."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.schema import load, protobuf

SCHEMA, MESSAGES = load(), protobuf.load()
TYPES = [name for package in SCHEMA.packages() for name in SCHEMA.types_in(package)]

# Alpha fields of 1.36 whose numbers are not published in a form we could read, and types that only they use; they are
# skipped as fields that nobody knows. Statuses of CustomResourceDefinitions have theirs in JSON only as well.
UNNUMBERED = {
    "apiextensions.v1.CustomResourceDefinitionCondition": {"observedGeneration"},
    "apiextensions.v1.CustomResourceDefinitionStatus": {"observedGeneration"},
    "core.v1.NodeAllocatableResourceClaimStatus": {"containers", "resourceClaimName", "resources"},
    "core.v1.PodSchedulingGroup": {"podGroupName"},
    "core.v1.PodSpec": {"schedulingGroup"},
    "core.v1.PodStatus": {"nodeAllocatableResourceClaimStatuses"},
    "meta.v1.ListMeta": {"shardInfo"},
    "meta.v1.ShardInfo": {"selector"},
    "resource.v1.Device": {"nodeAllocatableResourceMappings"},
    "resource.v1.NodeAllocatableResourceMapping": {"allocationMultiplier", "capacityKey"},
}
# How kinds of values are called in the table, where it is not as in the schema.
KINDS = {
    "any": "raw",
    "number": "double",
    "props-or-array": "=apiextensions.v1.JSONSchemaPropsOrArray",
    "props-or-bool": "=apiextensions.v1.JSONSchemaPropsOrBool",
    "{}props-or-strings": "{}=apiextensions.v1.JSONSchemaPropsOrStringArray",
    "{}[]string": "{}strings",
}
# A message of its own in protobuf only.
WRAPPED = {
    ("apiextensions.v1.CustomResourceSubresources", "status"),
    ("meta.v1.APIResource", "verbs"),
}


TYPE_META = {"kind", "apiVersion"}  # in the envelope


def kind_of(field: dict[str, Any]) -> str:
    kind: str = field["t"]
    if kind in ("list", "map"):
        kind = ("[]" if kind == "list" else "{}") + kind_of(field["of"])
    elif kind == "ref":
        kind = field["ref"]
    return KINDS.get(kind, kind)


def flat(name: str) -> dict[str, str]:
    """Kinds of a message's fields by name as JSON has them: those of inlined messages are its own."""
    found: dict[str, str] = {}
    for _, field, kind in MESSAGES.fields(name) if name in MESSAGES else ():
        found |= flat(kind[1:]) if kind.startswith("+") else {field: kind}
    return found


@pytest.mark.parametrize("name", TYPES)
def test_every_field_of_a_type_has_a_number_and_the_same_kind_of_value(name: str) -> None:
    fields, numbered = SCHEMA.type(name)["fields"], flat(name)
    missing = set(fields) - set(numbered)

    assert missing - TYPE_META == UNNUMBERED.get(name, set())
    assert missing & TYPE_META in (set(), TYPE_META)
    assert set(numbered) <= set(fields)
    for field, kind in numbered.items():
        if (name, field) not in WRAPPED:
            assert kind == kind_of(fields[field]), field


def test_numbers_are_used_once_in_a_message() -> None:
    for name in MESSAGES:
        numbers = [number for number, _, _ in MESSAGES.fields(name)]
        assert len(set(numbers)) == len(numbers), name


def test_a_field_s_message_is_in_the_table() -> None:
    for name in MESSAGES:
        for _, field, kind in MESSAGES.fields(name):
            bare = kind.lstrip("[]{}=+")
            assert "." not in bare or bare in MESSAGES, f"{name}.{field}"


def test_a_message_names_those_of_its_package_in_short() -> None:
    messages = protobuf.Messages("[t.v1]\nA 1:+.B 2:c:[]=.C 3:d 4:e:{}u.v1.E\n")

    assert messages.fields("t.v1.A") == [
        (1, "", "+t.v1.B"),
        (2, "c", "[]=t.v1.C"),
        (3, "d", "string"),
        (4, "e", "{}u.v1.E"),
    ]
