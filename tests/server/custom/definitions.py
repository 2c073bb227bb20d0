"""Definitions and objects for tests."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.request import Request, urlopen

from tests.server.starting import Answer, send
from timonel.server.app import ApiServer

Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "example.com"
THINGS = f"/apis/{GROUP}/v1/namespaces/default/things"
SPEC: Object = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "default": 3, "minimum": 1},
        "color": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    },
}


def version(name: str = "v1", *, storage: bool = True, spec: Object = SPEC, **more: Any) -> Object:
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(
    plural: str = "things", kind: str = "Thing", *versions: Object, names: Object | None = None, **spec: Any
) -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **(names or {})},
            "versions": list(versions) or [version()],
            **spec,
        },
    }


def thing(name: str, api_version: str = "v1", *, kind: str = "Thing", **more: Any) -> Object:
    return {"apiVersion": f"{GROUP}/{api_version}", "kind": kind, "metadata": {"name": name}, **more}


def conditions(crd: Object) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    found = crd["status"].get("conditions") or ()
    return {c["type"]: (c["status"], c["reason"]) for c in found}


async def install(server: ApiServer, crd: Object) -> Object:
    """The definition as it is when it is established."""
    made = await send(server, "POST", CRDS, crd)
    assert made.status == 201, made.body
    return await settled(server, crd["metadata"]["name"])


async def settled(server: ApiServer, name: str) -> Object:
    for _ in range(200):
        found = await send(server, "GET", f"{CRDS}/{name}")
        if "NamesAccepted" in conditions(found.body):
            body: Object = found.body
            return body
        await asyncio.sleep(0.01)
    raise AssertionError(f"{name} is not settled")


async def until(server: ApiServer, path: str, status: int) -> Answer:
    for _ in range(300):
        found = await send(server, "GET", path)
        if found.status == status:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} does not answer {status}")


async def patch(server: ApiServer, path: str, body: Any, kind: str = "merge") -> Answer:
    suffix = "yaml" if kind == "apply" else "json"
    return await send(server, "PATCH", path, body, content_type=f"application/{kind}-patch+{suffix}")


async def read_events(server: ApiServer, path: str) -> list[Object]:
    """What a watch says until it ends by itself."""

    def read() -> list[Object]:
        request = Request(f"http://127.0.0.1:{server.port}{path}", headers={"Authorization": "Bearer secret"})
        with urlopen(request, timeout=10) as answer:
            return [json.loads(line) for line in answer]

    return await asyncio.to_thread(read)
