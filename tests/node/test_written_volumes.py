"""Volumes whose files follow API objects: which files, with which modes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import pod
from timonel.node.environment import Sources
from timonel.node.volumes import config_map, downward_api, projected, secret
from timonel.node.volumes.source import Context, VolumeError

CONFIG = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\xff").decode()}}
SECRET = {"data": {"k": base64.b64encode(b"v").decode()}}


def context() -> Context:
    async def token(audience: str, seconds: int) -> tuple[str, float]:
        return f"{audience}-{seconds}", 1000.0 + seconds

    sources = Sources(
        config_maps={"c": CONFIG, "gone": None}, secrets={"s": SECRET, "gone": None}, allocatable={"cpu": "4"}
    )
    wanted = pod()
    wanted["metadata"]["labels"] = {"x": "y"}
    return Context(wanted, Path("/nowhere"), sources, token, 1000.0, {})


@pytest.mark.parametrize(
    ("source", "modes"),
    [
        ({}, {"a": 0o644, "b": 0o644, "c": 0o644}),
        ({"defaultMode": 0o400}, {"a": 0o400, "b": 0o400, "c": 0o400}),
        ({"defaultMode": 0}, {"a": 0, "b": 0, "c": 0}),
        (
            {"items": [{"key": "a", "path": "x/y", "mode": 0o600}, {"key": "b", "path": "z"}]},
            {"x/y": 0o600, "z": 0o644},
        ),
        ({"items": [{"key": "a", "path": "x", "mode": 0}]}, {"x": 0}),
    ],
)
def test_files_and_modes(source: dict[str, Any], modes: dict[str, int]) -> None:
    found = config_map.files(context(), {"name": "c", **source})

    assert {name: file.mode for name, file in found.items()} == modes


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"name": "gone"}, 'configmap "gone" not found'),
        ({"name": "c", "items": [{"key": "no", "path": "p"}]}, "non-existent config key: no"),
    ],
)
def test_what_is_not_there_is_missed_unless_it_is_optional(source: dict[str, Any], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        config_map.files(context(), source)

    assert config_map.files(context(), {**source, "optional": True}) == {}


def test_secrets_are_decoded() -> None:
    assert secret.files(context(), {"secretName": "s"})["k"].data == b"v"


def test_the_pod_s_own_fields() -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 0o400},
        {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
    ]
    found = downward_api.files(context(), {"items": items})

    assert {name: (file.data, file.mode) for name, file in found.items()} == {
        "labels": (b'x="y"', 0o400),
        "cpu": (b"4", 0o644),
    }


async def test_several_sources_in_one_place() -> None:
    sources = [
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}},
        {"secret": {"name": "s"}},
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}},
    ]
    found = await projected.files(context(), {"sources": sources, "defaultMode": 0o440})

    assert {name: file.data for name, file in found.files.items()} == {
        "a": b"1",
        "k": b"v",
        "token": b"vault-600",
    }
    assert {file.mode for file in found.files.values()} == {0o440}
    assert found.renew_at == 1480.0


async def test_a_source_that_nobody_knows_is_refused() -> None:
    with pytest.raises(VolumeError, match="projected source clusterTrustBundle is not supported"):
        await projected.files(context(), {"sources": [{"clusterTrustBundle": {"path": "ca"}}]})
