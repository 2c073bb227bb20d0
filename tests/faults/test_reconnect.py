"""Clients whose API server is killed and comes back: informers and watches go on by themselves, and miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.servers import TOKEN, ServerProcess, running
from timonel.aio.clock import SystemClock
from timonel.client.discovery import builtin
from timonel.client.https import Endpoint, HttpsTransport, tls_context
from timonel.client.informer import InformerFactory
from timonel.client.transport import Resource
from timonel.node.follow import Changed, Replaced, follow
from timonel.objects.meta import Object

MAPS = "/api/v1/namespaces/default/configmaps"
RESOURCE = Resource("", "v1", "configmaps", True)
PATIENCE = 20.0

pytestmark = pytest.mark.looptime(False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running(tmp_path) as server:
        yield server


def transport_to(server: ServerProcess) -> HttpsTransport:
    context = tls_context(ca_file=str(server.folder / "pki" / "ca.crt"))
    endpoint = Endpoint(f"https://127.0.0.1:{server.port}", context=context, token=TOKEN)
    return HttpsTransport(endpoint, SystemClock())


def names(objects: Any) -> set[str]:
    return {obj["metadata"]["name"] for obj in objects if obj["metadata"]["namespace"] == "default"}


async def until(condition: Any, what: str) -> None:
    for _ in range(int(PATIENCE / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


async def test_informers_and_watches_follow_a_server_that_comes_back(server: ServerProcess) -> None:
    for name in ("stays", "goes"):
        server.send("POST", MAPS, {"metadata": {"name": name}})
    transport, clock = transport_to(server), SystemClock()
    informers = InformerFactory(transport, clock, builtin())
    informer = informers.get("configmaps")
    told: list[tuple[bool, bool]] = []
    followed: dict[str, Object] = {}

    async def follow_for_ever() -> None:
        async for news in follow(transport, clock, RESOURCE):
            if isinstance(news, Replaced):
                followed.clear()
                followed.update({obj["metadata"]["uid"]: obj for obj in news.objects})
            else:
                apply_change(followed, news)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(informers.run(asyncio.Event())),
            group.create_task(follow_for_ever()),
        ]
        await until(lambda: {"stays", "goes"} <= names(informer.list()), "the first list")
        informer.add_handler(lambda old, new: told.append((old is not None, new is not None)))

        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.up)
        await asyncio.to_thread(server.send, "DELETE", f"{MAPS}/goes")
        await asyncio.to_thread(server.send, "POST", MAPS, {"metadata": {"name": "new"}})

        expected = {"stays", "new"}
        await until(lambda: expected <= names(informer.list()), "the informer")
        await until(lambda: "goes" not in names(informer.list()), "the informer to forget")
        await until(lambda: expected <= names(followed.values()), "the follower")
        await until(lambda: "goes" not in names(followed.values()), "the follower to forget")
        for task in tasks:
            task.cancel()
    await transport.close()
    assert (True, False) in told, "handlers were told of what went away meanwhile"
    assert (False, True) in told


def apply_change(followed: dict[str, Object], change: Changed) -> None:
    uid = change.object["metadata"]["uid"]
    if change.is_deleted:
        followed.pop(uid, None)
    else:
        followed[uid] = change.object
