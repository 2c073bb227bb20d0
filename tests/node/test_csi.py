"""CSI: a driver registers, volumes are staged and published, and given back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.node.builders import UID, pod
from tests.node.fake_api import FakeApi
from tests.node.fake_driver import FakeDriver
from timonel.aio.clock import SystemClock
from timonel.aio.threads import Threads
from timonel.node.environment import Sources
from timonel.node.plugins.csi import CsiDrivers
from timonel.node.plugins.registry import PluginRegistry
from timonel.node.volumes.csi import (
    CsiVolumes,
    attachment_name,
    changes_owner,
    mode_of,
    of_claim,
    of_pod,
    unique_name,
)
from timonel.node.volumes.manager import PodVolumes
from timonel.node.volumes.source import Context, VolumeError
from timonel.objects.meta import Object

pytestmark = pytest.mark.looptime(False)
DRIVER = "fake.example.com"


@pytest.mark.parametrize(
    ("modes", "exact", "expected"),
    [
        (["ReadWriteOnce"], False, 1),
        (["ReadWriteOnce"], True, 7),
        (["ReadWriteOncePod"], True, 6),
        (["ReadWriteOncePod"], False, 1),
        (["ReadOnlyMany"], True, 3),
        (["ReadOnlyMany", "ReadWriteMany"], False, 5),
        ([], False, 1),
    ],
)
def test_access_modes(modes: list[str], expected: int, *, exact: bool) -> None:
    assert mode_of(modes, exact=exact) == expected


@pytest.mark.parametrize(
    ("policy", "source", "modes", "expected"),
    [
        ("", {"fsType": "ext4"}, ["ReadWriteOnce"], True),
        ("", {}, ["ReadWriteOnce"], False),
        ("ReadWriteOnceWithFSType", {"fsType": "ext4"}, ["ReadWriteMany"], False),
        ("File", {}, [], True),
        ("None", {"fsType": "ext4"}, ["ReadWriteOnce"], False),
    ],
)
def test_who_applies_the_group(
    policy: str, source: dict[str, str], modes: list[str], *, expected: bool
) -> None:
    assert changes_owner(policy, source, modes) is expected


def test_an_inline_volume_has_a_handle_of_its_own() -> None:
    volume = {"name": "v", "csi": {"driver": DRIVER}}
    one, other = of_pod(pod(), volume), of_pod(pod(uid="other"), volume)

    assert one.handle.startswith("csi-")
    assert one.handle != other.handle
    assert one.is_ephemeral


# ---- with a driver

CLAIM = {"metadata": {"name": "c", "namespace": "default", "uid": "claim"}, "spec": {"volumeName": "pv"}}
PV: Object = {
    "metadata": {"name": "pv"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "mountOptions": ["noatime"],
        "claimRef": {"uid": "claim"},
        "csi": {
            "driver": DRIVER,
            "volumeHandle": "h1",
            "fsType": "ext4",
            "volumeAttributes": {"a": "1"},
            "nodePublishSecretRef": {"name": "s", "namespace": "default"},
        },
    },
}
VOLUME = {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = SystemClock()
        self.api = FakeApi(self.clock.now)
        self.api.put("nodes", {"metadata": {"name": "n1", "uid": "node-uid"}})
        self.driver = FakeDriver(DRIVER, mount=_make, unmount=_remove)
        self.drivers = CsiDrivers(self.api, "n1")
        self.threads = Threads("test", 2)
        self.volumes = CsiVolumes(self.api, self.drivers, self.clock, self.threads, node="n1", root=root)
        secret = {
            "metadata": {"name": "s", "namespace": "default"},
            "data": {"k": base64.b64encode(b"v").decode()},
        }
        self.api.put("secrets", secret)

    def has_driver(self, **spec: Any) -> None:
        self.api.put("csidrivers", {"metadata": {"name": DRIVER}, "spec": spec})

    def attach(self, **metadata: str) -> None:
        status = {"attached": True, "attachmentMetadata": metadata}
        self.api.put(
            "volumeattachments", {"metadata": {"name": attachment_name("h1", DRIVER, "n1")}, "status": status}
        )

    def context(self, wanted: Object | None = None) -> Context:
        async def token(audience: str, seconds: int) -> tuple[str, float]:
            return f"token for {audience}", 1_800_000_000.0

        owner = wanted or pod(volumes=[VOLUME])
        root = self.root / "pods" / owner["metadata"]["uid"]
        return Context(owner, root, Sources(), token, 0.0, {"c": (CLAIM, PV)})

    def pod_volumes(self, uid: str = UID) -> PodVolumes:
        return PodVolumes(self.root / "pods" / uid, self.threads, self.volumes)


def _make(target: Path) -> None:
    target.mkdir(exist_ok=True)
    (target / "file").write_text("data")


def _remove(target: Path) -> None:
    for path in target.glob("*"):
        path.unlink()
    if target.is_dir():
        target.rmdir()


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    (tmp_path / "r").mkdir()
    registry = PluginRegistry(tmp_path / "r", found.clock, found.threads, {"CSIPlugin": found.drivers})
    async with found.driver.serving(tmp_path / "r"), asyncio.TaskGroup() as group:
        task = group.create_task(registry.run())
        async with asyncio.timeout(10):
            await found.driver.is_told.wait()
        yield found
        task.cancel()
    await found.drivers.close()
    found.threads.close()


async def test_a_driver_is_taken_on_and_told_of(bench: Bench) -> None:
    csi_node = bench.api.find("csinodes", "", "n1")
    node = bench.api.find("nodes", "", "n1")

    assert bench.driver.registered == [(True, "")]
    assert csi_node is not None
    assert csi_node["spec"]["drivers"] == [
        {
            "name": DRIVER,
            "nodeID": f"{DRIVER}-node",
            "topologyKeys": ["topology.example.com/zone"],
            "allocatable": {"count": 7},
        }
    ]
    assert csi_node["metadata"]["ownerReferences"][0]["uid"] == "node-uid"
    assert node is not None
    assert node["metadata"]["labels"] == {"topology.example.com/zone": "z1"}
    assert json.loads(node["metadata"]["annotations"]["csi.volume.kubernetes.io/nodeid"]) == {
        DRIVER: f"{DRIVER}-node"
    }


async def test_a_driver_that_goes_is_let_go(bench: Bench) -> None:
    await bench.drivers.drop(DRIVER)

    csi_node = bench.api.find("csinodes", "", "n1")
    assert bench.drivers.get(DRIVER) is None
    assert csi_node is not None
    assert csi_node["spec"]["drivers"] == []


async def test_a_volume_is_attached_staged_published_and_given_back(bench: Bench) -> None:
    bench.has_driver(podInfoOnMount=True, tokenRequests=[{"audience": "vault"}])
    bench.attach(device="/dev/x")
    volumes = bench.pod_volumes()
    await volumes.set_up(bench.context())
    place = Path(volumes.paths["data"])
    read = (place / "file").read_text()
    in_use = await bench.volumes.in_use()
    await bench.pod_volumes().tear_down()  # as another life of the agent would

    (_, stage), (_, publish), (_, unpublish), (_, unstage) = bench.driver.calls
    assert bench.driver.methods() == [
        "NodeStageVolume",
        "NodePublishVolume",
        "NodeUnpublishVolume",
        "NodeUnstageVolume",
    ]
    assert read == "data"
    assert place.parts[-4:] == ("volumes", "kubernetes.io~csi", "pv", "mount")
    assert in_use == [unique_name(DRIVER, "h1")]
    assert (stage["volume_id"], dict(stage["publish_context"])) == ("h1", {"device": "/dev/x"})
    assert stage["volume_capability"].mount.fs_type == "ext4"
    assert list(stage["volume_capability"].mount.mount_flags) == ["noatime"]
    assert publish["staging_target_path"] == stage["staging_target_path"] == unstage["staging_target_path"]
    assert publish["target_path"] == unpublish["target_path"] == str(place)
    assert dict(publish["secrets"]) == {"k": "v"}
    attributes = dict(publish["volume_context"])
    tokens = json.loads(attributes.pop("csi.storage.k8s.io/serviceAccount.tokens"))
    assert tokens["vault"]["token"] == "token for vault"
    assert attributes["csi.storage.k8s.io/pod.uid"] == UID
    assert (attributes["a"], attributes["csi.storage.k8s.io/ephemeral"]) == ("1", "false")
    assert not (bench.root / "pods" / UID / "volumes").exists()
    assert await bench.volumes.in_use() == []


async def test_a_volume_stays_staged_while_another_pod_has_it(bench: Bench) -> None:
    bench.has_driver(attachRequired=False)
    other = pod(name="other", uid="other", volumes=[VOLUME])
    await bench.pod_volumes().set_up(bench.context())
    await bench.pod_volumes("other").set_up(bench.context(other))
    await bench.pod_volumes().tear_down()
    before = bench.driver.methods().count("NodeUnstageVolume")
    await bench.pod_volumes("other").tear_down()

    assert (before, bench.driver.methods().count("NodeUnstageVolume")) == (0, 1)


async def test_an_inline_volume_lives_with_its_pod(bench: Bench) -> None:
    bench.has_driver(volumeLifecycleModes=["Ephemeral"])
    inline = pod(volumes=[{"name": "v", "csi": {"driver": DRIVER, "readOnly": True}}])
    await bench.pod_volumes().set_up(bench.context(inline))
    await bench.pod_volumes().tear_down()

    assert bench.driver.methods() == ["NodePublishVolume", "NodeUnpublishVolume"]
    assert bench.driver.calls[0][1]["readonly"] is True


@pytest.mark.parametrize("driver", ["none.example.com", DRIVER])
async def test_why_a_volume_cannot_be_had(bench: Bench, driver: str) -> None:
    bench.has_driver(volumeLifecycleModes=["Persistent"])
    inline = pod(volumes=[{"name": "v", "csi": {"driver": driver}}])
    with pytest.raises(VolumeError) as failure:
        await bench.pod_volumes().set_up(bench.context(inline))

    why = str(failure.value)
    assert why.startswith('MountVolume.SetUp failed for volume "v" : ')
    assert "not found in the list of registered CSI drivers" in why or 'volume mode "Ephemeral"' in why


async def test_what_a_driver_refuses_is_said_in_its_words(bench: Bench) -> None:
    bench.has_driver(attachRequired=False)
    bench.driver.failures["NodePublishVolume"] = (grpc.StatusCode.INVALID_ARGUMENT, "no such thing")
    with pytest.raises(VolumeError) as failure:
        await bench.pod_volumes().set_up(bench.context())
    await bench.pod_volumes().tear_down()

    assert "rpc error: code = InvalidArgument desc = no such thing" in str(failure.value)
    assert bench.driver.methods()[-2:] == ["NodeUnpublishVolume", "NodeUnstageVolume"]


async def test_a_driver_that_fails_to_unpublish_is_asked_again(bench: Bench) -> None:
    bench.has_driver(attachRequired=False)
    await bench.pod_volumes().set_up(bench.context())
    bench.driver.failures["NodeUnpublishVolume"] = (grpc.StatusCode.INTERNAL, "busy")
    ending = asyncio.ensure_future(bench.pod_volumes().tear_down())
    await asyncio.sleep(0.3)
    waits = not ending.done()
    del bench.driver.failures["NodeUnpublishVolume"]
    await ending

    assert waits
    assert bench.driver.methods().count("NodeUnpublishVolume") == 2
    assert of_claim(PV, VOLUME).handle == "h1"


async def test_a_block_volume_is_a_device_and_no_directory(bench: Bench) -> None:
    bench.has_driver(attachRequired=False)
    block = {**PV, "spec": {**PV["spec"], "volumeMode": "Block"}}
    context = replace(bench.context(), claims={"c": (CLAIM, block)})
    volumes = bench.pod_volumes()
    await volumes.set_up(context)
    await bench.pod_volumes().tear_down()

    (_, stage), (_, publish), (_, unpublish), (_, unstage) = bench.driver.calls
    devices = bench.root / "plugins" / "kubernetes.io" / "csi" / "volumeDevices"
    assert volumes.paths["data"] == publish["target_path"] == unpublish["target_path"]
    assert publish["target_path"] == str(devices / "publish" / "pv" / UID)
    assert stage["staging_target_path"] == unstage["staging_target_path"] == str(devices / "staging" / "pv")
    assert stage["volume_capability"].HasField("block")


async def test_a_volume_that_became_larger_grows_on_the_node(bench: Bench) -> None:
    pending = [
        {"type": kind, "status": "True"} for kind in ("FileSystemResizePending", "Resizing", "Somebody's")
    ]
    status = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "conditions": pending}
    claim = bench.api.put("persistentvolumeclaims", {**CLAIM, "status": status})
    larger = {**PV, "spec": {**PV["spec"], "capacity": {"storage": "2Gi"}}}
    bench.has_driver(attachRequired=False)
    bench.driver.offer(1, 3)
    volumes = bench.pod_volumes()
    await volumes.set_up(bench.context())
    before = bench.driver.methods()
    await volumes.refresh(replace(bench.context(), claims={"c": (claim, larger)}))
    seen = bench.api.find("persistentvolumeclaims", "default", "c")
    assert seen is not None
    await volumes.refresh(replace(bench.context(), claims={"c": (seen, larger)}))

    [(_, expand)] = [call for call in bench.driver.calls if call[0] == "NodeExpandVolume"]
    assert "NodeExpandVolume" not in before
    assert expand["capacity_range"].required_bytes == 2 << 30
    assert expand["volume_path"] == volumes.paths["data"]
    assert seen["status"]["capacity"] == {"storage": "2Gi"}
    assert [c["type"] for c in seen["status"]["conditions"]] == ["Somebody's"]
