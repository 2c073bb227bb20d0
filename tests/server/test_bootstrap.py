"""First objects: made once, grown by a newer version, otherwise left alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.fakes import FakeObjects, FakeReader
from timonel.aio.clock import SystemClock
from timonel.server import bootstrap
from timonel.server.bootstrap import Settings

SETTINGS = Settings("10.96.0.1", ("10.96.0.0/16",), "192.0.2.1", 6443, client_ca="PEM")
VIEWER = ("clusterroles.rbac.authorization.k8s.io", "", "system:discovery")


@pytest.fixture
def world() -> tuple[FakeReader, FakeObjects]:
    reader = FakeReader()
    return reader, FakeObjects(reader)


async def test_a_new_cluster_gets_everything_and_the_next_start_writes_nothing(
    world: tuple[FakeReader, FakeObjects],
) -> None:
    reader, objects = world
    await bootstrap.ensure(objects, reader, SETTINGS)
    made = list(objects.created)
    objects.created.clear()

    await bootstrap.ensure(objects, reader, SETTINGS)

    assert objects.created == []
    assert {name for resource, name in made if resource == "namespaces"} == set(bootstrap.NAMESPACES)
    assert ("services", "kubernetes") in made
    assert ("clusterroles.rbac.authorization.k8s.io", "cluster-admin") in made


async def test_a_role_gets_back_what_it_needs_and_keeps_what_was_added(
    world: tuple[FakeReader, FakeObjects],
) -> None:
    reader, objects = world
    await bootstrap.ensure(objects, reader, SETTINGS)
    own = {"nonResourceURLs": ["/own"], "verbs": ["get"]}
    found = reader.get(*VIEWER)
    assert found is not None
    reader.put(VIEWER[0], {**found, "rules": [own]})

    await bootstrap.ensure(objects, reader, SETTINGS)

    now = reader.get(*VIEWER)
    assert now is not None
    urls = {url for rule in now["rules"] for url in rule["nonResourceURLs"]}
    assert {"/own", "/version", "/api"} <= urls


async def test_a_role_that_opted_out_is_left_alone(world: tuple[FakeReader, FakeObjects]) -> None:
    reader, objects = world
    await bootstrap.ensure(objects, reader, SETTINGS)
    found = reader.get(*VIEWER)
    assert found is not None
    metadata = {**found["metadata"], "annotations": {bootstrap.AUTOUPDATE: "false"}}
    reader.put(VIEWER[0], {**found, "metadata": metadata, "rules": []})

    await bootstrap.ensure(objects, reader, SETTINGS)

    now = reader.get(*VIEWER)
    assert now is not None
    assert now["rules"] == []


async def test_a_binding_gets_back_its_role_and_subjects(world: tuple[FakeReader, FakeObjects]) -> None:
    reader, objects = world
    await bootstrap.ensure(objects, reader, SETTINGS)
    where = ("clusterrolebindings.rbac.authorization.k8s.io", "", "system:discovery")
    made = reader.get(*where)
    assert made is not None
    own = {"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}
    metadata = {**made["metadata"], "labels": {"own": "1"}}
    other = {**made["roleRef"], "name": "view"}
    reader.put(where[0], {**made, "metadata": metadata, "roleRef": other, "subjects": [own]})

    await bootstrap.ensure(objects, reader, SETTINGS)

    now = reader.get(*where)
    assert now is not None
    assert now["roleRef"] == made["roleRef"]
    assert now["subjects"] == [own, *made["subjects"]]
    assert now["metadata"]["labels"] == {"own": "1", **made["metadata"]["labels"]}


async def test_an_aggregated_role_gathers_again(world: tuple[FakeReader, FakeObjects]) -> None:
    reader, objects = world
    await bootstrap.ensure(objects, reader, SETTINGS)
    found = reader.get(VIEWER[0], "", "view")
    assert found is not None
    wanted = found["aggregationRule"]
    reader.put(VIEWER[0], {**found, "aggregationRule": None, "rules": [{"verbs": ["get"]}]})

    await bootstrap.ensure(objects, reader, SETTINGS)

    now = reader.get(VIEWER[0], "", "view")
    assert now is not None
    assert (now["aggregationRule"], now["rules"]) == (wanted, [{"verbs": ["get"]}])


async def test_servers_behind_this_one_are_told_whom_to_believe() -> None:
    settings = Settings("", (), "", 1, client_ca="CA", front_proxy_ca="FRONT")

    data = bootstrap.authentication_data(settings)

    assert data["client-ca-file"] == "CA"
    assert data["requestheader-client-ca-file"] == "FRONT"
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'
    assert data["requestheader-extra-headers-prefix"] == '["X-Remote-Extra-"]'


async def test_the_service_of_the_api_follows_its_address(world: tuple[FakeReader, FakeObjects]) -> None:
    reader, objects = world
    await bootstrap.ensure(objects, reader, SETTINGS)

    await bootstrap.ensure(objects, reader, Settings("10.96.0.1", ("10.96.0.0/16",), "192.0.2.2", 7443))

    endpoints = reader.get("endpoints", "default", "kubernetes")
    assert endpoints is not None
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "192.0.2.2"}]
    assert endpoints["subsets"][0]["ports"][0]["port"] == 7443


async def test_what_must_not_be_missing_is_made_again(world: tuple[FakeReader, FakeObjects]) -> None:
    reader, objects = world
    await bootstrap.ensure(objects, reader, SETTINGS)
    keeper = bootstrap.Keeper(objects, reader, SystemClock(), lambda: SETTINGS)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(keeper.run())
        await asyncio.sleep(0)
        objects.created.clear()
        reader.remove("services", "default", "kubernetes")
        await asyncio.sleep(2 * bootstrap.KEEP_DELAY)
        task.cancel()

    assert objects.created == [("services", "kubernetes")]
