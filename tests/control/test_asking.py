"""Questions and their answers; what cannot be answered is answered by the error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from timonel.aio.clock import SystemClock
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.fake import MemoryTransport
from timonel.client.rest import Client
from timonel.client.transport import Resource, Unreachable
from timonel.control.asking import Inquirer
from timonel.control.questions import Answers, Inquiry, Question, Read, ResourceOf, Scaled, ScaleOf
from timonel.machinery.errors import InternalError, NotFound, ServiceUnavailable, StatusError
from timonel.objects.meta import Key

SETS = Resource("apps", "v1", "replicasets", True)
INDEX = ResourceIndex([ResourceInfo(SETS, "ReplicaSet")])
WEB = {"metadata": {"name": "web", "namespace": "shop", "uid": "u"}}


class Documents(MemoryTransport):
    """Answers a few paths."""

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        if path == "/away":
            raise Unreachable("connection refused")
        if path.startswith("/named"):
            raise NotFound('widgets "w" not found', name="w")
        if path != "/there":
            raise NotFound("the server could not find the requested resource")
        return {"path": path, "query": dict(query or {})}


async def ask(*questions: Question, transport: MemoryTransport | None = None) -> Answers:
    asked: list[Answers] = []

    def told(seen: None, answers: Answers) -> None:
        asked.append(dict(answers))

    inquiry: Inquiry[None] = Inquiry(questions=lambda desired, seen: questions, told=told)
    client = Client(transport or Documents(SystemClock()), INDEX)
    await Inquirer(inquiry, client, INDEX).complete(WEB, None)
    assert len(asked) == 1  # each is asked once
    return asked[0]


async def test_documents_are_read_and_errors_are_answers() -> None:
    there, away = Read("/there", (("labelSelector", "a=b"),)), Read("/away")
    named, nowhere = Read("/named/w", what="get widgets w"), Read("/nowhere", what="get pods.metrics.k8s.io")
    found = await ask(there, away, named, nowhere)

    assert found[there] == {"path": "/there", "query": {"labelSelector": "a=b"}}
    assert isinstance(found[away], Unreachable)
    assert str(found[named]) == 'widgets "w" not found'
    assert str(found[nowhere]) == "the server could not find the requested resource (get pods.metrics.k8s.io)"


@pytest.mark.parametrize(
    ("answered", "text"),
    [
        (InternalError("service unavailable\n", code=503),
         "the server is currently unable to handle the request (get pods.metrics.k8s.io)"),
        (InternalError("404 page not found", code=404),
         "the server could not find the requested resource (get pods.metrics.k8s.io)"),
        (ServiceUnavailable("the adapter has no data yet"), "the adapter has no data yet"),
        (InternalError("it broke", code=500), "it broke"),
    ],
)  # fmt: skip
async def test_an_answer_that_says_nothing_is_told_by_what_was_asked(
    answered: StatusError, text: str
) -> None:
    class Broken(Documents):
        async def raw(
            self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
        ) -> Any:
            raise answered

    question = Read("/there", what="get pods.metrics.k8s.io")
    found = (await ask(question, transport=Broken(SystemClock())))[question]

    assert (str(found), found.status_code) == (text, answered.status_code)


async def test_kinds_are_found_by_the_index() -> None:
    known, unknown = ResourceOf("apps/v1", "ReplicaSet"), ResourceOf("example.com/v1", "Widget")
    found = await ask(known, unknown)

    assert found[known] == SETS
    assert str(found[unknown]) == 'no matches for kind "Widget" in version "example.com/v1"'


async def test_a_scale_says_where_it_can_be_written() -> None:
    cluster = Documents(SystemClock())
    await cluster.create(SETS, {**WEB, "spec": {"replicas": 3}})
    there, gone = (
        ScaleOf("apps/v1", "ReplicaSet", Key("shop", "web")),
        ScaleOf("apps/v1", "ReplicaSet", Key("shop", "x")),
    )
    found = await ask(there, gone, transport=cluster)

    assert isinstance(found[there], Scaled)
    assert (found[there].resource, found[there].scale["spec"]) == ("replicasets.v1.apps", {"replicas": 3})
    assert isinstance(found[gone], NotFound)


async def test_who_asks_for_ever_is_answered_a_few_times() -> None:
    inquiry: Inquiry[int] = Inquiry(
        questions=lambda desired, seen: [Read(f"/there{n}") for n in range(seen + 1)],
        told=lambda seen, answers: seen + 1,
    )
    client = Client(Documents(SystemClock()), INDEX)

    assert await Inquirer(inquiry, client, INDEX).complete(WEB, 0) == 5


@pytest.mark.parametrize("text", ["replicasets.v1.apps"])
def test_such_a_resource_is_found_again(text: str) -> None:
    assert INDEX.resource(text) == SETS
