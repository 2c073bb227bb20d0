"""Large answers are packed for those who take it, and for nobody else."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json

import pytest

from tests.server.starting import send, started
from timonel.server.app import ApiServer
from timonel.server.compression import AT_ONCE, FROM, accepts

pytestmark = pytest.mark.looptime(False)

MAPS = "/api/v1/namespaces/default/configmaps"


async def fetched(server: ApiServer, path: str, encoding: str) -> tuple[dict[str, str], bytes]:
    def ask() -> tuple[dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        headers = {"Authorization": "Bearer secret", "Accept-Encoding": encoding}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return {key.lower(): value for key, value in answer.headers.items()}, body

    return await asyncio.to_thread(ask)


async def filled(server: ApiServer, count: int, size: int) -> None:
    for number in range(count):
        data = {"k": f"{number}-" + "v" * size}
        answer = await send(server, "POST", MAPS, {"metadata": {"name": f"a{number}"}, "data": data})
        assert answer.status == 201


@pytest.mark.parametrize(("count", "size"), [(2, FROM), (4, AT_ONCE)], ids=["at once", "piece by piece"])
async def test_a_large_list_is_packed(count: int, size: int) -> None:
    async with started() as server:
        await filled(server, count, size)
        for path in (MAPS, f"{MAPS}?limit=500"):
            plain, whole = await fetched(server, path, "identity")
            packed, body = await fetched(server, path, "deflate, gzip")

            items = json.loads(whole)["items"]
            assert json.loads(gzip.decompress(body))["items"] == items
            assert len(items) == count
            assert (packed["content-encoding"], packed["vary"]) == ("gzip", "Accept-Encoding")
            assert packed["content-type"] == plain["content-type"] == "application/json"
            assert "content-encoding" not in plain
            assert ("content-length" in packed) == (len(whole) <= AT_ONCE)


async def test_a_large_object_is_packed_and_a_small_one_is_not() -> None:
    async with started() as server:
        await filled(server, 1, FROM)
        headers, body = await fetched(server, f"{MAPS}/a0", "gzip")
        assert headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(body))["metadata"]["name"] == "a0"

        headers, body = await fetched(server, "/api/v1/namespaces/default", "gzip")
        assert "content-encoding" not in headers
        assert json.loads(body)["metadata"]["name"] == "default"


async def test_a_watch_is_never_packed() -> None:
    async with started() as server:
        await filled(server, 2, FROM)
        headers, body = await fetched(server, f"{MAPS}?watch=true&timeoutSeconds=1", "gzip")

        assert "content-encoding" not in headers
        assert len(body.splitlines()) == 2


async def test_two_requests_of_one_connection_may_differ_in_what_they_take() -> None:
    async with started() as server:
        await filled(server, 1, FROM)

        def ask() -> list[str | None]:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            found = []
            for encoding in ("gzip", "identity", "gzip"):
                headers = {"Authorization": "Bearer secret", "Accept-Encoding": encoding}
                connection.request("GET", MAPS, headers=headers)
                answer = connection.getresponse()
                answer.read()
                found.append(answer.headers["Content-Encoding"])
            connection.close()
            return found

        assert await asyncio.to_thread(ask) == ["gzip", None, "gzip"]


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("gzip", True),
        ("deflate, gzip", True),
        ("gzip;q=0.5", False),
        ("xgzip", False),
        ("", False),
        ("br", False),
    ],
)
def test_who_takes_gzip(header: str, taken: bool) -> None:
    assert accepts(header) is taken
