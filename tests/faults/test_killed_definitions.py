"""A server that is killed while definitions are made and deleted: everything goes on where it was left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.servers import ServerProcess, running, wait_for

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PLURALS = [f"things{number}" for number in range(10)]
OBJECTS = 60


def definition(plural: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": plural, "kind": plural.capitalize()}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {"name": f"{plural}.example.com"}, "spec": spec}


def path_of(plural: str) -> str:
    return f"/apis/example.com/v1/namespaces/default/{plural}"


def is_established(crd: dict[str, Any]) -> bool:
    conditions = crd["status"].get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running(tmp_path) as server:
        yield server


def listed(server: ServerProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.send("GET", CRDS).body["items"]
    return found


def established(server: ServerProcess) -> bool:
    return all(is_established(crd) for crd in listed(server))


def test_definitions_that_were_stored_are_served_after_a_kill(server: ServerProcess) -> None:
    with server.connect() as connection:
        answers = [connection.send("POST", CRDS, definition(plural)).status for plural in PLURALS]
    server.kill()
    server.up()
    wait_for(lambda: established(server), "all definitions to be established")

    assert answers == [201] * len(PLURALS)
    assert [server.send("GET", path_of(plural)).status for plural in PLURALS] == [200] * len(PLURALS)


def test_a_deletion_that_was_cut_off_is_finished(server: ServerProcess) -> None:
    plural = PLURALS[0]
    server.send("POST", CRDS, definition(plural))
    wait_for(lambda: established(server), "the definition to be established")
    with server.connect() as connection:
        for number in range(OBJECTS):
            body = {"apiVersion": "example.com/v1", "kind": "Things0", "metadata": {"name": f"t{number}"}}
            connection.send("POST", path_of(plural), body)
        before = len(connection.send("GET", path_of(plural)).body["items"])
        marked = connection.send("DELETE", f"{CRDS}/{plural}.example.com").status
    server.kill()
    server.up()
    wait_for(lambda: not listed(server), "the definition to be gone")
    server.send("POST", CRDS, definition(plural))
    wait_for(lambda: established(server), "the definition to be established again")

    assert (before, marked) == (OBJECTS, 200)
    assert server.send("GET", path_of(plural)).body["items"] == []
