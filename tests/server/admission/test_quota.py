"""What quotas count, of whom, and what becomes of a charge whose write fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.server.starting import Answer, send, started
from timonel.machinery.quantity import Quantity
from timonel.objects import quotas
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

Object = dict[str, Any]
HERE = "/api/v1/namespaces/default"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with started() as made:
        yield made


async def limited(server: ApiServer, name: str, **hard: str) -> None:
    """A quota as the controller leaves it."""
    amounts = {key.replace("_", "/"): value for key, value in hard.items()}
    obj = {"metadata": {"name": name}, "spec": {"hard": amounts}}
    assert (await send(server, "POST", f"{HERE}/resourcequotas", obj)).status == 201
    status = {"status": {"hard": amounts, "used": dict.fromkeys(amounts, "0")}}
    path = f"{HERE}/resourcequotas/{name}/status"
    answer = await send(server, "PATCH", path, status, Content_Type="application/merge-patch+json")
    assert answer.status == 200, answer.body


async def used(server: ApiServer, name: str) -> Object:
    found: Object = (await send(server, "GET", f"{HERE}/resourcequotas/{name}")).body["status"]["used"]
    return found


async def make(server: ApiServer, name: str) -> Answer:
    return await send(server, "POST", f"{HERE}/configmaps", {"metadata": {"name": name}})


async def test_two_writes_cannot_both_take_what_one_may_have(server: ApiServer) -> None:
    await limited(server, "q", configmaps="3")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make(server, f"m{i}")) for i in range(8)]

    assert sorted(task.result().status for task in tasks) == [201] * 3 + [403] * 5
    assert await used(server, "q") == {"configmaps": "3"}


async def test_a_quota_that_refuses_leaves_the_others_alone(server: ApiServer) -> None:
    await limited(server, "a", configmaps="5")
    await limited(server, "b", configmaps="0")

    answer = await make(server, "m")

    assert answer.body["message"] == (
        'configmaps "m" is forbidden: exceeded quota: b, requested: configmaps=1, used: configmaps=0, limited: '
        "configmaps=0"
    )
    assert await used(server, "a") == {"configmaps": "0"}


async def test_a_write_that_fails_gives_back_what_it_took(server: ApiServer) -> None:
    await limited(server, "q", configmaps="5")
    await make(server, "m")

    assert (await make(server, "m")).status == 409

    for _ in range(100):
        if await used(server, "q") == {"configmaps": "1"}:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the charge of a write that failed stays")


async def test_custom_and_other_kinds_are_counted_by_name(server: ApiServer) -> None:
    await limited(server, "q", **{"count/leases.coordination.k8s.io": "1"})
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"

    first = await send(server, "POST", path, {"metadata": {"name": "a"}})
    second = await send(server, "POST", path, {"metadata": {"name": "b"}})

    assert (first.status, second.status) == (201, 403)


def pod(**resources: Object) -> Object:
    return {"spec": {"containers": [{"name": "c", "resources": resources}]}}


def scoped(name: str, operator: str = "Exists", *values: str) -> Object:
    term = {"scopeName": name, "operator": operator, "values": list(values)}
    return {"spec": {"scopeSelector": {"matchExpressions": [term]}}}


@pytest.mark.parametrize(
    ("quota", "resource", "obj", "is_in"),
    [
        (scoped("BestEffort"), "pods", pod(), True),
        (scoped("BestEffort"), "pods", pod(requests={"cpu": "0"}), True),
        (scoped("BestEffort"), "pods", pod(requests={"cpu": "1"}), False),
        (scoped("NotBestEffort"), "pods", pod(limits={"memory": "1"}), True),
        (scoped("Terminating"), "pods", {"spec": {"activeDeadlineSeconds": 5}}, True),
        (scoped("NotTerminating"), "pods", {"spec": {"activeDeadlineSeconds": 5}}, False),
        (scoped("PriorityClass", "In", "high"), "pods", {"spec": {"priorityClassName": "high"}}, True),
        (scoped("PriorityClass", "NotIn", "high"), "pods", {"spec": {}}, True),
        (scoped("PriorityClass", "DoesNotExist"), "pods", {"spec": {"priorityClassName": "x"}}, False),
        (
            scoped("VolumeAttributesClass", "In", "gold"),
            "persistentvolumeclaims",
            {"spec": {"volumeAttributesClassName": "gold"}},
            True,
        ),
        (
            scoped("VolumeAttributesClass", "In", "gold"),
            "persistentvolumeclaims",
            {"spec": {}, "status": {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"}}},
            True,
        ),
        (scoped("VolumeAttributesClass"), "persistentvolumeclaims", {"spec": {}}, False),
        (scoped("VolumeAttributesClass"), "pods", pod(), False),
        (scoped("PriorityClass"), "configmaps", {"spec": {}}, False),
    ],
)
def test_scopes(quota: Object, resource: str, obj: Object, is_in: bool) -> None:
    assert quotas.in_scope(quota, resource, obj) is is_in


def test_what_a_pod_asks_for_as_a_whole_counts_with_its_overhead() -> None:
    spec = {
        "resources": {"requests": {"cpu": "3"}},
        "overhead": {"cpu": "250m"},
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
    }

    found = quotas.usage("pods", {"spec": spec})

    assert (found["requests.cpu"], found["requests.memory"]) == (
        Quantity.parse("3250m"),
        Quantity.parse("1Gi"),
    )
