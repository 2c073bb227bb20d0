"""The contract, against a real etcd; and what only a store that others share has to do."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.store.contract import StoreContract
from tests.store.etcd.servers import EtcdServer, etcd
from timonel.aio.clock import SystemClock
from timonel.distro import pki
from timonel.store.base import Event, Page, Record, Store, StoreError, Unreachable
from timonel.store.etcd.connection import Settings
from timonel.store.etcd.store import EtcdStore, tells_progress

pytestmark = pytest.mark.looptime(False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    with etcd(tmp_path) as running:
        yield running


async def opened(server: EtcdServer, **settings: str) -> EtcdStore:
    return await EtcdStore.open(Settings((server.url,), **settings), SystemClock())  # type: ignore[arg-type]


class TestEtcdStore(StoreContract):
    @pytest.fixture
    async def store(self, server: EtcdServer) -> AsyncIterator[Store]:
        store = await opened(server)
        yield store
        await store.close()


async def test_keys_lie_below_the_root(server: EtcdServer) -> None:
    one, other = await opened(server), await opened(server, root="/elsewhere")
    await one.create("/pods/a/b", b"1")

    assert (await other.list("/")).records == []
    assert [r.key for r in (await one.list("/")).records] == ["/pods/a/b"]
    assert [r.key for r in (await opened_list(server)).records] == ["/registry/pods/a/b"]
    await one.close()
    await other.close()


async def opened_list(server: EtcdServer) -> Page:
    plain = await opened(server, root="")
    page = await plain.list("/")
    await plain.close()
    return page


async def test_long_lists_are_one_snapshot(server: EtcdServer) -> None:
    store = await opened(server)
    async with asyncio.TaskGroup() as group:
        for n in range(2300):
            group.create_task(store.create(f"/r/{n:05}", b"x"))
    page = await store.list("/r/")
    await store.close()

    assert [r.key for r in page.records] == [f"/r/{n:05}" for n in range(2300)]
    assert page.remaining == 0


async def test_a_watch_goes_on_after_etcd_was_killed(server: EtcdServer) -> None:
    store = await opened(server)
    seen: list[str] = []
    done = asyncio.Event()

    async def follow() -> None:
        async for batch in store.watch("/r/", after=0):
            seen.extend(e.key for e in batch)
            if "/r/last" in seen:
                done.set()
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        first = await store.create("/r/first", b"1")
        await asyncio.sleep(0.3)
        server.kill()
        with pytest.raises(Unreachable):
            await store.create("/r/lost", b"1")
        server.start()
        await retried(lambda: store.update("/r/first", b"2", expected=first.modified))
        await store.create("/r/last", b"1")
        async with asyncio.timeout(20):
            await done.wait()
    await store.close()

    assert seen == ["/r/first", "/r/first", "/r/last"]


async def retried(work: Callable[[], Awaitable[Record]]) -> Record:
    for _ in range(100):
        try:
            return await work()
        except Unreachable:
            await asyncio.sleep(0.1)
    raise AssertionError("etcd does not answer again")


async def test_an_endpoint_that_is_silent_is_passed_over(server: EtcdServer) -> None:
    store = await EtcdStore.open(Settings(("http://127.0.0.1:1", server.url)), SystemClock())
    a = await store.create("/r/a", b"1")
    found = await store.get("/r/a")
    await store.close()

    assert found == a


async def test_no_endpoint_at_all_is_said_soon() -> None:
    async with asyncio.timeout(8):
        with pytest.raises(Unreachable, match="etcd cannot serve now"):
            await EtcdStore.open(Settings(("http://127.0.0.1:1",)), SystemClock())


async def test_a_barrier_is_reached_though_others_write_elsewhere(server: EtcdServer) -> None:
    store, stranger = await opened(server), await opened(server, root="/elsewhere")
    reached: list[int] = []

    async def follow() -> None:
        async for batch in store.watch("/", after=0):
            reached.append(batch[-1].revision)

    async with asyncio.TaskGroup() as group:
        follower = group.create_task(follow())
        await store.create("/r/a", b"1")
        await asyncio.sleep(0.3)
        for n in range(5):
            theirs = await stranger.create(f"/r/{n}", b"1")
            revision = await store.barrier()
            assert revision >= theirs.modified
            assert reached[-1] >= revision
        follower.cancel()
    await store.close()
    await stranger.close()


async def test_what_one_has_written_is_before_the_barrier_of_another(server: EtcdServer) -> None:
    one, other = await opened(server), await opened(server)
    seen: list[Event] = []

    async def follow() -> None:
        async for batch in other.watch("/", after=0):
            seen.extend(batch)

    async with asyncio.TaskGroup() as group:
        follower = group.create_task(follow())
        await asyncio.sleep(0.3)
        for n in range(30):
            written = await one.create(f"/r/{n}", b"1")
            await other.barrier()
            assert written in [e.record for e in seen]
        follower.cancel()
    await one.close()
    await other.close()


async def test_users_and_their_tokens(server: EtcdServer) -> None:
    control(server, "user", "add", "root:secret")
    control(server, "user", "grant-role", "root", "root")
    control(server, "auth", "enable")
    with pytest.raises(Unreachable, match="does not let us in"):
        await opened(server)
    with pytest.raises(Unreachable, match="does not let us in"):
        await opened(server, username="root", password="wrong")

    store = await opened(server, username="root", password="secret")
    a = await store.create("/r/a", b"1")
    server.kill()  # tokens are in memory only: all are forgotten
    server.start()
    b = await retried(lambda: store.update("/r/a", b"2", expected=a.modified))
    (event,) = await anext(store.watch("/r/", after=a.modified))
    await store.close()

    assert event.record == b


def control(server: EtcdServer, *words: str) -> None:
    done = subprocess.run(
        ["etcdctl", "--endpoints", server.url, *words],
        env={**os.environ, "ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr


async def test_a_full_etcd_refuses_writes_until_there_is_room(tmp_path: Path) -> None:
    with etcd(tmp_path / "small", "--quota-backend-bytes", "2000000") as server:
        store = await opened(server)
        kept = await store.create("/r/kept", b"1")

        async def fill() -> None:
            for n in range(100):
                await store.create(f"/filler/{n}", b"x" * 100_000)

        with pytest.raises(Unreachable, match="out of space"):
            await fill()
        assert await store.get("/r/kept") == kept
        await store.remove_all()
        await store.compact(await store.revision())
        control(server, "defrag")
        control(server, "alarm", "disarm")
        again = await store.create("/r/again", b"1")
        assert await store.get("/r/again") == again
        await store.close()


async def test_tls_and_client_certificates(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path / "pki", now=SystemClock().now())
    serving = authority.server("etcd", user="etcd", hosts=["127.0.0.1"])
    client = authority.client("apiserver-etcd-client", user="apiserver")
    options = (
        "--cert-file", str(serving.certificate), "--key-file", str(serving.key), "--client-cert-auth",
        "--trusted-ca-file", str(authority.certificate_file),
    )  # fmt: skip
    with etcd(tmp_path / "tls", *options, scheme="https") as server:
        settings = Settings(
            (server.url,),
            ca_file=authority.certificate_file,
            certificate_file=client.certificate,
            key_file=client.key,
        )
        store = await EtcdStore.open(settings, SystemClock())
        a = await store.create("/r/a", b"1")
        found = await store.get("/r/a")
        async with asyncio.TaskGroup() as group:  # more at once than a server of TLS takes
            for n in range(800):
                group.create_task(store.create(f"/many/{n:03}", b"x" * 3000))
        many = await store.list("/many/")
        await store.close()
        with pytest.raises(Unreachable):
            await EtcdStore.open(Settings((server.url,), ca_file=authority.certificate_file), SystemClock())

    assert found == a
    assert len(many.records) == 800


async def test_an_object_that_is_too_large_for_etcd_is_an_error_of_its_own(server: EtcdServer) -> None:
    store = await opened(server)
    with pytest.raises(StoreError, match="too large"):
        await store.create("/r/a", b"x" * 2_000_000)
    found: Sequence[object] = (await store.list("/r/")).records
    await store.close()

    assert found == []


@pytest.mark.parametrize(
    ("version", "tells"),
    [("3.4.23", False), ("3.4.25", True), ("3.5.7", False), ("3.5.9", True), ("3.6.0", True), ("odd", False)],
)
def test_which_versions_tell_how_far_a_watch_is(version: str, tells: bool) -> None:
    assert tells_progress(version) is tells
