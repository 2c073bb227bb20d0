"""What is recorded when a write is refused, and what is not."""

from __future__ import annotations

import pytest

from tests.control.test_runtime import INDEX, PODS, SETS, replica_set
from timonel.aio.clock import SystemClock
from timonel.client.fake import MemoryTransport
from timonel.client.rest import Client
from timonel.client.transport import Resource, Unreachable
from timonel.control.actions import Action, Create, Plan, Told, Update
from timonel.control.executors import Executor
from timonel.machinery.errors import AlreadyExists, Conflict, Forbidden, NotFound
from timonel.objects.meta import Key, Object

OWNER: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}}
POD: Object = {"metadata": {"name": "a", "namespace": "shop"}}
MADE = Create("pods", POD, failed=Told("NotMade", "not made: "))


class Recorder:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def record(self, about: Object, type: str, reason: str, message: str) -> None:
        self.told.append((about["kind"], reason, message))


@pytest.mark.parametrize(
    ("action", "error", "told"),
    [
        (MADE, Forbidden("no"), ("Service", "NotMade", "not made: no")),
        (MADE, AlreadyExists("there"), None),
        (
            Update("replicasets.apps", replica_set("web", 1), failed=Told("NotPut", "not put: ")),
            Forbidden("no"),
            ("Service", "NotPut", "not put: no"),
        ),
        (
            Update(
                "replicasets.apps", replica_set("web", 1), failed=Told("NotPut", "not put: ", replica_set("web", 1))
            ),
            Forbidden("no"),
            ("ReplicaSet", "NotPut", "not put: no"),
        ),
        (Update("replicasets.apps", replica_set("web", 1), failed=Told("NotPut", "")), Conflict("late"), None),
        (Update("replicasets.apps", replica_set("web", 1), failed=Told("NotPut", "")), NotFound("gone"), None),
        (Update("replicasets.apps", replica_set("web", 1), failed=Told("NotPut", "")), Unreachable("away"), None),
        (Update("replicasets.apps", replica_set("web", 1)), Forbidden("no"), None),
    ],
)  # fmt: skip
async def test_refusals_are_told_unless_somebody_was_faster(
    action: Action, error: Exception, told: tuple[str, str, str] | None
) -> None:
    cluster, recorder = MemoryTransport(SystemClock()), Recorder()

    def fault(verb: str, resource: Resource, key: Key) -> None:
        if resource in (PODS, SETS):
            raise error

    cluster.fault = fault
    executor = Executor(Client(cluster, INDEX), INDEX, recorder, lambda resource, obj: None)
    outcome = await executor.apply(OWNER, Plan((action,)))

    assert outcome.error is error
    assert recorder.told == ([told] if told else [])
