"""Server-side apply of a Scale: whoever applies it owns the replicas of its object."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.starting import Answer, send, started
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def created(to: ApiServer, *, replicas: int) -> None:
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
    answer = await send(
        to, "POST", f"{DEPLOYMENTS}?fieldManager=first", {"metadata": {"name": "d"}, "spec": spec}
    )
    assert answer.status == 201


async def apply(to: ApiServer, query: str, **scale: Any) -> Answer:
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, **scale}
    path = f"{DEPLOYMENTS}/d/scale?{query}"
    return await send(to, "PATCH", path, body, Content_Type="application/apply-patch+yaml")


async def test_replicas_that_somebody_else_owns_are_a_conflict_unless_forced() -> None:
    async with started() as to:
        await created(to, replicas=1)

        refused = await apply(to, "fieldManager=second", spec={"replicas": 3})
        forced = await apply(to, "fieldManager=second&force=true", spec={"replicas": 3})

        message = 'Apply failed with 1 conflict: conflict with "first" using apps/v1: .spec.replicas'
        assert (refused.status, refused.body["message"]) == (409, message)
        assert (forced.status, forced.body["kind"], forced.body["spec"]) == (200, "Scale", {"replicas": 3})
        shown = (await send(to, "GET", f"{DEPLOYMENTS}/d")).body
        entries = [m for m in shown["metadata"]["managedFields"] if m["manager"] == "second"]
        assert [(m["operation"], m["subresource"], m["fieldsV1"]) for m in entries] == [
            ("Apply", "scale", {"f:spec": {"f:replicas": {}}})
        ]
        assert shown["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("query", "scale", "status", "message"),
    [
        ("", {"spec": {"replicas": 3}}, 422, "fieldManager"),
        ("fieldManager=me", {"kind": "Deployment"}, 400, "Deployment"),
        ("fieldManager=me&force=true", {"spec": {"replicas": -1}}, 422, "greater than or equal to 0"),
        ("fieldManager=me&force=true", {"spec": {"replicas": "x"}}, 400, "cannot unmarshal string"),
        ("fieldManager=me&force=true", {"metadata": {"name": "other"}}, 400, "does not match"),
    ],
)
async def test_what_is_no_scale_of_this_object_changes_nothing(
    query: str, scale: Any, status: int, message: str
) -> None:
    async with started() as to:
        await created(to, replicas=1)

        answer = await apply(to, query, **scale)

        assert (answer.status, message in answer.body["message"]) == (status, True), answer.body
        assert (await send(to, "GET", f"{DEPLOYMENTS}/d")).body["spec"]["replicas"] == 1
