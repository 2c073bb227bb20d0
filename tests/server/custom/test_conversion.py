"""Versions that a webhook turns into each other, and what it may not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.custom.definitions import (
    CRDS,
    GROUP,
    THINGS,
    Object,
    definition,
    install,
    patch,
    read_events,
    thing,
    until,
    version,
)
from tests.server.starting import send, started
from tests.server.webhookserver import WebhookServer, webhook_server
from timonel.server.app import ApiServer
from timonel.server.custom.conversion import ConversionFailed, checked

pytestmark = pytest.mark.looptime(False)

NEWER = f"/apis/{GROUP}/v2/namespaces/default/things"
ONE: Object = {"type": "object", "properties": {"address": {"type": "string"}}}
TWO: Object = {"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "string"}}}


def converted(obj: Object, wanted: str) -> Object:
    """v1 has host:port in one field, v2 in two."""
    spec = obj.get("spec") or {}
    if wanted.endswith("/v2"):
        host, _, port = spec.get("address", "").partition(":")
        return {**obj, "apiVersion": wanted, "spec": {"host": host, "port": port}}
    return {**obj, "apiVersion": wanted, "spec": {"address": f"{spec.get('host')}:{spec.get('port')}"}}


async def answer(path: str, review: Object) -> Object:
    request = review["request"]
    found = [converted(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
    response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": found}
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}


@asynccontextmanager
async def converting(
    folder: Path, respond: Callable[[str, Object], Any] = answer
) -> AsyncIterator[tuple[ApiServer, WebhookServer]]:
    """A server with things in v1 (stored) and v2."""
    async with webhook_server(folder, respond) as hook, started() as server:
        webhook = {"clientConfig": hook.client_config("/convert"), "conversionReviewVersions": ["v1"]}
        versions = (version("v1", spec=ONE), version("v2", storage=False, spec=TWO))
        await install(
            server,
            definition("things", "Thing", *versions, conversion={"strategy": "Webhook", "webhook": webhook}),
        )
        yield server, hook


async def test_reads_and_writes_go_through_the_webhook_where_versions_differ(tmp_path: Path) -> None:
    async with converting(tmp_path) as (server, hook):
        stored = await send(server, "POST", THINGS, thing("a", spec={"address": "x:80"}))
        calls = len(hook.requests)
        read = await send(server, "GET", f"{NEWER}/a")
        made = await send(server, "POST", NEWER, thing("b", "v2", spec={"host": "y", "port": "90", "odd": 1}))
        listed = await send(server, "GET", NEWER)
        changed = await patch(server, f"{NEWER}/a", {"spec": {"port": "81"}})
        old = await send(server, "GET", f"{THINGS}/a")
        record = await server.registry.store.get(f"/{GROUP}/things/default/b")
        gone = await send(server, "DELETE", f"{NEWER}/b")

    assert (stored.status, calls) == (201, 0)
    assert read.body["spec"] == {"host": "x", "port": "80"}
    assert made.body["spec"] == {"host": "y", "port": "90"}
    assert [item["spec"]["host"] for item in listed.body["items"]] == ["x", "y"]
    assert changed.body["spec"] == {"host": "x", "port": "81"}
    assert old.body["spec"] == {"address": "x:81"}
    assert record is not None
    assert b'"address":"y:90"' in record.value
    assert gone.status == 200


async def test_watches_show_their_own_version(tmp_path: Path) -> None:
    async with converting(tmp_path) as (server, _):
        first = await send(server, "POST", THINGS, thing("a", spec={"address": "x:80"}))
        since = first.body["metadata"]["resourceVersion"]
        watching = asyncio.create_task(
            read_events(server, f"{NEWER}?watch=true&timeoutSeconds=2&resourceVersion={since}")
        )
        await asyncio.sleep(0.3)
        await patch(server, f"{THINGS}/a", {"spec": {"address": "x:81"}})
        await send(server, "POST", NEWER, thing("b", "v2", spec={"host": "y", "port": "90"}))
        await send(server, "DELETE", f"{THINGS}/a")
        events = await watching

    assert [(e["type"], e["object"]["apiVersion"], e["object"]["spec"].get("port")) for e in events] == [
        ("MODIFIED", f"{GROUP}/v2", "81"),
        ("ADDED", f"{GROUP}/v2", "90"),
        ("DELETED", f"{GROUP}/v2", "81"),
    ]


async def test_many_objects_are_converted_in_few_calls(tmp_path: Path) -> None:
    async with converting(tmp_path) as (server, hook):
        for number in range(70):
            await send(server, "POST", THINGS, thing(f"t{number}", spec={"address": f"x:{number}"}))
        listed = await send(server, "GET", NEWER)

    assert len(listed.body["items"]) == 70
    assert [len(body["request"]["objects"]) for _, body in hook.requests] == [64, 6]


async def test_a_webhook_that_is_down_fails_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    is_down = True

    async def respond(path: str, review: Object) -> Any:
        return (503, b"") if is_down else await answer(path, review)

    async with converting(tmp_path, respond) as (server, _):
        await send(server, "POST", THINGS, thing("a", spec={"address": "x:80"}))
        read = await send(server, "GET", f"{NEWER}/a")
        made = await send(server, "POST", NEWER, thing("b", "v2", spec={"host": "y", "port": "90"}))
        fine = await send(server, "GET", THINGS)
        is_down = False
        later = await send(server, "GET", f"{NEWER}/a")

    assert (read.status, made.status) == (500, 500)
    assert read.body["message"].startswith(f"conversion webhook for {GROUP}/v1, Kind=Thing failed: ")
    assert [item["metadata"]["name"] for item in fine.body["items"]] == ["a"]
    assert later.body["spec"] == {"host": "x", "port": "80"}


async def test_a_refusal_is_told_in_the_webhooks_words(tmp_path: Path) -> None:
    async def respond(path: str, review: Object) -> Any:
        response = {"uid": review["request"]["uid"], "result": {"status": "Failure", "message": "not today"}}
        return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}

    async with converting(tmp_path, respond) as (server, _):
        await send(server, "POST", THINGS, thing("a", spec={"address": "x:80"}))
        read = await send(server, "GET", f"{NEWER}/a")

    assert read.body["message"] == f"conversion webhook for {GROUP}/v1, Kind=Thing failed: not today"


async def test_a_stored_version_that_moves_is_converted_too(tmp_path: Path) -> None:
    async with converting(tmp_path) as (server, _):
        await send(server, "POST", THINGS, thing("a", spec={"address": "x:80"}))
        versions = [version("v1", spec=ONE, storage=False), version("v2", spec=TWO)]
        await patch(server, f"{CRDS}/things.{GROUP}", {"spec": {"versions": versions}})
        found = await until(server, f"{NEWER}/a", 200)
        again = await send(server, "PUT", f"{NEWER}/a", found.body)
        record = await server.registry.store.get(f"/{GROUP}/things/default/a")

    assert again.body["metadata"]["generation"] == 1
    assert record is not None
    assert b'"host":"x"' in record.value


async def test_owners_of_the_same_value_meet_across_versions(tmp_path: Path) -> None:
    async def owners() -> dict[str, Object]:
        found = await send(server, "GET", f"{THINGS}/a")
        return {e["manager"]: e["fieldsV1"] for e in found.body["metadata"]["managedFields"]}

    async with converting(tmp_path) as (server, _):
        one = thing("a", spec={"address": "x:80"})
        await patch(server, f"{THINGS}/a?fieldManager=one", one, "apply")
        two = thing("a", "v2", spec={"host": "x", "port": "81"})
        refused = await patch(server, f"{NEWER}/a?fieldManager=two", two, "apply")
        before = await owners()
        forced = await patch(server, f"{NEWER}/a?fieldManager=two&force=true", two, "apply")
        after = await owners()
        await patch(server, f"{THINGS}/a?fieldManager=three", {"spec": {"address": "y:82"}})
        last = await owners()

    assert refused.status == 409
    assert 'conflict with "one": .spec.address' in refused.body["message"]
    assert before == {"one": {"f:spec": {"f:address": {}}}}
    assert forced.status == 200
    assert after == {"two": {"f:spec": {"f:host": {}, "f:port": {}}}}
    assert last == {"three": {"f:spec": {"f:address": {}}}}


OLD: Object = {
    "apiVersion": f"{GROUP}/v1",
    "kind": "Thing",
    "metadata": {"name": "a", "namespace": "default", "uid": "u", "labels": {"a": "b"}, "generation": 4},
}


def test_labels_and_annotations_may_change_and_the_rest_of_metadata_stays() -> None:
    new = {**OLD, "apiVersion": f"{GROUP}/v2", "metadata": {"name": "a", "namespace": "default", "uid": "u"}}
    new["metadata"] |= {"annotations": {"x": "y"}, "generation": 9}

    found = checked("k", 0, OLD, new, f"{GROUP}/v2")

    assert found["metadata"] == {
        "name": "a", "namespace": "default", "uid": "u", "generation": 4, "annotations": {"x": "y"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"apiVersion": f"{GROUP}/v1"}, "invalid groupVersion"),
        ({"kind": "Other"}, "invalid kind"),
        ({"metadata": {**OLD["metadata"], "name": "b"}}, "must have the same name: a != b"),
        ({"metadata": {**OLD["metadata"], "uid": ""}}, "must have the same UID: u != "),
        ({"metadata": {**OLD["metadata"], "labels": {"a": 1}}}, "metadata.labels[a] must be a string"),
        ({"metadata": {**OLD["metadata"], "labels": {"not a key": "x"}}}, "metadata.labels: Invalid value"),
        ({"metadata": 1}, "must have the same name"),
    ],
)
def test_what_a_webhook_may_not_answer(change: Object, words: str) -> None:
    with pytest.raises(ConversionFailed) as caught:
        checked("k", 0, OLD, {**OLD, "apiVersion": f"{GROUP}/v2", **change}, f"{GROUP}/v2")

    assert words in caught.value.message
