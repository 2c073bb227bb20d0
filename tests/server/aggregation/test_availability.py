"""What is said about the servers behind this one, from what Services and endpoints say."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.objects.meta import Object
from timonel.server.aggregation import availability, priorities, specs
from timonel.server.aggregation.availability import Finding
from timonel.server.aggregation.documents import of_resource_list


def api_service(**service: Any) -> Object:
    return {
        "metadata": {"name": "v1.acme.io"},
        "spec": {"group": "acme.io", "version": "v1", "service": {"namespace": "ns", "name": "s", **service}},
    }


def service(*ports: Object, kind: str = "ClusterIP") -> Object:
    return {"metadata": {"name": "s"}, "spec": {"type": kind, "ports": list(ports)}}


def endpoints(*ready: bool | None, port: str = "", number: int | None = 443) -> Object:
    listed = [{"conditions": {} if r is None else {"ready": r}, "addresses": ["10.0.0.1"]} for r in ready]
    entry: Object = {"name": port}
    if number is not None:
        entry["port"] = number
    return {"endpoints": listed, "ports": [entry]}


HTTPS = {"port": 443}


@pytest.mark.parametrize(
    ("found", "slices", "reason", "message"),
    [
        (None, [], "ServiceNotFound", 'service/s in "ns" is not present'),
        (service({"port": 80}), [], "ServicePortError", 'service/s in "ns" is not listening on port 443'),
        (service(HTTPS), [], "EndpointsNotFound", 'cannot find endpointslices for service/s in "ns"'),
        (
            service(HTTPS),
            [endpoints(False)],
            "MissingEndpoints",
            'endpointslices for service/s in "ns" have no addresses with port name ""',
        ),
        (service({**HTTPS, "name": "web"}), [endpoints(True, port="other")], "MissingEndpoints", None),
        (service(HTTPS), [endpoints(True, number=None)], "MissingEndpoints", None),
        (service(HTTPS), [endpoints(False), endpoints(None)], "", ""),
        (service(HTTPS), [endpoints(True)], "", ""),
        (service(kind="ExternalName"), [], "", ""),
    ],
)
def test_what_keeps_a_server_from_being_reached(
    found: Object | None, slices: list[Object], reason: str, message: str | None
) -> None:
    problem = availability.problem(api_service(), found, slices)

    assert (problem.reason if problem else "") == reason
    if problem is not None:
        assert problem.status == "False"
        assert message is None or problem.message == message


def test_a_condition_changes_its_time_only_with_its_status() -> None:
    obj = api_service()
    availability.set_condition(obj, availability.failed_check("a"), 0.0)
    availability.set_condition(obj, availability.failed_check("b"), 10.0)
    (condition,) = obj["status"]["conditions"]
    assert (condition["lastTransitionTime"], condition["message"]) == ("1970-01-01T00:00:00Z", "b")
    assert not availability.is_available(obj)

    availability.set_condition(obj, availability.PASSED, 20.0)

    assert obj["status"]["conditions"][0]["lastTransitionTime"] == "1970-01-01T00:00:20Z"
    assert availability.is_available(obj)
    assert Finding("True", "Passed", "all checks passed") == availability.PASSED


def test_groups_come_in_the_order_of_their_priorities() -> None:
    def one(group: str, version: str, minimum: int, priority: int = 1) -> Object:
        return priorities.local(group, version, managed="", priorities=(minimum, priority))

    found = priorities.in_order(
        [
            one("", "v1", 18000),
            one("b.io", "v1", 100),
            one("a.io", "v1beta1", 100),
            one("a.io", "v1", 100),
            one("a.io", "v2alpha1", 50, 9),
            one("z.io", "v1", 2000),
            one("z.io", "odd", 2000),
        ]
    )

    assert list(found) == [
        ("z.io", ("v1", "odd")),
        ("a.io", ("v2alpha1", "v1", "v1beta1")),
        ("b.io", ("v1",)),
    ]


def test_served_versions_of_definitions_have_api_services() -> None:
    versions = [{"name": "v1", "served": True}, {"name": "v0", "served": False}]
    definition = {"metadata": {"name": "w.acme.io"}, "spec": {"group": "acme.io", "versions": versions}}
    going = {
        "metadata": {"name": "x", "deletionTimestamp": "now"},
        "spec": {"group": "x", "versions": versions},
    }

    ((key, made),) = priorities.of_definitions([definition, going]).items()

    assert key == ("acme.io", "v1")
    assert made["metadata"]["name"] == "v1.acme.io"
    assert made["spec"]["groupPriorityMinimum"] == 1000
    assert priorities.is_managed(made)


def test_a_list_of_resources_becomes_an_entry_of_discovery() -> None:
    resources = [
        {"name": "ws/status", "kind": "W", "namespaced": True, "verbs": ["get"]},
        {
            "name": "ws",
            "kind": "W",
            "singularName": "w",
            "namespaced": True,
            "verbs": ["list"],
            "shortNames": ["x"],
        },
        {"name": 5},
        "odd",
    ]

    entry = of_resource_list({"resources": resources}, "acme.io", "v1")

    kind = {"group": "acme.io", "version": "v1", "kind": "W"}
    assert entry == {
        "version": "v1",
        "resources": [
            {
                "resource": "ws",
                "responseKind": kind,
                "scope": "Namespaced",
                "singularResource": "w",
                "verbs": ["list"],
                "shortNames": ["x"],
                "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["get"]}],
            }
        ],
    }


def test_only_what_is_about_a_group_version_is_taken_over() -> None:
    def leads_to(name: str) -> Object:
        return {"schema": {"$ref": f"#/definitions/{name}"}}

    document = {
        "paths": {
            "/apis/acme.io/v1/": {"get": leads_to("List")},
            "/apis/acme.io/v1/ws": {"get": {"responses": [leads_to("W")]}},
            "/apis/acme.io/v10/ws": {"get": leads_to("Other")},
            "/api/v1/pods": {"get": leads_to("Pod")},
        },
        "definitions": {
            "W": {"properties": {"spec": {"$ref": "#/definitions/Spec"}}},
            "Spec": {"properties": {"again": {"$ref": "#/definitions/W"}, "x": {"$ref": "elsewhere"}}},
            "List": {},
            "Other": {},
            "Pod": {},
        },
    }

    found = specs.of_group_version(document, "acme.io", "v1")

    assert set(found["paths"]) == {"/apis/acme.io/v1/", "/apis/acme.io/v1/ws"}
    assert set(found["definitions"]) == {"W", "Spec", "List"}
    for odd in ({}, {"paths": 5}, {"paths": {"/apis/acme.io/v1/x": 5}, "definitions": []}):
        assert specs.of_group_version(odd, "acme.io", "v1")["definitions"] == {}
