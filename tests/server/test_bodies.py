"""Requests whose bodies come in protobuf, and answers to those who read nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.server.starting import SCHEME, Answer, send, started
from timonel.machinery.protobuf import MAGIC, MEDIA_TYPE, Envelope, unwrap, watch_event
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with started() as server:
        yield server


def num(number: int, value: int) -> bytes:
    assert value < 128
    return bytes((number << 3, value))


def chunk(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes((number << 3 | 2, len(value))) + value


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + chunk(1, chunk(1, api_version.encode()) + chunk(2, kind.encode())) + chunk(2, raw)


def named(name: str) -> bytes:
    """metadata, with what a Go client writes though nobody set it."""
    return chunk(1, chunk(1, name.encode()) + chunk(2, b"") + chunk(5, b"") + num(7, 0) + chunk(8, b""))


def config_map(name: str) -> bytes:
    return body("v1", "ConfigMap", named(name) + chunk(2, chunk(1, b"k") + chunk(2, b"v")))


async def ask(api: ApiServer, method: str, path: str, raw: bytes, media: str = MEDIA_TYPE) -> Answer:
    return await send(api, method, path, raw, Content_Type=media, Accept=f"{MEDIA_TYPE},application/json")


async def test_an_object_is_created_and_answered_in_json(api: ApiServer) -> None:
    answer = await ask(api, "POST", f"{MAPS}?fieldValidation=Strict&fieldManager=me", config_map("a"))

    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.body["data"] == {"k": "v"}
    assert answer.body["metadata"]["name"] == "a"
    (entry,) = answer.body["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:k": {}}}


async def test_an_object_is_replaced(api: ApiServer) -> None:
    await ask(api, "POST", MAPS, config_map("a"))
    answer = await ask(api, "PUT", f"{MAPS}/a", body("v1", "ConfigMap", named("a") + num(4, 1)))

    assert answer.status == 200
    assert answer.body["immutable"] is True
    assert "data" not in answer.body


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (body("v1", "ConfigMap", b"\x0a\x05"), "unexpected EOF"),
        (body("v1", "ConfigMap", num(1, 1)), "proto: wrong wireType = 0 for field metadata"),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_bad_request(api: ApiServer, raw: bytes, problem: str) -> None:
    answer = await ask(api, "POST", MAPS, raw)

    assert answer.status == 400
    assert answer.body["message"] == f'ConfigMap in version "v1" cannot be handled as a ConfigMap: {problem}'


async def test_an_object_of_another_kind_is_a_bad_request(api: ApiServer) -> None:
    answer = await ask(api, "POST", MAPS, body("v1", "Secret", named("a")))

    assert answer.status == 400
    assert answer.body["message"].startswith('Secret in version "v1" cannot be handled as a ConfigMap')


async def test_a_quantity_that_is_none_is_a_bad_request(api: ApiServer) -> None:
    hard = chunk(1, chunk(1, b"pods") + chunk(2, chunk(1, b"many")))
    raw = body("v1", "ResourceQuota", named("a") + chunk(2, hard))
    answer = await ask(api, "POST", "/api/v1/namespaces/default/resourcequotas", raw)

    assert answer.status == 400
    assert "quantities must match the regular expression" in answer.body["message"]


@pytest.mark.parametrize("api_version", ["v1", "apps/v1", "meta.k8s.io/v1", ""])
async def test_options_of_a_deletion_are_read(api: ApiServer, api_version: str) -> None:
    await ask(api, "POST", MAPS, config_map("a"))
    wrong = body(api_version, "DeleteOptions", chunk(2, chunk(1, b"another")))
    right = body(api_version, "DeleteOptions", num(1, 0) + chunk(4, b"Background"))

    refused = await ask(api, "DELETE", f"{MAPS}/a", wrong)
    deleted = await ask(api, "DELETE", f"{MAPS}/a", right)

    assert (refused.status, deleted.status) == (409, 200)


async def test_a_scale_is_read(api: ApiServer) -> None:
    labels: dict[str, Any] = {"app": "a"}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
    }
    await send(api, "POST", DEPLOYMENTS, {"metadata": {"name": "a"}, "spec": spec})
    raw = body("autoscaling/v1", "Scale", named("a") + chunk(2, num(1, 3)) + chunk(3, num(1, 0)))

    answer = await ask(api, "PUT", f"{DEPLOYMENTS}/a/scale", raw)

    assert (answer.status, answer.body["spec"]) == (200, {"replicas": 3})


async def test_a_review_is_answered(api: ApiServer) -> None:
    wish = chunk(1, chunk(2, b"list") + chunk(5, b"pods"))
    raw = body("authorization.k8s.io/v1", "SelfSubjectAccessReview", chunk(2, wish))
    answer = await ask(api, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", raw)

    assert answer.status == 201
    assert answer.body["status"]["allowed"] is True
    assert answer.body["spec"] == {"resourceAttributes": {"verb": "list", "resource": "pods"}}


async def test_an_eviction_of_an_older_version_is_read(api: ApiServer) -> None:
    raw = body("policy/v1beta1", "Eviction", named("missing"))
    answer = await ask(api, "POST", "/api/v1/namespaces/default/pods/missing/eviction", raw)

    assert (answer.status, answer.body["message"]) == (404, 'pods "missing" not found')


async def test_a_patch_comes_in_no_protobuf(api: ApiServer) -> None:
    answer = await ask(api, "PATCH", f"{MAPS}/a", config_map("a"))

    assert answer.status == 415


# ---- answers


async def fetch(api: ApiServer, path: str, accept: str = MEDIA_TYPE, size: int = -1) -> tuple[str, bytes]:
    """Content-Type and the first bytes of the body."""

    def ask() -> tuple[str, bytes]:
        headers = {"Authorization": "Bearer secret", "Accept": accept}
        with urlopen(Request(f"http://127.0.0.1:{api.port}{path}", headers=headers), timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read(size)

    return await asyncio.to_thread(ask)


def told(raw: bytes, message: str) -> tuple[Envelope, dict[str, Any]]:
    envelope = unwrap(raw)
    return envelope, SCHEME.protobuf_decoder.message(message, envelope.raw)


async def test_who_reads_only_protobuf_gets_it(api: ApiServer) -> None:
    await ask(api, "POST", MAPS, config_map("a"))

    media, raw = await fetch(api, f"{MAPS}/a")
    envelope, tree = told(raw, "core.v1.ConfigMap")

    assert (media, envelope.api_version, envelope.kind) == (MEDIA_TYPE, "v1", "ConfigMap")
    assert (tree["metadata"]["name"], tree["data"]) == ("a", {"k": "v"})


async def test_lists_come_in_protobuf(api: ApiServer) -> None:
    for name in ("a", "b"):
        await ask(api, "POST", MAPS, config_map(name))

    _, raw = await fetch(api, MAPS)
    envelope, tree = told(raw, "core.v1.ConfigMapList")

    assert envelope.kind == "ConfigMapList"
    assert [item["metadata"]["name"] for item in tree["items"]] == ["a", "b"]
    assert tree["metadata"]["resourceVersion"]


async def test_metadata_alone_comes_in_protobuf(api: ApiServer) -> None:
    await ask(api, "POST", MAPS, config_map("a"))
    accept = f"{MEDIA_TYPE};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

    _, raw = await fetch(api, MAPS, accept)
    envelope, tree = told(raw, "meta.v1.PartialObjectMetadataList")

    assert (envelope.api_version, envelope.kind) == ("meta.k8s.io/v1", "PartialObjectMetadataList")
    assert [item["metadata"]["name"] for item in tree["items"]] == ["a"]


async def test_watches_come_in_protobuf(api: ApiServer) -> None:
    await ask(api, "POST", MAPS, config_map("a"))
    _, raw = await fetch(api, f"{MAPS}/a")
    frame = watch_event(b"ADDED", raw)

    path = f"{MAPS}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Da"
    media, stream = await fetch(api, path, size=len(frame))

    assert media == f"{MEDIA_TYPE};stream=watch"
    assert stream == frame


async def test_tables_have_no_form_in_protobuf(api: ApiServer) -> None:
    accept = f"{MEDIA_TYPE};as=Table;g=meta.k8s.io;v=v1"
    answer = await send(api, "GET", MAPS, Accept=accept)

    assert answer.status == 406
