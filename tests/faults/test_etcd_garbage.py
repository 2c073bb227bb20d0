"""Somebody writes into etcd what is no object: it is an error of that object alone, at every server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.faults.servers import ServerProcess
from tests.store.etcd.servers import etcd
from timonel.aio.clock import SystemClock
from timonel.store.etcd.connection import Settings
from timonel.store.etcd.store import EtcdStore

MAPS = "/api/v1/namespaces/default/configmaps"
GARBAGE = {
    "/configmaps/default/garbage": b"not json",
    "/configmaps/default/list": b"[]",
    "/services/specs/default/number": b"1",
    "/namespaces/nameless": b"{}",
    "/secrets/default/sealed": b"k8s:enc:aesgcm:v1:unknown:xyz",
    "/pods/default/odd": b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"odd","namespace":"default"},"spec":7}',
    "/apiregistration.k8s.io/apiservices/v1.bare": (
        b'{"kind":"APIService","apiVersion":"apiregistration.k8s.io/v1","metadata":{"name":"v1.bare"}}'
    ),
}


def test_garbage_in_etcd_ends_no_server(tmp_path: Path) -> None:
    with etcd(tmp_path / "etcd") as member:
        server = ServerProcess(tmp_path, store=member.url)
        server.up()
        try:
            pid = server.pid
            server.send("POST", MAPS, {"metadata": {"name": "before"}})
            asyncio.run(_write(member.url))
            garbage = server.send("GET", f"{MAPS}/garbage")
            before = server.send("GET", f"{MAPS}/before")
            after = server.send("POST", MAPS, {"metadata": {"name": "after"}})

            assert (garbage.status, before.status, after.status) == (500, 200, 201)
            assert garbage.body["message"].startswith(
                'Internal error occurred: unable to transform key "/registry/configmaps/default/garbage": '
            )
            assert server.send("GET", "/api/v1/namespaces/default/pods/odd").status == 500
            assert server.pid == pid
        finally:
            server.down()


async def _write(url: str) -> None:
    store = await EtcdStore.open(Settings((url,)), SystemClock())
    try:
        for key, value in GARBAGE.items():
            await store.create(key, value)
    finally:
        await store.close()
