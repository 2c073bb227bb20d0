"""Webhooks and policies about custom resources: each sees the version it is written for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.admission.test_policies import refusing
from tests.server.admission.test_webhooks import Bench, added, bench_in, denied
from tests.server.starting import Answer, send
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

Object = dict[str, Any]
GROUP = "shop.example.com"
PATH = f"/apis/{GROUP}/%s/namespaces/default/shelves"


def definition() -> Object:
    def version(name: str, *, storage: bool) -> Object:
        spec = {"type": "object", "properties": {"size": {"type": "integer"}, "note": {"type": "string"}}}
        schema = {"type": "object", "properties": {"spec": spec}}
        return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}

    names = {"plural": "shelves", "singular": "shelf", "kind": "Shelf", "listKind": "ShelfList"}
    versions = [version("v1", storage=False), version("v2", storage=True)]
    spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {"name": f"shelves.{GROUP}"}, "spec": spec}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        await made.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition())
        for _ in range(250):
            if (await send(made.server, "GET", PATH % "v1")).status == 200:
                break
            await asyncio.sleep(0.02)
        yield made


async def make(server: ApiServer, version: str = "v1", name: str = "s", **spec: Any) -> Answer:
    body = {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "Shelf",
        "metadata": {"name": name},
        "spec": spec,
    }
    return await send(server, "POST", PATH % version, body)


def rule(version: str, *operations: str) -> Object:
    return {
        "apiGroups": [GROUP],
        "apiVersions": [version],
        "operations": list(operations or ("*",)),
        "resources": ["shelves"],
    }


async def test_a_webhook_for_another_version_sees_and_changes_that_version(bench: Bench) -> None:
    await bench.configure("mutating", bench.hook("m", added("/spec/note", "x"), rules=[rule("v2")]))

    answer = await make(bench.server, size=3)

    [(_, request)] = bench.requests
    assert request["object"]["apiVersion"] == f"{GROUP}/v2"
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v2", "v1")
    assert answer.status == 201, answer.body
    assert (answer.body["apiVersion"], answer.body["spec"]) == (f"{GROUP}/v1", {"size": 3, "note": "x"})


async def test_what_a_webhook_adds_beyond_the_schema_is_pruned(bench: Bench) -> None:
    await bench.configure("mutating", bench.hook("m", added("/spec/unknown", "x"), rules=[rule("v1")]))

    answer = await make(bench.server, size=3)

    assert (answer.status, answer.body["spec"]) == (201, {"size": 3})


async def test_deletes_of_custom_resources_can_be_refused(bench: Bench) -> None:
    await make(bench.server)
    await bench.configure("validating", bench.hook("no", denied, rules=[rule("v1", "DELETE")]))

    answer = await send(bench.server, "DELETE", f"{PATH % 'v1'}/s")

    assert answer.status == 400
    assert (await send(bench.server, "GET", f"{PATH % 'v1'}/s")).status == 200


async def test_a_policy_about_custom_resources(bench: Bench) -> None:
    small = {"expression": "object.spec.size < 5", "message": "too large"}
    await refusing(bench.server, small, matchConstraints={"resourceRules": [rule("v1")]})

    assert (await make(bench.server, size=3)).status == 201
    assert (await make(bench.server, "v2", "t", size=7)).body["message"] == (
        f"shelves.{GROUP} \"t\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: "
        "too large"
    )


async def test_custom_resources_as_parameters(bench: Bench) -> None:
    await make(bench.server, name="limit", size=1)
    ref = {"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"}
    kind = {"apiVersion": f"{GROUP}/v1", "kind": "Shelf"}
    most = {"expression": "object.data.size() <= params.spec.size"}
    await refusing(bench.server, most, binding={"paramRef": ref}, paramKind=kind)

    assert (await bench.post(data={"a": "1"})).status == 201
    assert (await bench.post("n", data={"a": "1", "b": "2"})).status == 422


async def test_types_of_custom_resources_are_checked(bench: Bench) -> None:
    await refusing(
        bench.server, {"expression": "object.spec.sise < 5"}, matchConstraints={"resourceRules": [rule("v1")]}
    )

    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/p"
    for _ in range(250):
        if found := (await send(bench.server, "GET", path)).body["status"]:
            break
        await asyncio.sleep(0.02)
    [warning] = found["typeChecking"]["expressionWarnings"]
    assert warning["warning"].startswith(
        f"{GROUP}/v1, Kind=Shelf: ERROR: <input>:1:12: undefined field 'sise'"
    )
