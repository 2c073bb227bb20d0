"""Custom resources over HTTP: from the definition to every verb, and what changes when the definition does."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.custom.definitions import (
    CRDS,
    GROUP,
    SPEC,
    THINGS,
    conditions,
    definition,
    install,
    patch,
    read_events,
    thing,
    until,
    version,
)
from tests.server.starting import send, started

pytestmark = pytest.mark.looptime(False)


async def test_a_definition_is_served_as_soon_as_it_is_established() -> None:
    async with started() as server:
        assert (await send(server, "GET", THINGS)).status == 404
        crd = await install(server, definition())
        found = await send(server, "GET", THINGS)

    assert conditions(crd)["Established"] == ("True", "InitialNamesAccepted")
    assert (found.status, found.body["kind"], found.body["items"]) == (200, "ThingList", [])


async def test_objects_are_pruned_defaulted_and_validated() -> None:
    async with started() as server:
        await install(server, definition())
        made = await send(server, "POST", THINGS, thing("a", spec={"color": "red", "odd": 1}))
        strict = await send(
            server, "POST", f"{THINGS}?fieldValidation=Strict", thing("b", spec={"odd": 1}, also=2)
        )
        small = await send(server, "POST", THINGS, thing("b", spec={"size": 0}))

    assert made.body["spec"] == {"color": "red", "size": 3}
    assert made.headers["warning"] == '299 - "unknown field \\"spec.odd\\""'
    assert strict.body["message"].endswith('unknown field "also", unknown field "spec.odd"')
    assert small.status == 422
    assert small.body["details"]["causes"][0]["field"] == "spec.size"


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"metadata": {"name": "b"}}, 400, "Object 'Kind' is missing"),
        ({"kind": "Thing", "metadata": {"name": "b"}}, 400, "Object 'apiVersion' is missing"),
        (thing("b", "v9"), 400, "does not match the expected API version"),
        (thing("b", kind="Other"), 422, "must be Thing"),
        (thing("Not a name"), 422, "RFC 1123"),
        ([1], 400, "cannot be handled"),
        (b"{", 400, ""),
        ({**thing("b"), "metadata": 1}, 400, "ObjectMeta"),
        ({**thing("b"), "metadata": {"name": "b", "labels": {"a": 1}}}, 400, "ObjectMeta.labels"),
        (thing("b", spec=[1]), 422, "must be of type object"),
    ],
)
async def test_bad_bodies_are_refused_in_words(body: object, status: int, word: str) -> None:
    async with started() as server:
        await install(server, definition())
        found = await send(server, "POST", THINGS, body)
        left = await send(server, "GET", THINGS)

    assert (found.status, left.body["items"]) == (status, [])
    assert word in found.body["message"]


async def test_patches_of_every_kind_but_strategic_are_taken() -> None:
    async with started() as server:
        await install(server, definition())
        await send(server, "POST", THINGS, thing("a", spec={"tags": ["x"]}))
        path = f"{THINGS}/a"
        merged = await patch(server, path, {"spec": {"size": 5}})
        by_json = await patch(server, path, [{"op": "replace", "path": "/spec/size", "value": 6}], "json")
        applied = await patch(
            server, f"{path}?fieldManager=m", thing("a", spec={"tags": ["y"], "color": "red"}), "apply"
        )
        strategic = await patch(server, path, {}, "strategic-merge")
        same = await patch(server, path, {"spec": {"size": 6}})

    assert [a.body["spec"]["size"] for a in (merged, by_json)] == [5, 6]
    assert sorted(applied.body["spec"]["tags"]) == ["x", "y"]
    assert strategic.status == 415
    assert [a.body["metadata"]["generation"] for a in (merged, by_json, applied, same)] == [2, 3, 4, 4]


async def test_status_and_scale_are_written_apart() -> None:
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    parts = {"status": {}, "scale": scale | {"labelSelectorPath": ".status.selector"}}
    async with started() as server:
        await install(server, definition("things", "Thing", version(subresources=parts)))
        await send(server, "POST", THINGS, thing("a", spec={}, status={"size": 9}))
        path = f"{THINGS}/a"
        written = await patch(
            server, f"{path}/status", {"spec": {"size": 9}, "status": {"size": 2, "selector": "a=b"}}
        )
        left = await patch(server, path, {"status": {"size": 9}})
        scaled = await patch(server, f"{path}/scale", {"spec": {"replicas": 7}})
        found = await send(server, "GET", path)

    assert (written.body["spec"]["size"], written.body["metadata"]["generation"]) == (3, 1)
    assert left.body["status"]["size"] == 2
    assert scaled.body["spec"] == {"replicas": 7}
    assert scaled.body["status"] == {"replicas": 2, "selector": "a=b"}
    assert found.body["spec"]["size"] == 7


async def test_columns_and_selectable_fields_come_from_the_definition() -> None:
    columns = [
        {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
        {"name": "First", "type": "string", "jsonPath": ".spec.tags[0]"},
    ]
    v1 = version(additionalPrinterColumns=columns, selectableFields=[{"jsonPath": ".spec.color"}])
    async with started() as server:
        await install(server, definition("things", "Thing", v1))
        await send(server, "POST", THINGS, thing("a", spec={"color": "red", "tags": ["x"]}))
        await send(server, "POST", THINGS, thing("b", spec={"color": "blue"}))
        table = await send(server, "GET", THINGS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        red = await send(server, "GET", f"{THINGS}?fieldSelector=spec.color%3Dred")
        unknown = await send(server, "GET", f"{THINGS}?fieldSelector=spec.size%3D3")
        document = await send(server, "GET", f"/openapi/v3/apis/{GROUP}/v1")

    assert [c["name"] for c in table.body["columnDefinitions"]] == ["Name", "Color", "First"]
    assert [row["cells"] for row in table.body["rows"]] == [["a", "red", "x"], ["b", "blue", None]]
    assert [item["metadata"]["name"] for item in red.body["items"]] == ["a"]
    assert unknown.status == 400
    published = document.body["components"]["schemas"]["com.example.v1.Thing"]
    assert published["x-kubernetes-selectable-fields"] == [{"fieldPath": "spec.color"}]


async def test_deletion_of_one_and_of_all() -> None:
    async with started() as server:
        await install(server, definition())
        for name in "abc":
            await send(server, "POST", THINGS, thing(name, spec={"color": name}))
        one = await send(server, "DELETE", f"{THINGS}/a")
        rest = await send(server, "DELETE", THINGS)
        left = await send(server, "GET", THINGS)

    assert one.body["details"] == {
        "name": "a",
        "group": GROUP,
        "kind": "things",
        "uid": one.body["details"]["uid"],
    }
    assert [item["metadata"]["name"] for item in rest.body["items"]] == ["b", "c"]
    assert left.body["items"] == []


async def test_a_new_schema_holds_for_what_is_stored_already() -> None:
    wider = {**SPEC, "properties": {**SPEC["properties"], "shape": {"type": "string", "default": "round"}}}
    del wider["properties"]["color"]
    async with started() as server:
        await install(server, definition())
        await send(server, "POST", THINGS, thing("a", spec={"color": "red"}))
        watching = asyncio.create_task(send(server, "GET", f"{THINGS}?watch=true&timeoutSeconds=30"))
        await asyncio.sleep(0.1)
        await patch(server, f"{CRDS}/things.{GROUP}", {"spec": {"versions": [version(spec=wider)]}})
        await asyncio.wait_for(watching, 5)  # it shows what is no longer so
        found = await send(server, "GET", f"{THINGS}/a")

    assert found.body["spec"] == {"shape": "round", "size": 3}


async def test_versions_come_and_go_and_the_stored_one_moves() -> None:
    async with started() as server:
        await install(server, definition())
        await send(server, "POST", THINGS, thing("a", spec={"color": "red"}))
        both = [version("v1", storage=False, deprecated=True), version("v2")]
        changed = await patch(server, f"{CRDS}/things.{GROUP}", {"spec": {"versions": both}})
        newer = f"/apis/{GROUP}/v2/namespaces/default/things/a"
        old = await until(server, f"{THINGS}/a", 200)
        new = await until(server, newer, 200)
        before = await server.registry.store.get(f"/{GROUP}/things/default/a")
        await send(server, "PUT", newer, new.body)
        after = await server.registry.store.get(f"/{GROUP}/things/default/a")
        both[0]["served"] = False
        await patch(server, f"{CRDS}/things.{GROUP}", {"spec": {"versions": both}})
        gone = await until(server, f"{THINGS}/a", 404)
        group = await send(server, "GET", f"/apis/{GROUP}")

    assert changed.body["status"]["storedVersions"] == ["v1", "v2"]
    assert old.headers["warning"] == f'299 - "{GROUP}/v1 Thing is deprecated"'
    assert new.body["apiVersion"] == f"{GROUP}/v2"
    assert before is not None
    assert b'"apiVersion":"example.com/v1"' in before.value
    assert after is not None
    assert b'"apiVersion":"example.com/v2"' in after.value
    assert gone.body == "404 page not found\n"
    assert [v["version"] for v in group.body["versions"]] == ["v2"]


async def test_discovery_and_openapi_tell_of_it_and_forget_it() -> None:
    async with started() as server:
        plain = await send(server, "GET", "/openapi/v3")
        await install(
            server, definition("things", "Thing", names={"shortNames": ["th"], "categories": ["all"]})
        )
        listed = await send(server, "GET", f"/apis/{GROUP}/v1")
        index = await send(server, "GET", "/openapi/v3")
        place = index.body["paths"][f"apis/{GROUP}/v1"]["serverRelativeURL"]
        document = await send(server, "GET", place)
        old = await send(server, "GET", "/openapi/v2")
        await send(server, "DELETE", f"{CRDS}/things.{GROUP}")
        await until(server, THINGS, 404)
        after = await send(server, "GET", "/openapi/v3")

    assert listed.body["resources"][0]["shortNames"] == ["th"]
    schemas = document.body["components"]["schemas"]
    assert schemas["com.example.v1.Thing"]["properties"]["spec"] == SPEC
    assert schemas["com.example.v1.ThingList"]["required"] == ["items"]
    assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in schemas
    assert (
        "default"
        not in old.body["definitions"]["com.example.v1.Thing"]["properties"]["spec"]["properties"]["size"]
    )
    assert after.body == plain.body


async def test_aggregated_discovery_is_read_once_as_long_as_nothing_changes() -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with started() as server:
        first = await send(server, "GET", "/apis", accept=accept)
        again = await send(server, "GET", "/apis", accept=accept, if_none_match=first.headers["etag"])
        await install(server, definition())
        then = await send(server, "GET", "/apis", accept=accept, if_none_match=first.headers["etag"])

    assert (again.status, then.status) == (304, 200)
    assert GROUP in [item["metadata"]["name"] for item in then.body["items"]]


async def test_a_watch_begins_with_what_there_is_and_says_where_that_ends() -> None:
    query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with started() as server:
        await install(server, definition())
        await send(server, "POST", THINGS, thing("a"))
        events = await read_events(server, f"{THINGS}?{query}&timeoutSeconds=1")

    assert [e["type"] for e in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
