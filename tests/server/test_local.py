from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.client.contract import MAPS, WEB, TransportContract, config_map
from tests.server.starting import ADMIN, server
from timonel.aio.lifecycle import running
from timonel.client.transport import Transport
from timonel.machinery.errors import Conflict, Forbidden, Invalid, NotFound
from timonel.server.request import User

STRANGER = "00000000-dead-0000-0000-000000000000"

pytestmark = pytest.mark.looptime(False)


class TestLocalTransport(TransportContract):
    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        made, ready = server(), asyncio.Event()
        task = asyncio.get_running_loop().create_task(made.run(ready))
        await ready.wait()
        yield made.transport_for(ADMIN)
        task.cancel()
        await asyncio.wait([task])

    # As recorded from upstream: a foreign uid in a patch is an invalid value, one in a deletion a precondition.

    async def test_a_patch_for_another_uid_is_refused(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map())

        with pytest.raises(Invalid, match=r"metadata\.uid: Invalid value: .*: field is immutable"):
            await transport.patch(MAPS, WEB, {"metadata": {"uid": STRANGER}})

    async def test_a_namesake_is_not_deleted(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map())

        with pytest.raises(
            Conflict, match=r"the UID in the precondition .* does not match the UID in record"
        ):
            await transport.delete(MAPS, WEB, uid=STRANGER)


async def test_a_user_may_do_only_what_the_policy_grants() -> None:
    made = server()
    async with running(made):
        with pytest.raises(Forbidden, match='User "bob" cannot create resource "configmaps" in API group ""'):
            await made.transport_for(User("bob")).create(MAPS, config_map())


async def test_what_is_read_is_shared_with_the_cache() -> None:
    made = server()
    async with running(made):
        transport = made.transport_for(ADMIN)
        await transport.create(MAPS, config_map(a="1"))

        first = (await transport.list(MAPS, "default")).items[0]
        second = (await transport.list(MAPS, "default")).items[0]

        assert first is second


async def test_the_caller_keeps_its_tree() -> None:
    made = server()
    async with running(made):
        mine = config_map(a="1")

        await made.transport_for(ADMIN).create(MAPS, mine)

        assert "uid" not in mine["metadata"]


async def test_a_path_of_a_list_can_be_read_too() -> None:
    made = server()
    async with running(made):
        transport = made.transport_for(ADMIN)
        await transport.create(MAPS, config_map(a="1"))
        found = await transport.raw("GET", "/api/v1/namespaces/default/configmaps")

        assert [item["metadata"]["name"] for item in found["items"]] == ["web"]
        with pytest.raises(NotFound):
            await transport.raw("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
