"""HTTP probes and hooks against a small server on the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import pytest_asyncio

from timonel.aio.clock import SystemClock
from timonel.node.cri.runtime import Runtime
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.hooks import HookFailed, Hooks
from timonel.node.probes import NetworkProber, Result, Target

pytestmark = pytest.mark.looptime(False)

ANSWERS = {
    "/ok": "200 OK\r\nContent-Length: 2\r\n\r\nok",
    "/bad": "503 Nope\r\nContent-Length: 0\r\n\r\n",
    "/to-ok": "302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
    "/to-bad": "301 Moved\r\nLocation: /bad\r\nContent-Length: 0\r\n\r\n",
    "/away": "302 Found\r\nLocation: http://0.0.0.0/\r\nContent-Length: 4\r\n\r\naway",
    "/round": "302 Found\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n",
}


class Site:
    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        self.asked.append(first.decode("latin-1").split(" ")[1] if first.startswith(b"GET") else "?")
        writer.write(f"HTTP/1.1 {ANSWERS.get(self.asked[-1], '400 Bad Request')}".encode())
        await writer.drain()
        writer.close()

    async def probe(self, path: str) -> Result:
        prober = NetworkProber(cast(Runtime, SimulatedRuntime(SystemClock())))
        target = Target("id", "127.0.0.1", {"name": "main"})
        return await prober.ask(target, {"httpGet": {"port": self.port, "path": path}})


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/ok", Result(True, "ok")),
        ("/bad", Result(False, "HTTP probe failed with statuscode: 503")),
        ("/to-ok", Result(True, "ok")),
        ("/to-bad", Result(False, "HTTP probe failed with statuscode: 503")),
        ("/away", Result(True, "Probe terminated redirects, Response body: away", is_warning=True)),
    ],
)
async def test_redirects_are_followed_within_the_host(site: Site, path: str, result: Result) -> None:
    assert await site.probe(path) == result


async def test_a_redirect_to_itself_fails(site: Site) -> None:
    found = await site.probe("/round")

    assert (found.ok, len(site.asked)) == (False, 10)
    assert found.output.endswith("stopped after 10 redirects")


Hook = Callable[[dict[str, Any]], Any]


@pytest.fixture
def hook(site: Site) -> Hook:
    hooks = Hooks(cast(Runtime, SimulatedRuntime(SystemClock())), SystemClock())
    return lambda action: hooks.run(
        {"httpGet": {"port": site.port, **action}}, {"name": "main"}, "id", "127.0.0.1"
    )


async def test_what_a_hook_is_answered_does_not_matter(site: Site, hook: Hook) -> None:
    await hook({"path": "/bad"})

    assert site.asked == ["/bad"]


async def test_a_hook_that_finds_no_tls_asks_without(site: Site, hook: Hook) -> None:
    await hook({"path": "/ok", "scheme": "HTTPS"})

    assert site.asked == ["?", "/ok"]


async def test_a_hook_that_nobody_hears_fails(hook: Hook) -> None:
    with pytest.raises(HookFailed):
        await hook({"port": 1})
