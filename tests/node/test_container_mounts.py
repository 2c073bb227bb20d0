from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import container, pod
from timonel.node.cri.runtime import Device, Mount
from timonel.node.environment import ConfigError
from timonel.node.volumes import empty_dir, manager
from timonel.node.volumes.container_mounts import container_devices, container_mounts, sub_path
from timonel.node.volumes.source import Context, VolumeError
from timonel.node.volumes.subpath import SubPaths


def mounted(volume: dict[str, Any], **mount: Any) -> Mount:
    wanted = pod(volumes=[{"name": "v", **volume}])
    spec = container(volumeMounts=[{"name": "v", "mountPath": "/v", **mount}])
    [found] = container_mounts(
        spec, {"v": "/host/v"}, manager.read_only(wanted), {}, SubPaths(Path("/nowhere"))
    )
    return found


@pytest.mark.parametrize(
    ("volume", "readonly"),
    [
        ({"configMap": {"name": "c"}}, True),
        ({"secret": {"secretName": "s"}}, True),
        ({"projected": {}}, True),
        ({"downwardAPI": {}}, True),
        ({"persistentVolumeClaim": {"claimName": "c", "readOnly": True}}, True),
        ({"persistentVolumeClaim": {"claimName": "c"}}, False),
        ({"emptyDir": {}}, False),
    ],
)
def test_what_follows_api_objects_is_not_written_to(volume: dict[str, Any], *, readonly: bool) -> None:
    assert mounted(volume) == Mount("/v", "/host/v", readonly)


def test_a_mount_says_how_it_propagates() -> None:
    found = mounted({"emptyDir": {}}, mountPropagation="HostToContainer", mountPath="v", readOnly=True)

    assert found == Mount("/v", "/host/v", True, "HostToContainer")


@pytest.mark.parametrize(
    ("mount", "found"),
    [
        ({"subPath": "a/b"}, "a/b"),
        ({"subPathExpr": "$(A)/x"}, "1/x"),
        ({"subPathExpr": "$$(A)"}, "$(A)"),
        ({}, ""),
    ],
)
def test_sub_paths(mount: dict[str, str], found: str) -> None:
    assert sub_path(mount, {"A": "1", "EMPTY": ""}) == found


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ({"subPathExpr": "$(NO)/$(EMPTY)"}, "missing value for EMPTY, NO"),
        ({"subPathExpr": "$(ROOT)"}, "error SubPath `/etc` must not be an absolute path"),
        ({"subPathExpr": "$(UP)/x"}, "unable to provision SubPath `../x`: must not contain '..'"),
    ],
)
def test_variables_must_not_lead_out_of_the_volume(mount: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        sub_path(mount, {"EMPTY": "", "ROOT": "/etc", "UP": ".."})

    assert str(failure.value) == message


def test_block_volumes_are_devices() -> None:
    wanted = container(volumeDevices=[{"name": "d", "devicePath": "/dev/x"}])

    assert container_devices(wanted, {"d": "/dev/loop7"}) == (Device("/dev/x", "/dev/loop7", "mrw"),)
    with pytest.raises(VolumeError):
        container_devices(wanted, {})


@pytest.mark.parametrize(
    ("source", "limit", "bound"),
    [
        ({"sizeLimit": "1Mi"}, "", 1 << 20),
        ({}, "512Ki", 512 << 10),
        ({"sizeLimit": "1Mi"}, "512Ki", 512 << 10),
        ({}, "", 1 << 30),
    ],
)
def test_how_large_a_volume_in_memory_may_grow(source: dict[str, str], limit: str, bound: int) -> None:
    resources = {"limits": {"memory": limit}} if limit else {}

    class Sources:
        allocatable = {"memory": "1Gi"}

    async def token(audience: str, seconds: int) -> tuple[str, float]:
        raise AssertionError

    context = Context(pod(container(resources=resources)), Path("/"), Sources(), token, 0.0, {})  # type: ignore[arg-type]

    assert empty_dir.memory_bound(context, {"name": "v", "emptyDir": source}) == bound
