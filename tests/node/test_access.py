"""Who may talk to a node's agent."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.aio.clock import VirtualClock
from timonel.client.transport import Resource, Unreachable
from timonel.node.access import Guard, Reviews, Rules, subresources_of, verb_of
from timonel.node.httpserver import Peer, Request, Response


class Authority:
    """An API server that knows one token, and what its owner may."""

    def __init__(self, *may: tuple[str, str]) -> None:
        self.may, self.asked = set(may), list[tuple[str, Any]]()
        self.away = False

    async def create(self, resource: Resource, obj: Any, **options: Any) -> Any:
        if self.away:
            raise Unreachable("connection refused")
        spec = obj["spec"]
        if resource.plural == "tokenreviews":
            self.asked.append(("who", spec["token"]))
            user = {"username": "ada", "groups": ["dev"], "extra": {"a": ["b"]}}
            return {"status": {"authenticated": True, "user": user} if spec["token"] == "good" else {}}
        attributes = spec["resourceAttributes"]
        assert attributes["resource"] == "nodes"
        assert attributes["name"] == "n1"
        asked = (attributes["verb"], attributes["subresource"])
        self.asked.append(("may", asked))
        return {"status": {"allowed": asked in self.may}}


class Inner:
    async def handle(self, request: Request) -> Response:
        return Response(200, b"in")


def guard(authority: Authority, clock: VirtualClock | None = None) -> Guard:
    transport: Any = authority
    return Guard(Inner(), Rules(), Reviews(transport, clock or VirtualClock(), "n1"))


def request(
    path: str = "/pods", method: str = "GET", *, token: str = "", peer: Peer | None = None
) -> Request:
    headers = (("Authorization", f"Bearer {token}"),) if token else ()
    return Request(method, path, {}, headers, peer or Peer(), b"")


async def answer(guard: Guard, asked: Request) -> tuple[int, str]:
    found = await guard.handle(asked)
    assert isinstance(found, Response)
    assert isinstance(found.body, bytes)
    return found.status, found.body.decode()


@pytest.mark.parametrize("peer", [Peer("kube-apiserver-kubelet-client"), Peer("root", ("system:masters",))])
async def test_the_api_server_is_let_in_without_a_question(peer: Peer) -> None:
    authority = Authority()
    authority.away = True

    assert await answer(guard(authority), request("/exec/a/b/c", "POST", peer=peer)) == (200, "in")
    assert authority.asked == []


@pytest.mark.parametrize("token", ["", "bad"])
async def test_nobody_is_anonymous(token: str) -> None:
    assert await answer(guard(Authority(("get", "pods"))), request(token=token)) == (401, "Unauthorized")


async def test_who_has_a_good_token_may_do_what_the_api_server_allows() -> None:
    authority = Authority(("get", "metrics"), ("get", "proxy"))
    door = guard(authority)

    assert await answer(door, request("/metrics/resource", token="good")) == (200, "in")
    assert await answer(door, request("/pods", token="good")) == (200, "in")  # by the wider right
    assert authority.asked[1:] == [
        ("may", ("get", "metrics")),
        ("may", ("get", "pods")),
        ("may", ("get", "proxy")),
    ]
    assert await answer(door, request("/run/a/b/c", "POST", token="good")) == (
        403,
        "Forbidden (user=ada, verb=create, resource=nodes, subresource(s)=[proxy])",
    )
    assert await answer(door, request("/pods", "POST", token="good")) == (
        403,
        "Forbidden (user=ada, verb=create, resource=nodes, subresource(s)=[pods proxy])",
    )


async def test_a_certificate_of_somebody_else_is_asked_about() -> None:
    peer = Peer("system:node:n2", ("system:nodes",))

    status, text = await answer(guard(Authority()), request("/stats/summary", peer=peer))

    assert (status, text.split(",")[0]) == (403, "Forbidden (user=system:node:n2")


async def test_what_was_said_is_remembered_for_a_while() -> None:
    clock = VirtualClock()
    authority = Authority(("get", "stats"))
    door = guard(authority, clock)
    wanted = request("/stats/summary", token="good")

    async def questions(after: float) -> list[str]:
        await clock.advance(after)
        authority.asked.clear()
        assert await answer(door, wanted) == (200, "in")
        return [kind for kind, _ in authority.asked]

    assert await questions(0) == ["who", "may"]
    assert await questions(100) == []
    assert await questions(30) == ["who"]
    assert await questions(171) == ["who", "may"]


async def test_without_the_api_server_nobody_else_gets_in() -> None:
    authority = Authority(("get", "stats"))
    clock = VirtualClock()
    door = guard(authority, clock)
    wanted = request("/stats/summary", token="good")
    await answer(door, wanted)
    authority.away = True

    assert await answer(door, wanted) == (200, "in")
    await clock.advance(121)
    assert await answer(door, wanted) == (401, "Unauthorized")
    peer = Peer("eve")
    assert await answer(door, request("/stats/summary", peer=peer)) == (
        500,
        "Authorization error (user=eve, verb=get, resource=nodes, subresource(s)=[stats])",
    )


@pytest.mark.parametrize(
    ("path", "subresources"),
    [
        ("/stats/summary", ("stats",)),
        ("/metrics", ("metrics",)),
        ("/metricsother", ("proxy",)),
        ("/healthz/ping", ("healthz", "proxy")),
        ("/exec/a/b/c", ("proxy",)),
        ("/", ("proxy",)),
        ("/checkpoint/a/b/c", ("checkpoint",)),
    ],
)
def test_paths_are_subresources_of_the_node(path: str, subresources: tuple[str, ...]) -> None:
    assert subresources_of(path) == subresources


def test_methods_without_a_verb_have_none() -> None:
    assert [verb_of(m) for m in ("GET", "POST", "HEAD", "TRACE")] == ["get", "create", "", ""]
