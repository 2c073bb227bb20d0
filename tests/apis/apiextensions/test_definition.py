from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.apis.apiextensions.definitions import (
    AT,
    COUNT,
    TEXT,
    definition,
    established,
    refused,
    refused_change,
    version,
    with_fields,
)
from timonel.apis.apiextensions.definition import CUSTOM_RESOURCE_DEFINITION as DEFINITION


def test_names_follow_from_the_kind() -> None:
    names = definition()["spec"]["names"]

    assert (names["singular"], names["listKind"]) == ("thing", "ThingList")


def test_the_version_that_is_stored_is_noted_and_stays_noted() -> None:
    old = definition(version("v1"), version("v2"))
    new = copy.deepcopy(old)
    for one in new["spec"]["versions"]:
        one["storage"] = one["name"] == "v2"
    DEFINITION.prepare_update(new, old)

    assert old["status"]["storedVersions"] == ["v1"]
    assert new["status"]["storedVersions"] == ["v1", "v2"]


def test_a_version_that_was_stored_may_not_go() -> None:
    new = definition(version("v2", storage=True))

    (cause,) = refused_change(definition(), new)
    assert cause.startswith(
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously'
    )


@pytest.mark.parametrize(
    ("change", "anew", "later"),
    [
        ({"group": "b.io"}, ["spec.group"], ["spec.group"]),
        ({"scope": "Cluster"}, [], ["spec.scope"]),
        ({"names": {"plural": "things", "kind": "Other"}}, [], ["spec.names.kind"]),
    ],
)
def test_what_objects_are_stored_by_does_not_change(change: Any, anew: list[str], later: list[str]) -> None:
    old = definition()
    new = definition(**change)

    assert [cause.partition(":")[0] for cause in refused_change(old, new)] == anew
    assert [cause.partition(":")[0] for cause in refused_change(established(old), new)] == later


@pytest.mark.parametrize(
    "old",
    [
        with_fields(f={"type": "object", "default": {"x": 1}}),
        with_fields(f={"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"}),
        with_fields(f={"type": "odd"}),
    ],
    ids=["unpruned default", "set of objects", "odd type"],
)
def test_what_was_let_pass_before_is_let_pass_again(old: Any) -> None:
    new = copy.deepcopy(old)
    new["spec"]["names"]["shortNames"] = ["th"]

    assert refused(old) != []
    assert [cause for cause in refused_change(old, new) if "must not be empty" not in cause] == []


def test_the_cost_of_rules_is_not_asked_again_while_the_schema_stays() -> None:
    rule = {"rule": "self.all(a, self.all(b, a != b))"}
    lists = {"type": "array", "maxItems": 200, "items": TEXT, "x-kubernetes-validations": [rule]}
    old = with_fields(f=lists)

    assert any("estimated rule cost exceeds" in cause for cause in refused(old))
    assert not any(
        "estimated rule cost exceeds" in cause for cause in refused_change(old, copy.deepcopy(old))
    )


def test_keeping_all_unknown_fields_is_no_setting_any_more() -> None:
    crd = definition(preserveUnknownFields=True)

    assert refused(crd)[-1].startswith("spec.preserveUnknownFields: Invalid value: true: cannot set to true")
    assert refused_change(crd, crd) == []


CA = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="


@pytest.mark.parametrize(("bundle", "good"), [(CA, True), ("eA==", False), ("", True)])
def test_the_authority_of_an_established_converter_can_be_read(bundle: str, good: bool) -> None:
    webhook = {"clientConfig": {"url": "https://a.b/c"}, "conversionReviewVersions": ["v1"]}
    old = definition(conversion={"strategy": "Webhook", "webhook": webhook})
    new = copy.deepcopy(old)
    new["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = bundle

    assert refused_change(old, new) == []
    assert (refused_change(established(old), new) == []) is good


@pytest.mark.parametrize(
    ("warning", "why"),
    [
        ("x" * 257, "must be <= 256 characters long"),
        ("", "must not be an empty string"),
        ("é\tx", "must only contain printable UTF-8 characters; non-printable character found at index 2"),
        ("all good, é", ""),
    ],
)
def test_a_deprecation_warning_fits_into_a_header(warning: str, why: str) -> None:
    causes = refused(definition(version(deprecated=True, deprecationWarning=warning)))

    assert [cause.rpartition('": ')[2] for cause in causes] == ([why] if why else [])


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (".metadata.name", "must not point to fields in metadata"),
        (".spec", "must point to a field of type string, boolean or integer. Enum string fields and strings with "
         "formats are allowed."),
        (".spec['a']", "is an invalid path: array notation is not allowed"),
        (".spec.a", ""),
    ],
)  # fmt: skip
def test_fields_to_select_by_are_single_values_outside_of_metadata(path: str, why: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "metadata": {"type": "object", "properties": {"name": TEXT}},
            "spec": {"type": "object", "properties": {"a": TEXT}},
        },
    }
    causes = refused(definition(version(schema=schema, selectableFields=[{"jsonPath": path}])))

    assert [cause.partition('": ')[2] for cause in causes] == ([why] if why else [])


def test_there_are_eight_fields_to_select_by_at_most() -> None:
    names = [f"f{i}" for i in range(9)]
    schema = {"type": "object", "properties": dict.fromkeys(names, TEXT)}
    fields = [{"jsonPath": f".{name}"} for name in names]

    assert refused(definition(version(schema=schema, selectableFields=fields))) == [
        "spec.selectableFields: Too many: 9: must have at most 8 items"
    ]


def test_a_status_may_only_be_written_with_names_that_are_names() -> None:
    old = definition()
    new = copy.deepcopy(old)
    new["status"]["acceptedNames"] = {"plural": "Odd", "kind": "Thing"}

    (cause,) = DEFINITION.validate_status_update(new, old)
    assert cause.field == "status.acceptedNames.plural"


def test_formats_that_nothing_knows_are_warned_of_once() -> None:
    crd = with_fields(
        a={**TEXT, "format": "odd"}, b={**COUNT, "format": "int32"}, c={**TEXT, "format": "date"}
    )

    assert list(DEFINITION.warnings(crd)) == ['unrecognized format "odd"']
    assert list(DEFINITION.warnings_update(crd, crd)) == []


def test_validation_changes_nothing() -> None:
    crd = with_fields(
        f={"type": "object", "default": {"a": {"b": 1}}, "properties": {"a": {"type": "object"}}}
    )
    before = copy.deepcopy(crd)
    causes = refused(crd)

    assert causes == [
        f'{AT}.properties[f].default: Invalid value: {{"a":{{"b":1}}}}: must not have unknown fields'
    ]
    assert crd == before
