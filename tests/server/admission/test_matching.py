"""Which requests rules and selectors are about, held against a plain reading of the words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.fakes import ALICE, FakeReader
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.server.admission import matching
from timonel.server.admission.matching import Place
from timonel.server.request import AdmissionCall, Operation

Object = dict[str, Any]
GROUPS, VERSIONS, RESOURCES, PARTS = (
    ("", "apps"),
    ("v1", "v1beta1"),
    ("pods", "deployments"),
    ("", "status", "scale"),
)
OPERATIONS = tuple(operation.value for operation in Operation)

places = st.builds(
    Place,
    st.sampled_from(GROUPS),
    st.sampled_from(VERSIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from(PARTS),
)
named = st.sampled_from(
    [*RESOURCES, "*", "*/*", *(f"{r}/{p}" for r in (*RESOURCES, "*") for p in ("status", "scale", "*"))]
)


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([*values, "*"]), min_size=1, max_size=3, unique=True)


rules = st.fixed_dictionaries(
    {
        "operations": some(*OPERATIONS),
        "apiGroups": some(*GROUPS),
        "apiVersions": some(*VERSIONS),
        "resources": st.lists(named, min_size=1, max_size=3, unique=True),
        "scope": st.sampled_from(["*", "Namespaced", "Cluster"]),
    }
)


def is_meant(rule: Object, place: Place, operation: str, namespace: str) -> bool:
    """The documentation's words, one after the other."""

    def covers(pattern: str) -> bool:
        name, _, part = pattern.partition("/")
        return name in ("*", place.resource) and (part == place.subresource or part == "*")

    return (
        any(o in ("*", operation) for o in rule["operations"])
        and any(g in ("*", place.group) for g in rule["apiGroups"])
        and any(v in ("*", place.version) for v in rule["apiVersions"])
        and any(map(covers, rule["resources"]))
        and {"*": True, "Namespaced": namespace != "", "Cluster": namespace == ""}[rule["scope"]]
    )


@given(rules, places, st.sampled_from(OPERATIONS), st.sampled_from(["", "shop"]))
def test_a_rule_means_what_its_words_say(tree: Object, place: Place, operation: str, namespace: str) -> None:
    found = matching.rule(tree)

    matches = found.matches(place, operation, namespace, "x")

    assert matches is is_meant(tree, place, operation, namespace)
    assert found.could_match(place, operation) or not matches


DEPLOYMENTS = ResourceType(group="apps", version="v1", kind="Deployment", plural="deployments")
NAMESPACES = ResourceType(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False)


def call(resource: ResourceType = DEPLOYMENTS, namespace: str = "shop", **labels: str) -> AdmissionCall:
    obj = {"metadata": {"name": "x", "labels": labels}}
    return AdmissionCall(Operation.CREATE, resource, "", namespace, "x", ALICE, obj, None)


@given(
    st.lists(rules, max_size=3),
    st.lists(rules, max_size=2),
    st.booleans(),
    places,
    st.lists(places, max_size=3),
)
def test_an_equivalent_form_is_chosen_only_where_the_own_one_is_not_meant(
    wanted: list[Object], excluded: list[Object], is_equivalent: bool, own: Place, others: list[Place]
) -> None:
    policy = "Equivalent" if is_equivalent else "Exact"
    found = matching.match({"rules": wanted, "excludeResourceRules": excluded, "matchPolicy": policy})

    def any_means(rules: list[Object], place: Place) -> bool:
        return any(is_meant(rule, place, "CREATE", "shop") for rule in rules)

    chosen = found.place(own, others, call())

    seen = [own, *others] if is_equivalent else [own]
    if any(any_means(excluded, place) for place in seen):
        assert chosen is None
    elif any_means(wanted, own):
        assert chosen == own
    elif is_equivalent and any(any_means(wanted, place) for place in others):
        assert chosen in others
        assert any_means(wanted, chosen)
    else:
        assert chosen is None


def selecting(**labels: str) -> matching.Match:
    return matching.match({"namespaceSelector": {"matchLabels": labels}})


@pytest.mark.parametrize(("team", "is_selected"), [("blue", True), ("red", False)])
def test_a_namespace_is_selected_by_its_labels(team: str, is_selected: bool) -> None:
    reader = FakeReader()
    reader.put("namespaces", {"metadata": {"name": "shop", "labels": {"team": team}}})

    assert selecting(team="blue").selects(call(), reader) is is_selected


def test_a_namespace_object_is_selected_by_its_own_labels() -> None:
    assert selecting(team="blue").selects(call(NAMESPACES, "", team="blue"), FakeReader())
    assert not selecting(team="blue").selects(call(NAMESPACES, "", team="red"), FakeReader())


def test_what_is_in_no_namespace_is_selected_by_every_selector() -> None:
    assert selecting(team="blue").selects(call(namespace=""), FakeReader())


def test_a_namespace_that_is_not_there_is_an_error() -> None:
    with pytest.raises(errors.NotFound):
        selecting(team="blue").selects(call(), FakeReader())
