"""Objects that no key opens: deleted by who may, when they say so, and in no other way."""

from __future__ import annotations

import pytest

from tests.server.starting import Answer, send, started
from timonel.objects.meta import Object
from timonel.server.app import ApiServer
from timonel.server.options import IGNORE_READ_ERROR
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

SECRETS = "/api/v1/namespaces/default/secrets"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
IGNORE: Object = {IGNORE_READ_ERROR: True}


async def unreadable() -> MemoryStore:
    store = MemoryStore()
    async with started(store=store, encryption_key=b"a" * 32) as server:
        secret = {"metadata": {"name": "lost", "finalizers": ["example.com/stays"]}, "data": {}}
        assert (await send(server, "POST", SECRETS, secret)).status == 201
    return store


async def allow(server: ApiServer, *verbs: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": list(verbs)}]
    metadata = {"name": "r"}
    await send(server, "POST", f"{RBAC}/clusterroles", {"metadata": metadata, "rules": rules})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
    subjects = [{"kind": "User", "name": "bob"}]
    await send(
        server,
        "POST",
        f"{RBAC}/clusterrolebindings",
        {"metadata": metadata, "roleRef": ref, "subjects": subjects},
    )


async def test_it_goes_with_the_option_alone_and_other_objects_do_not() -> None:
    store = await unreadable()
    async with started(store=store, encryption_key=b"b" * 32) as server:
        await send(server, "POST", SECRETS, {"metadata": {"name": "fine"}})

        plain = await send(server, "DELETE", f"{SECRETS}/lost")
        fine = await send(server, "DELETE", f"{SECRETS}/fine", IGNORE)
        everything = await send(server, "DELETE", SECRETS, IGNORE)
        gone = await send(server, "DELETE", f"{SECRETS}/lost", IGNORE)
        listed = await send(server, "GET", SECRETS)

    assert (plain.status, gone.status, gone.body["status"]) == (500, 200, "Success")
    assert fine.body["message"] == (
        f'secrets "fine" is invalid: {IGNORE_READ_ERROR}: Invalid value: true: is exclusively used to delete corrupt '
        "object(s), try again by removing this option"
    )
    assert (everything.status, everything.body["reason"]) == (422, "Invalid")
    assert [each["metadata"]["name"] for each in listed.body["items"]] == ["fine"]


async def test_it_takes_a_verb_of_its_own() -> None:
    store = await unreadable()
    async with started(store=store, encryption_key=b"b" * 32) as server:
        await allow(server, "delete")
        refused: Answer = await send(server, "DELETE", f"{SECRETS}/lost", IGNORE, token="bobs")

    assert refused.status == 403
    assert 'not permitted to do "unsafe-delete-ignore-read-errors", reason: ' in refused.body["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"dryRun": ["All"]},
        {"gracePeriodSeconds": 0},
        {"propagationPolicy": "Orphan"},
        {"orphanDependents": True},
    ],
)
async def test_it_goes_with_no_other_option(more: Object) -> None:
    async with started() as server:
        refused = await send(server, "DELETE", f"{SECRETS}/any", IGNORE | more)

    assert refused.status == 422
    assert f"cannot be set together with .{next(iter(more))}" in refused.body["message"]
