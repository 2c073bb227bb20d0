from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.contract import MAPS, WEB, config_map
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import builtin
from timonel.client.fake import MemoryTransport
from timonel.client.informer import Informer, InformerFactory, Lister, is_at_least
from timonel.client.transport import Resource, Unreachable
from timonel.machinery.errors import NotFound
from timonel.objects.meta import Key, Object

Change = tuple[str | None, str | None]


def value(obj: Object | None) -> str | None:
    return None if obj is None else obj.get("data", {}).get("a")


@asynccontextmanager
async def following(transport: MemoryTransport) -> AsyncIterator[Informer]:
    informer = Informer(transport, MAPS, SystemClock(), jitter=lambda: 0.0)
    async with running(informer):
        yield informer


async def settle(informer: Informer, version: str) -> None:
    caught_up = asyncio.Event()
    informer.when_caught_up(version, caught_up.set)
    async with asyncio.timeout(120):
        await caught_up.wait()


def test_versions_compare_as_numbers() -> None:
    assert is_at_least("10", "9")
    assert is_at_least("9", "9")
    assert not is_at_least("9", "10")


async def test_handlers_see_old_and_new() -> None:
    transport = MemoryTransport(SystemClock())
    await transport.create(MAPS, config_map(a="1"))
    seen: list[Change] = []
    async with following(transport) as informer:
        informer.add_handler(lambda old, new: seen.append((value(old), value(new))))
        patched = await transport.patch(MAPS, WEB, {"data": {"a": "2"}})
        await settle(informer, patched["metadata"]["resourceVersion"])
        gone = await transport.delete(MAPS, WEB)
        await settle(informer, gone["metadata"]["resourceVersion"])

    assert seen == [(None, "1"), ("1", "2"), ("2", None)]


async def test_who_was_seen_to_go_is_remembered() -> None:
    clock = SystemClock()
    transport = MemoryTransport(clock)
    made = await transport.create(MAPS, config_map(a="1"))
    factory = InformerFactory(transport, clock, builtin())
    cache = Lister(factory, clock, ["configmaps"])
    async with running(factory):
        informer = cache.informers["configmaps"]
        await informer.synced.wait()
        assert cache.gone_uid("configmaps", WEB) == ""
        gone = await transport.delete(MAPS, WEB)
        await settle(informer, gone["metadata"]["resourceVersion"])

    assert cache.gone_uid("configmaps", WEB) == made["metadata"]["uid"]
    assert 0 <= clock.now() - cache.gone_since("configmaps", WEB) < 60


async def test_after_expired_history_only_differences_are_told() -> None:
    transport = MemoryTransport(SystemClock())
    for name in ("kept", "changed", "removed"):
        await transport.create(MAPS, config_map(name, a="1"))
    seen: list[str] = []
    async with following(transport) as informer:
        transport.fault = _refuse_watches
        informer.add_handler(lambda old, new: seen.append((new or old or {})["metadata"]["name"]))
        seen.clear()
        transport.forget_history()
        await transport.patch(MAPS, Key("default", "changed"), {"data": {"a": "2"}})
        await transport.delete(MAPS, Key("default", "removed"))
        last = await transport.create(MAPS, config_map("added"))
        transport.forget_history()
        transport.fault = None
        await settle(informer, last["metadata"]["resourceVersion"])
        names = {o["metadata"]["name"] for o in informer.list("default")}

    assert sorted(seen) == ["added", "changed", "removed"]
    assert names == {"kept", "changed", "added"}


def _refuse_watches(verb: str, resource: Resource, key: Key) -> None:
    if verb == "watch":
        raise Unreachable("the wire is cut")


async def test_a_resource_that_is_not_served_is_empty() -> None:
    transport = MemoryTransport(SystemClock())

    def fault(verb: str, resource: Resource, key: Key) -> None:
        raise NotFound("the server could not find the requested resource")

    transport.fault = fault
    async with following(transport) as informer:
        assert informer.has_synced
        assert len(informer) == 0


async def test_a_failing_handler_harms_no_other() -> None:
    transport = MemoryTransport(SystemClock())
    seen: list[Change] = []

    def failing(old: Object | None, new: Object | None) -> None:
        raise ValueError("poisoned")

    async with following(transport) as informer:
        informer.add_handler(failing)
        informer.add_handler(lambda old, new: seen.append((value(old), value(new))))
        made = await transport.create(MAPS, config_map(a="1"))
        await settle(informer, made["metadata"]["resourceVersion"])

    assert seen == [(None, "1")]


async def test_a_server_that_was_away_for_hours_is_followed_again() -> None:
    transport, failures = MemoryTransport(SystemClock()), 0

    def away(verb: str, resource: Resource, key: Key) -> None:
        nonlocal failures
        if verb == "list":
            failures += 1
            if failures <= 1_100:  # the float 2.0 ** 1024 is too large
                raise Unreachable("away")

    transport.fault = away
    async with following(transport):
        assert failures == 1_101


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("x", "y", None)), st.booleans()), max_size=20)
)
def test_indexes_agree_with_the_objects(steps: list[tuple[str, str | None, bool]]) -> None:
    informer = Informer(MemoryTransport(SystemClock()), MAPS, SystemClock())
    assert not informer.controlled_by("x")  # builds the indexes before there is anything in them
    assert not informer.owned_by("x")
    for number, (name, owner, remove) in enumerate(steps):
        obj = config_map(name)
        obj["metadata"] |= {"resourceVersion": str(number + 1), "uid": name}
        if owner:
            obj["metadata"]["ownerReferences"] = [
                {"uid": owner, "controller": True, "kind": "X", "name": owner}
            ]
        informer._put(Key("default", name), None if remove else obj)

    for uid in ("x", "y"):
        expected = [
            o
            for o in informer.list()
            if any(ref["uid"] == uid for ref in o["metadata"].get("ownerReferences", ()))
        ]
        by_name = sorted(expected, key=lambda o: str(o["metadata"]["name"]))
        assert sorted(informer.controlled_by(uid), key=lambda o: str(o["metadata"]["name"])) == by_name
        assert sorted(informer.owned_by(uid), key=lambda o: str(o["metadata"]["name"])) == by_name
    free = {o["metadata"]["name"] for o in informer.list() if "ownerReferences" not in o["metadata"]}
    assert {o["metadata"]["name"] for o in informer.orphans("default")} == free
    assert not informer.orphans("another")
