"""Where audit events go: a file that is rotated, a webhook that is sent batches."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from timonel.aio.clock import VirtualClock
from timonel.objects.meta import Object
from timonel.server.audit.batches import ATTEMPTS, Batches, Batching, SendFailed
from timonel.server.audit.logfile import MEGABYTE, LogFile, Rotation, backups, outdated
from timonel.server.audit.policy import RECEIVED, read
from timonel.server.audit.trail import BATCH, BLOCKING, Trail, WebhookBackend
from timonel.server.chain.info import parse
from timonel.server.exchange import Request
from timonel.server.request import User

BIG = {"auditID": "x" * (MEGABYTE // 2)}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_a_file_that_gets_too_large_is_put_aside(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    path = tmp_path / "audit.log"
    file = LogFile(str(path), Rotation(max_size=1), lambda: now)
    for _ in range(2):
        file.write([BIG])
        now += 1
    file.write([{"auditID": "small"}])
    file.close()

    assert [json.loads(line)["auditID"][:5] for line in path.read_text().splitlines()] == ["xxxxx", "small"]
    assert [p.name for _, p in backups(path)] == ["audit-2023-11-14T22-13-21.000.log"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_as_many_old_files_are_kept_as_may_be(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    path = tmp_path / "audit.log"
    file = LogFile(str(path), Rotation(max_size=1, max_backups=2, compress=True), lambda: now)
    for _ in range(6):
        file.write([BIG])
        now += 1
    file.close()

    kept = [p for _, p in backups(path)]
    assert [p.suffix for p in kept] == [".gz", ".gz"]
    assert json.loads(gzip.decompress(kept[0].read_bytes())) == BIG


def test_files_that_are_too_old_go(tmp_path: Path) -> None:
    found = [("2023-11-14T00-00-00.000", Path("new")), ("2023-11-01T00-00-00.000", Path("old"))]

    assert outdated(found, Rotation(max_age=3), 1_700_000_000.0) == [Path("old")]
    assert outdated(found, Rotation(), 1_700_000_000.0) == []


def test_a_file_that_exists_is_written_on(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.log"
    for _ in range(2):
        file = LogFile(str(path), Rotation(), lambda: 0.0)
        file.write([{"auditID": "a"}, {"auditID": "b"}])
        file.close()

    assert lines(path) == 4


class Receiver:
    """Takes batches, or refuses them as often as it is told to."""

    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.batches: list[list[Object]] = []

    async def __call__(self, events: Sequence[Object]) -> None:
        if self.refuse:
            self.refuse -= 1
            raise SendFailed("not now")
        self.batches.append(list(events))


async def test_events_are_sent_together_when_there_are_many_or_when_it_is_time() -> None:
    clock, receiver = VirtualClock(), Receiver()
    batches = Batches(Batching(max_size=3, max_wait=5.0), clock, receiver)
    task = asyncio.ensure_future(batches.run())
    for number in range(4):
        batches.put({"n": number})
    await clock.advance(1)
    assert [len(b) for b in receiver.batches] == [3]
    await clock.advance(5)
    assert [len(b) for b in receiver.batches] == [3, 1]

    batches.put({"n": 4})
    await clock.advance(0)
    task.cancel()
    await asyncio.wait([task])
    assert [e["n"] for b in receiver.batches for e in b] == [0, 1, 2, 3, 4]


async def test_a_backend_that_refuses_is_tried_again_and_given_up_in_the_end() -> None:
    clock, receiver = VirtualClock(), Receiver(refuse=2)
    batches = Batches(Batching(max_size=1), clock, receiver)
    task = asyncio.ensure_future(batches.run())
    batches.put({"n": 0})
    await clock.advance(60)
    assert len(receiver.batches) == 1

    receiver.refuse = ATTEMPTS
    batches.put({"n": 1})
    await clock.advance(300)
    assert (len(receiver.batches), batches.dropped) == (1, 1)
    task.cancel()
    await asyncio.wait([task])


async def test_what_does_not_fit_is_dropped_and_counted() -> None:
    batches = Batches(Batching(buffer_size=2, max_size=2), VirtualClock(), Receiver())
    for number in range(5):
        batches.put({"n": number})

    assert batches.dropped == 3


def posted(refuse: int = 0) -> tuple[Any, list[Any]]:
    bodies: list[Any] = []

    async def post(body: bytes) -> None:
        if refuse:
            raise SendFailed("no route")
        bodies.append(json.loads(body))

    return post, bodies


async def begun(backend: WebhookBackend) -> tuple[Trail, Any]:
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
    trail = Trail(read(policy), [backend], VirtualClock())
    request = Request(b"GET", b"/api/v1/pods", [], b"", None)
    request.audit_id = b"1"
    return trail, await trail.begin(request, parse("GET", "/api/v1/pods", ""), User("bob"))


async def test_a_blocking_webhook_has_the_event_before_the_request_goes_on() -> None:
    post, bodies = posted()
    await begun(WebhookBackend(post, BLOCKING, Batching(), VirtualClock()))

    (body,) = bodies
    assert (body["kind"], body["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
    assert [e["stage"] for e in body["items"]] == [RECEIVED]


async def test_a_webhook_that_fails_stops_nothing_but_is_counted() -> None:
    post, _ = posted(refuse=1)
    trail, record = await begun(WebhookBackend(post, BLOCKING, Batching(), VirtualClock()))

    assert record is not None
    errors = next(f for f in trail.families() if f.name == "apiserver_audit_error_total")
    assert list(errors.samples) == [((("plugin", "webhook"),), 1)]


async def test_a_webhook_in_batches_is_not_waited_for() -> None:
    post, bodies = posted()
    await begun(WebhookBackend(post, BATCH, Batching(), VirtualClock()))

    assert bodies == []


@pytest.mark.parametrize("omit", [True, False])
async def test_managed_fields_are_left_out_where_the_policy_says_so(omit: bool) -> None:
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitManagedFields": omit,
        "rules": [{"level": "RequestResponse"}],
    }
    trail = Trail(read(policy), [], VirtualClock())
    request = Request(b"POST", b"/api/v1/nodes", [], b"", None)
    record = await trail.begin(request, parse("POST", "/api/v1/nodes", ""), User("bob"))
    assert record is not None
    obj = {"metadata": {"name": "a", "managedFields": [{}]}}
    record.requested(obj)
    record.answered(200, json.dumps({"kind": "NodeList", "items": [obj]}).encode(), is_json=True)

    assert ("managedFields" in record.request["metadata"]) is not omit
    assert ("managedFields" in record.response["items"][0]["metadata"]) is not omit
    assert "managedFields" in obj["metadata"]
