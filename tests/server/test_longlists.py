"""A long list that is made in slices is the one that is made as a whole."""

from __future__ import annotations

import asyncio
import http.client
import re
from contextlib import closing

import pytest

from tests.server.starting import send, started
from timonel.server import longlists
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

MAPS = "/api/v1/namespaces/default/configmaps"
AGE = re.compile(rb'"\d+s"')  # of one answer it may be another than of the next
FORMS = (
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
)


async def raw(server: ApiServer, accept: str, query: str) -> tuple[int, bytes]:
    def ask() -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
            connection.request(
                "GET", MAPS + query, None, {"Accept": accept, "Authorization": "Bearer secret"}
            )
            answer = connection.getresponse()
            return answer.status, AGE.sub(b'""', answer.read())

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("count", [longlists.SLICE, longlists.SLICE + 1, longlists.SLICE * 3])
async def test_it_is_the_same_in_each_form(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with started() as server:
        for number in range(count):
            made = {"metadata": {"name": f"n{number:03}"}, "data": {"text": "x" * number}}
            assert (await send(server, "POST", MAPS, made)).status == 201
        for accept in FORMS:
            for query in ("", f"?limit={count - 1}"):
                monkeypatch.setattr(longlists, "FEW", 1000)
                whole = await raw(server, accept, query)
                monkeypatch.setattr(longlists, "FEW", 1)

                assert await raw(server, accept, query) == whole
                assert whole[0] == 200
