"""The agent ends pods when its node is short of something: who hears what, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from timonel.aio.clock import VirtualClock
from timonel.aio.threads import Threads
from timonel.node import pressure
from timonel.node.cri.runtime import Stats
from timonel.node.eviction import Evictions
from timonel.node.podruntime import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID
from timonel.node.pressure import Signal, Supplies, Supply
from timonel.objects.meta import Object

MI, GI = 1 << 20, 1 << 30


class Runner:
    """As much of a PodRunner as matters here."""

    def __init__(self, name: str, **spec: Any) -> None:
        self.pod: Object = {
            "metadata": {"name": name, "namespace": "a", "uid": name},
            "spec": {"containers": [{"name": "c"}], **spec},
        }
        self.uid = name
        self.ended: list[Any] = []

    @property
    def is_syncing(self) -> bool:
        return not self.ended

    @property
    def holds_resources(self) -> bool:
        return not self.ended

    def end(self, ending: Any) -> None:
        self.ended.append(ending)


class Node:
    """Everything around the evictions of one node."""

    def __init__(self, room: Path, *runners: Runner, **flags: str) -> None:
        self.clock = VirtualClock()
        self.runners, self.memory, self.disk = runners, 8 * GI, 50 * GI
        self.uses: dict[str, int] = {}
        self.freed, self.freeing = 0, 0
        self.told: list[tuple[str, str, str]] = []
        self.threads = Threads("test", 1)
        around: Any = self
        self.evictions = Evictions(
            settings=pressure.settings({name.replace("_", "-"): text for name, text in flags.items()}),
            runtime=around,
            clock=self.clock,
            threads=self.threads,
            records=around,
            runners=lambda: list(around.runners),
            supplies=self.supplies,
            free_images=self.free_images,
            room=room,
            log_root=str(room / "logs"),
        )

    async def supplies(self) -> Supplies:
        disk = Supply(self.disk, 100 * GI)
        return {Signal.MEMORY: Supply(self.memory, 16 * GI), Signal.NODE_DISK: disk, Signal.IMAGE_DISK: disk}

    async def free_images(self) -> None:
        self.freed += 1
        self.disk += self.freeing

    async def stats(self) -> Sequence[Stats]:
        return [
            Stats(r.uid, self._labels(r), 0.0, 0, 0, self.uses.get(r.uid, 0), 0, self.uses.get(r.uid, 0))
            for r in self.runners
        ]

    @staticmethod
    def _labels(runner: Runner) -> dict[str, str]:
        return {POD_UID: runner.uid, POD_NAME: runner.uid, POD_NAMESPACE: "a", CONTAINER_NAME: "c"}

    def record(self, about: Object, type: str, reason: str, message: str) -> None:
        self.told.append((about["metadata"]["name"], reason, message))

    async def look(self) -> str:
        """Who was ended."""
        found = await self.evictions.look()
        return found.uid if found is not None else ""


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return tmp_path


async def test_one_pod_at_a_time_and_never_a_critical_one(room: Path) -> None:
    node = Node(room, Runner("a"), Runner("b"), Runner("core", priority=2_000_000_000))
    node.uses = {"a": MI, "b": 2 * MI, "core": GI}

    assert await node.look() == ""
    node.memory = 50 * MI
    assert [await node.look() for _ in range(3)] == ["b", "a", ""]

    assert node.evictions.conditions == {"MemoryPressure"}
    assert [(name, reason) for name, reason, _ in node.told] == [("b", "Evicted"), ("a", "Evicted")]
    (ending,) = node.runners[1].ended
    assert (ending.reason, ending.grace) == ("Evicted", 1.0)
    assert ending.disruption == ending.message == node.told[0][2]
    assert "Container c was using 2048Ki, request is 0" in ending.message


async def test_images_go_before_pods_where_the_disk_is_short(room: Path) -> None:
    node = Node(room, Runner("a"))
    node.disk, node.freeing = 5 * GI, 20 * GI

    assert await node.look() == ""
    assert node.freed == 1
    assert node.evictions.conditions == {"DiskPressure"}

    node.disk, node.freeing = 5 * GI, GI
    assert await node.look() == "a"
    assert node.runners[0].ended[0].message.startswith("The node was low on resource: ephemeral-storage. ")


async def test_a_soft_threshold_gives_pods_the_time_that_it_names(room: Path) -> None:
    node = Node(
        room,
        Runner("a"),
        eviction_hard="",
        eviction_soft="memory.available<1Gi",
        eviction_soft_grace_period="memory.available=1m",
        eviction_max_pod_grace_period="20",
    )
    node.memory = 50 * MI

    assert await node.look() == ""
    await node.clock.advance(61)
    assert await node.look() == "a"
    assert node.runners[0].ended[0].grace == 20.0


async def test_a_pod_that_fills_its_directory_is_ended_and_the_others_stay(room: Path) -> None:
    limited = {"volumes": [{"name": "s", "emptyDir": {"sizeLimit": "1Mi"}}]}
    node = Node(room, Runner("full", **limited), Runner("fine", **limited), Runner("free"))
    for name, size in (("full", 3 * MI), ("fine", MI // 2)):
        directory = room / name / "volumes" / "emptyDir" / "s"
        directory.mkdir(parents=True)
        (directory / "file").write_bytes(b"x" * size)
        (directory / "elsewhere").symlink_to("/")

    assert await node.look() == "full"
    (ending,) = node.runners[0].ended
    assert ending.message == 'Usage of EmptyDir volume "s" exceeds the limit "1Mi". '
    assert ending.disruption == ""
    assert await node.look() == ""


async def test_logs_count_for_the_container_that_wrote_them(room: Path) -> None:
    resources = {"limits": {"ephemeral-storage": "1Mi"}}
    node = Node(room, Runner("loud", containers=[{"name": "c", "resources": resources}]))
    logs = room / "logs" / "a_loud_loud" / "c"
    logs.mkdir(parents=True)
    (logs / "0.log").write_bytes(b"x" * 2 * MI)

    assert await node.look() == "loud"
