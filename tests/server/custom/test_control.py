"""What becomes of definitions: names, establishment, deletion; over restarts, and with several servers on one store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.server.custom.definitions import (
    CRDS,
    GROUP,
    THINGS,
    conditions,
    definition,
    install,
    patch,
    settled,
    thing,
    until,
)
from tests.server.starting import send, started
from timonel.server.custom import conditions as deciding
from timonel.store.memory import MemoryStore
from timonel.store.sqlite import SqliteStore

pytestmark = pytest.mark.looptime(False)

TAKEN = {
    "plural": "things",
    "singular": "thing",
    "kind": "Thing",
    "listKind": "ThingList",
    "shortNames": ["th"],
}


@pytest.mark.parametrize(
    ("names", "reason", "message"),
    [
        ({"plural": "others", "singular": "other", "kind": "Other", "listKind": "OtherList"}, "", ""),
        ({"plural": "things", "kind": "Other"}, "PluralConflict", '"things" is already in use'),
        (
            {"plural": "others", "singular": "th", "kind": "Other"},
            "SingularConflict",
            '"th" is already in use',
        ),
        (
            {"plural": "others", "kind": "Other", "shortNames": ["th", "thing", "o"]},
            "ShortNamesConflict",
            '["th" is already in use, "thing" is already in use]',
        ),
        (
            {"plural": "others", "kind": "Thing", "listKind": "OtherList"},
            "KindConflict",
            '"Thing" is already in use',
        ),
        (
            {"plural": "others", "kind": "Other", "listKind": "Thing"},
            "ListKindConflict",
            '"Thing" is already in use',
        ),
    ],
)
def test_names_that_others_have_are_conflicts(names: dict[str, Any], reason: str, message: str) -> None:
    accepted, *found = deciding.accept(names, {}, [TAKEN])

    assert found == [reason, message]
    lost = {"PluralConflict": "plural", "KindConflict": "kind"}.get(reason)
    assert not lost or accepted[lost] == ""


def test_names_that_are_ones_own_are_kept() -> None:
    accepted, reason, _ = deciding.accept(
        {**TAKEN, "categories": ["all"]}, TAKEN, [{"plural": "others", "kind": "O"}]
    )

    assert (accepted, reason) == ({**TAKEN, "categories": ["all"]}, "")


@pytest.mark.parametrize(
    ("group", "annotation", "expected"),
    [
        ("example.com", "", None),
        ("x.k8s.io", "", ("False", "MissingAnnotation")),
        ("x.k8s.io", "https://example.com/pull/1", ("True", "ApprovedAnnotation")),
        ("kubernetes.io", "unapproved, for fun", ("False", "UnapprovedAnnotation")),
        ("x.kubernetes.io", "please", ("False", "InvalidAnnotation")),
    ],
)
def test_groups_of_kubernetes_want_an_approval(
    group: str, annotation: str, expected: tuple[str, str] | None
) -> None:
    found = deciding.approval_of(
        {"metadata": {"annotations": {deciding.APPROVED: annotation}}, "spec": {"group": group}}
    )

    assert (found and found[:2]) == expected


def test_definitions_of_old_that_keep_everything_are_told_to_be_so() -> None:
    crd = definition(preserveUnknownFields=True)
    deciding.settle(crd, [], 10.0)
    told = conditions(crd)
    crd["spec"]["preserveUnknownFields"] = False
    deciding.settle(crd, [], 20.0)

    assert told["NonStructuralSchema"] == ("True", "Violations")
    assert "NonStructuralSchema" not in conditions(crd)


def test_a_condition_keeps_its_time_until_it_turns() -> None:
    crd: dict[str, Any] = {}
    deciding.set_condition(crd, "Established", "True", "A", "a", 10.0)
    first = crd["status"]["conditions"][0]["lastTransitionTime"]
    deciding.set_condition(crd, "Established", "True", "B", "b", 20.0)
    second = crd["status"]["conditions"][0]
    deciding.set_condition(crd, "Established", "False", "C", "c", 30.0)

    assert (second["lastTransitionTime"], second["reason"]) == (first, "B")
    assert crd["status"]["conditions"][0]["lastTransitionTime"] != first


async def test_who_comes_second_gets_the_names_when_the_first_one_goes() -> None:
    async with started() as server:
        await install(server, definition())
        second = await install(server, definition("others", "Thing"))
        refused = await send(server, "GET", f"/apis/{GROUP}/v1/namespaces/default/others")
        await send(server, "DELETE", f"{CRDS}/things.{GROUP}")
        served = await until(server, f"/apis/{GROUP}/v1/namespaces/default/others", 200)

    assert conditions(second)["NamesAccepted"] == ("False", "ListKindConflict")
    assert conditions(second)["Established"] == ("False", "NotAccepted")
    assert refused.status == 404
    assert served.body["kind"] == "ThingList"


async def test_objects_go_before_their_definition_does() -> None:
    async with started() as server:
        await install(server, definition())
        await send(server, "POST", THINGS, thing("a"))
        held = thing("b")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await send(server, "POST", THINGS, held)
        marked = await send(server, "DELETE", f"{CRDS}/things.{GROUP}")
        await until(server, f"{THINGS}/a", 404)
        waiting = await send(server, "GET", f"{THINGS}/b")
        refused = await send(server, "POST", THINGS, thing("c"))
        await patch(server, f"{THINGS}/b", {"metadata": {"finalizers": None}})
        await until(server, f"{CRDS}/things.{GROUP}", 404)
        await until(server, THINGS, 404)
        left = await server.registry.store.list(f"/{GROUP}/")

    assert conditions(marked.body)["Terminating"] == ("True", "InstanceDeletionPending")
    assert (
        marked.body["metadata"]["generation"],
        "deletionGracePeriodSeconds" in marked.body["metadata"],
    ) == (1, False)
    assert waiting.body["metadata"]["deletionTimestamp"]
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert not left.records


async def test_a_definition_that_never_was_established_goes_at_once() -> None:
    async with started() as server:
        await install(server, definition())
        await install(server, definition("others", "Thing"))
        await send(server, "DELETE", f"{CRDS}/others.{GROUP}")
        await until(server, f"{CRDS}/others.{GROUP}", 404)
        found = await send(server, "GET", THINGS)

    assert found.status == 200


async def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    for step in range(2):
        store = await SqliteStore.open(tmp_path / "state.db")
        try:
            async with started(store=store) as server:
                if not step:
                    await install(server, definition())
                    await send(server, "POST", THINGS, thing("a", spec={"color": "red"}))
                found = await send(server, "GET", f"{THINGS}/a")
        finally:
            await store.close()

    assert found.body["spec"] == {"color": "red", "size": 3}


async def test_what_was_interrupted_goes_on_after_a_restart() -> None:
    """A definition that is stored but not settled, and one that is being deleted."""
    store = MemoryStore()
    async with started(store=store) as server:
        await install(server, definition())
        held = thing("b")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await send(server, "POST", THINGS, held)
        await send(server, "DELETE", f"{CRDS}/things.{GROUP}")
        made = await send(server, "POST", CRDS, definition("others", "Other"))
        await settled(server, f"others.{GROUP}")
    key = f"/apiextensions.k8s.io/customresourcedefinitions/others.{GROUP}"
    record = await store.get(key)
    assert record is not None
    bare = {
        **made.body,
        "metadata": {k: v for k, v in made.body["metadata"].items() if k != "resourceVersion"},
    }
    await store.update(key, orjson.dumps(bare), expected=record.modified)
    async with started(store=store) as again:
        established = await settled(again, f"others.{GROUP}")
        await patch(again, f"{THINGS}/b", {"metadata": {"finalizers": None}})
        await until(again, f"{CRDS}/things.{GROUP}", 404)

    assert conditions(established)["Established"] == ("True", "InitialNamesAccepted")


async def test_servers_on_one_store_serve_each_others_definitions() -> None:
    store = MemoryStore()
    async with started(store=store) as one, started(store=store) as two:
        await install(one, definition())
        await until(two, THINGS, 200)
        await send(two, "POST", THINGS, thing("a"))
        found = await until(one, f"{THINGS}/a", 200)
        await asyncio.gather(
            install(one, definition("others", "Other")), install(two, definition("more", "More"))
        )
        await send(two, "DELETE", f"{CRDS}/things.{GROUP}")
        await until(one, THINGS, 404)

    assert found.body["kind"] == "Thing"


async def test_a_built_in_resource_is_not_taken_over_by_a_definition() -> None:
    crd = definition("leases", "Lease")
    crd["metadata"] = {
        "name": "leases.coordination.k8s.io",
        "annotations": {deciding.APPROVED: "unapproved, for a test"},
    }
    crd["spec"]["group"] = "coordination.k8s.io"
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    async with started() as server:
        made = await send(server, "POST", leases, {"metadata": {"name": "a"}})
        await install(server, crd)
        found = await send(server, "GET", f"{leases}/a")
        await send(server, "DELETE", f"{CRDS}/leases.coordination.k8s.io")
        await until(server, f"{CRDS}/leases.coordination.k8s.io", 404)
        left = await send(server, "GET", f"{leases}/a")

    assert made.status == 201
    assert found.body == left.body == made.body


@pytest.mark.parametrize("value", [b"{", b"[1]", b"7", b'{"apiVersion": 1, "metadata": []}', b""])
async def test_what_is_stored_and_no_object_hurts_nobody_else(value: bytes) -> None:
    store = MemoryStore()
    async with started(store=store) as server:
        await install(server, definition())
        await send(server, "POST", THINGS, thing("a"))
        await store.create(f"/{GROUP}/things/default/bad", value)
        await send(server, "POST", THINGS, thing("b"))
        one = await send(server, "GET", f"{THINGS}/b")
        other = await send(server, "GET", "/api/v1/namespaces")
    async with started(store=store) as again:
        after = await send(again, "GET", f"{THINGS}/a")

    assert [a.status for a in (one, other, after)] == [200, 200, 200]
