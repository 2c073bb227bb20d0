from __future__ import annotations

from typing import Any

import orjson
import pytest

from timonel.schema import gnostic, load
from timonel.schema.openapi import OpenApi

API = OpenApi(load())


def document(group: str, version: str) -> Any:
    body = API.v3(group, version)
    assert body is not None
    return orjson.loads(body)


def test_the_index_names_every_group_version_with_a_hash() -> None:
    paths = orjson.loads(API.index)["paths"]

    assert paths["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    assert "apis/apps/v1" in paths


def test_groups_that_are_not_served_are_left_out() -> None:
    api = OpenApi(load(), groups=["apps"])

    assert api.group_versions() == [("apps", "v1")]
    assert api.v3("", "v1") is None


@pytest.mark.parametrize(("group", "version"), API.group_versions())
def test_every_reference_stays_inside_its_document(group: str, version: str) -> None:
    found = document(group, version)
    schemas = found["components"]["schemas"]
    text = orjson.dumps(found).decode()

    referred = {part.split('"', 1)[0] for part in text.split('"$ref":"#/components/schemas/')[1:]}
    assert referred <= schemas.keys()


def test_a_path_says_which_kind_it_is_about() -> None:
    item = document("apps", "v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]

    assert item["patch"]["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
    }
    assert item["patch"]["x-kubernetes-action"] == "patch"
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= {
        p["name"] for p in item["patch"]["parameters"]
    }


def test_fields_have_descriptions_and_merge_keys() -> None:
    spec = document("", "v1")["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"][
        "containers"
    ]

    assert spec["x-kubernetes-patch-merge-key"] == "name"
    assert spec["x-kubernetes-list-map-keys"] == ["name"]
    assert spec["description"].startswith("List of containers belonging to the pod.")


def test_a_kind_names_itself() -> None:
    pod = document("", "v1")["components"]["schemas"]["io.k8s.api.core.v1.Pod"]

    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Pod"}]


def read(body: bytes) -> dict[int, list[bytes]]:
    """The length-delimited fields of a message; other fields are skipped."""
    found: dict[int, list[bytes]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = body[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(body):
        tag = varint()
        if tag & 7 == 0:
            varint()
            continue
        length = varint()
        found.setdefault(tag >> 3, []).append(body[at : at + length])
        at += length
    return found


def test_version_2_in_protobuf_says_what_it_says_in_json() -> None:
    tree = orjson.loads(API.v2)

    message = read(API.v2_protobuf)

    assert message[1] == [b"2.0"]
    definitions = {read(d)[1][0].decode(): read(read(d)[2][0]) for d in read(message[9][0])[1]}
    paths = {read(p)[1][0].decode() for p in read(message[8][0])[2]}
    assert definitions.keys() == tree["definitions"].keys()
    assert paths == tree["paths"].keys()
    probe = tree["definitions"]["io.k8s.api.core.v1.Probe"]
    assert definitions["io.k8s.api.core.v1.Probe"][4] == [probe["description"].encode()]
    properties = {read(p)[1][0].decode() for p in read(definitions["io.k8s.api.core.v1.Probe"][25][0])[1]}
    assert properties == probe["properties"].keys()


def test_numbers_of_any_length_are_written() -> None:
    found = gnostic.document(
        {"swagger": "2.0", "info": {"title": "t" * 300, "version": "v"}, "paths": {}, "definitions": {}}
    )

    assert read(read(found)[2][0])[1] == [b"t" * 300]


def retired_cron_jobs() -> dict[str, Any]:
    verbs = ["create", "get", "list"]
    named = {"group": "batch", "version": "v1beta1", "kind": "CronJob", "plural": "cronjobs"}
    return {**named, "namespaced": True, "verbs": verbs, "subresources": []}


def test_a_retired_version_has_a_document_with_the_words_of_the_one_that_took_over() -> None:
    api = OpenApi(load(), retired=[retired_cron_jobs()])
    body = api.v3("batch", "v1beta1")
    assert body is not None
    schemas = orjson.loads(body)["components"]["schemas"]
    kind, listed = (schemas[f"io.k8s.api.batch.v1beta1.CronJob{end}"] for end in ("", "List"))

    assert kind["x-kubernetes-group-version-kind"] == [
        {"group": "batch", "version": "v1beta1", "kind": "CronJob"}
    ]
    assert kind["description"].startswith("CronJob represents")
    assert "io.k8s.api.batch.v1.CronJobSpec" in schemas
    items = listed["properties"]["items"]["items"]
    assert items == {"$ref": "#/components/schemas/io.k8s.api.batch.v1beta1.CronJob"}
    assert "apis/batch/v1beta1" in orjson.loads(api.index)["paths"]
    assert "io.k8s.api.batch.v1beta1.CronJob" in orjson.loads(api.v2)["definitions"]


@pytest.mark.parametrize("more", [True, False, {"type": "string"}])
def test_properties_of_any_name_are_said_in_the_old_form(more: Any) -> None:
    schema = {"type": "object", "additionalProperties": more}
    document = {
        "swagger": "2.0",
        "info": {"title": "t", "version": "v"},
        "paths": {},
        "definitions": {"T": schema},
    }

    assert b"object" in gnostic.document(document)
