"""Health checks, one by one and all together, and what becomes of them when the server stops."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.starting import SCHEME, send, started
from timonel.aio.clock import SystemClock
from timonel.server.app import ApiServer, Config
from timonel.server.auth import jwt
from timonel.server.compose import Settings, compose
from timonel.server.security import Settings as SecuritySettings
from timonel.store.base import Record, Unreachable
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)


class Unwell(MemoryStore):
    problem = ""

    async def revision(self) -> int:
        if self.problem:
            raise Unreachable(self.problem)
        return await super().revision()


async def test_verbose_answers_list_all_checks() -> None:
    async with started() as server:
        live = (await send(server, "GET", "/livez?verbose")).body
        ready = (await send(server, "GET", "/readyz?verbose")).body

        assert live.startswith("[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]poststarthook/start-apiserver ok\n")
        assert live.endswith("[+]autoregister-completion ok\nlivez check passed\n")
        for name in (
            "bootstrap-controller",
            "scheduling/bootstrap-system-priority-classes",
            "crd-informer-synced",
        ):
            assert f"[+]poststarthook/{name} ok\n" in live
            assert (await send(server, "GET", f"/livez/poststarthook/{name}")).body == "ok"
        for line in ("[+]informer-sync ok", "[+]shutdown ok", "readyz check passed"):
            assert line in ready
            assert line not in live


async def test_a_check_that_is_excluded_is_not_asked() -> None:
    store = Unwell()
    async with started(store=store) as server:
        store.problem = "out of order"
        failed = await send(server, "GET", "/livez")
        one = await send(server, "GET", "/livez/etcd")
        other = await send(server, "GET", "/livez/ping")
        without = await send(server, "GET", "/livez?verbose&exclude=etcd&exclude=nosuch")
        store.problem = ""
        again = await send(server, "GET", "/livez")

        assert failed.status == 500
        assert "[-]etcd failed: reason withheld\n" in failed.body
        assert failed.body.endswith("livez check failed\n")
        assert (one.status, one.body) == (500, "internal server error: out of order\n")
        assert (other.status, other.body) == (200, "ok")
        assert without.status == 200
        assert "[+]etcd excluded: ok\n" in without.body
        assert 'warn: some health checks cannot be excluded: no matches for "nosuch"\n' in without.body
        assert (again.status, again.body) == (200, "ok")


async def test_what_the_checks_said_is_counted() -> None:
    async with started() as server:
        await send(server, "GET", "/livez")
        page = (await send(server, "GET", "/metrics/slis")).body

        assert 'kubernetes_healthcheck{name="ping",type="livez"} 1\n' in page
        assert 'kubernetes_healthchecks_total{name="ping",type="livez",status="success"} 1\n' in page


async def stopping(config: Config) -> tuple[ApiServer, asyncio.Task[None]]:
    security = SecuritySettings(keys=jwt.Keys(jwt.new_key()), static_tokens={})
    server = compose(
        Settings(security, config), store=MemoryStore(), scheme=SCHEME, clock=SystemClock(), tls=None
    )
    ready = asyncio.Event()
    task = asyncio.ensure_future(server.run(ready))
    await ready.wait()
    return server, task


async def test_a_server_that_is_to_stop_is_not_ready_first() -> None:
    server, task = await stopping(Config(shutdown_delay=0.5))
    before = await send(server, "GET", "/readyz", token="")
    task.cancel()
    await asyncio.sleep(0.1)
    after = await send(server, "GET", "/readyz", token="")
    live = await send(server, "GET", "/livez", token="")
    await asyncio.wait([task])

    assert (before.status, after.status, live.status) == (200, 500, 200)
    assert "[-]shutdown failed: reason withheld\n" in after.body


async def test_a_watch_ends_properly_when_the_server_stops() -> None:
    async with started() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = "Host: x\r\nAuthorization: Bearer secret\r\n\r\n"
        writer.write(f"GET /api/v1/namespaces?watch=true HTTP/1.1\r\n{head}".encode())
        await reader.readuntil(b"kube-system")
    text = await asyncio.wait_for(reader.read(), 5)
    writer.close()

    assert text.endswith(b"0\r\n\r\n")


async def test_a_request_in_flight_is_answered_before_the_server_is_gone() -> None:
    class Slow(MemoryStore):
        async def create(self, key: str, value: bytes) -> Record:
            if key.endswith("/late"):
                await asyncio.sleep(2.5)
            return await super().create(key, value)

    async with started(store=Slow()) as server:
        path = "/api/v1/namespaces/default/configmaps"
        late = asyncio.ensure_future(send(server, "POST", path, {"metadata": {"name": "late"}}))
        await asyncio.sleep(0.2)

    assert (await late).status == 201
