"""Device plugins, processors of one's own, and who tells of them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from tests.node.builders import container, pod
from tests.node.fake_plugin import RESOURCE, FakePlugin
from timonel.aio.clock import SystemClock
from timonel.node import cgroups, cpus, flags, machine, nodestatus
from timonel.node.cpus import CpuPool
from timonel.node.cri import messages
from timonel.node.cri.runtime import ContainerConfig, Device, Mount, Version
from timonel.node.ledger import Ledger
from timonel.node.nodestatus import Identity, Machine, Observed
from timonel.node.plugins.devices import DEVICES, NO_GEAR, DeviceManager, NotEnough
from timonel.node.plugins.pb import podresources_pb2 as pb
from timonel.node.plugins.podresources import PodResources
from timonel.node.plugins.rpc import PluginFailed
from timonel.objects.meta import Object

GUARANTEED = {"phase": "Pending", "qosClass": "Guaranteed"}


def exact(cpu: str, name: str = "main", **fields: Any) -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": "1Mi"}
    return container(name, resources={"requests": amounts, "limits": amounts}, **fields)


# ---- processors


@pytest.mark.parametrize(
    ("text", "found"), [("0", {0}), ("0-2,5", {0, 1, 2, 5}), ("3,1", {1, 3}), ("0-3,2", {0, 1, 2, 3})]
)
def test_lists_of_processors(text: str, found: set[int]) -> None:
    assert cpus.parsed(text) == found
    assert cpus.parsed(cpus.written(found)) == found


def test_processors_are_written_as_the_kernel_does() -> None:
    assert cpus.written({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"


@pytest.mark.parametrize(
    ("wanted", "entitled"),
    [
        (pod(exact("2"), status=GUARANTEED), [("main", 2)]),
        (pod(exact("1500m"), status=GUARANTEED), []),
        (pod(exact("2"), status={"qosClass": "Burstable"}), []),
        (
            pod(exact("1"), initContainers=[exact("4", "i"), exact("1", "s", restartPolicy="Always")],
                status=GUARANTEED),
            [("s", 1), ("main", 1)],
        ),
    ],
)  # fmt: skip
def test_who_is_to_have_processors_alone(wanted: Object, entitled: list[tuple[str, int]]) -> None:
    assert cpus.entitled(wanted) == entitled


def pool() -> CpuPool:
    """Four cores of two threads each; the first thread is reserved."""
    return CpuPool(range(8), {0}, {cpu: cpu // 2 for cpu in range(8)})


def test_cores_are_given_whole_and_come_back() -> None:
    shares = pool()
    shares.assign(pod(exact("2"), uid="a", status=GUARANTEED))
    shares.assign(pod(exact("1"), uid="b", status=GUARANTEED))
    before = shares.shared

    assert shares.of("a", "main") == frozenset({2, 3})
    assert shares.of("b", "main") == frozenset({1})  # of a core that is broken anyway
    assert before == {0, 4, 5, 6, 7}
    assert shares.release("a")
    assert not shares.release("a")
    assert shares.shared == {0, 2, 3, 4, 5, 6, 7}


def test_there_are_only_so_many_processors() -> None:
    shares = pool()
    with pytest.raises(cpus.NotEnough) as failure:
        shares.assign(pod(exact("5", "one"), exact("3", "two"), status=GUARANTEED))

    assert "requested=3, available=2" in str(failure.value)
    assert shares.shared == set(range(8))


def test_whoever_keeps_the_state_hears_of_each_change() -> None:
    told = list[dict[tuple[str, str], str]]()
    found = CpuPool(
        range(8), {0}, {cpu: cpu // 2 for cpu in range(8)}, lambda given: told.append(dict(given))
    )

    found.assign(pod(exact("2"), uid="a", status=GUARANTEED))
    found.assign(pod(exact("500m"), uid="b", status=GUARANTEED))
    found.release("b")
    found.release("a")

    assert told == [{("a", "main"): "2-3"}, {}]


def test_processors_that_were_given_are_known_after_a_restart(tmp_path: Path) -> None:
    last = max(os.sched_getaffinity(0))
    Ledger(tmp_path / "state").write({("a", "main"): str(last), ("b", "main"): "nonsense"})

    found = machine.cpu_pool(frozenset(), tmp_path / "state")

    assert found.of("a", "main") == frozenset({last})
    assert found.holders() == {"a"}


def test_what_a_found_container_has_is_known_again() -> None:
    shares = pool()
    shares.restore("a", "main", "2-3")
    shares.assign(pod(exact("2"), uid="a", status=GUARANTEED))

    assert shares.of("a", "main") == frozenset({2, 3})


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        (
            {"cpu-manager-policy": "static", "reserved-cpus": "0-1"},
            {"cpu_policy": "static", "reserved_cpus": {0, 1}, "reserved": {"cpu": 2000}},
        ),
        (
            {"kube-reserved": "cpu=100m,memory=1Gi", "system-reserved": "cpu=200m"},
            {"reserved": {"cpu": 300, "memory": 1 << 30}},
        ),
        ({"pod-max-pids": "100"}, {"pids_limit": 100}),
        ({"enforce-node-allocatable": "none"}, {"bounds_pods": False}),
        ({"enforce-node-allocatable": "pods"}, {"bounds_pods": True}),
        ({"pod-manifest-path": "/m"}, {"static_pods": Path("/m")}),
    ],
)
def test_flags_of_resources(given: dict[str, str], changes: dict[str, Any]) -> None:
    assert flags.changes(given) == changes


@pytest.mark.parametrize(
    "given",
    [
        {"cpu-manager-policy": "static"},
        {"cpu-manager-policy": "dynamic"},
        {"reserved-cpus": "a"},
        {"kube-reserved": "cpu"},
        {"kube-reserved": "cpu=x"},
        {"system-reserved": "gpu=1"},
        {"pod-max-pids": "many"},
        {"enforce-node-allocatable": "pods,system-reserved"},
    ],
)
def test_flags_that_make_no_sense(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        flags.changes(given)


# ---- the node's status

MACHINE = Machine(
    4, 8 << 30, 4 << 30, 100 << 30, 50 << 30, 32768, 200, "m", "s", "b", "6.1", "Debian", "amd64"
)


IDENTITY = Identity("n", "10.0.0.1", 0, 110, {}, {}, (), "", "")


def told(devices: dict[str, Any], old: Object, **reserved: int) -> Object:
    identity = Identity("n", "10.0.0.1", 0, 110, {}, {}, (), "", "", reserved)
    return nodestatus.status(identity, Observed(0.0, MACHINE, "x", [], devices=devices), old)


def test_devices_are_capacity_until_their_plugin_is_gone_for_good() -> None:
    old = {"capacity": {RESOURCE: "9", "example.com/other": "1"}}
    there, gone = told({RESOURCE: (4, 3)}, old), told({RESOURCE: None}, old)

    assert (there["capacity"][RESOURCE], there["allocatable"][RESOURCE]) == ("4", "3")
    assert RESOURCE not in gone["capacity"]
    assert gone["capacity"]["example.com/other"] == "1"


def test_what_is_reserved_cannot_be_allocated() -> None:
    found = told({}, {}, cpu=500, memory=1 << 30)

    assert (found["capacity"]["cpu"], found["allocatable"]["cpu"]) == ("4", "3500m")
    assert found["allocatable"]["memory"] == f"{(7 << 20) - (100 << 10)}Ki"


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (
            1,
            {
                "memory/kubepods-n/memory.limit_in_bytes": ("1024", "-1"),
                "pids/kubepods-n/pids.max": ("99", "max"),
            },
        ),
        (2, {"kubepods-n/memory.max": ("1024", "max"), "kubepods-n/pids.max": ("99", "max")}),
    ],
)
def test_all_pods_together_are_held_to_what_is_not_reserved(
    tmp_path: Path, version: int, files: dict[str, tuple[str, str]]
) -> None:
    if version == 2:
        (tmp_path / "cgroup.controllers").write_text("memory pids")
        (tmp_path / "cgroup.subtree_control").write_text("")
    else:
        for name in ("memory", "pids"):
            (tmp_path / name).mkdir()

    def written() -> list[str]:
        return [(tmp_path / name).read_text() for name in files]

    cgroups.bound("/kubepods-n", memory=1024, pids=99, root=tmp_path)
    bounded = written()
    cgroups.bound("/kubepods-n", memory=0, pids=0, root=tmp_path)

    assert bounded == [values[0] for values in files.values()]
    assert written() == [values[1] for values in files.values()]


def test_huge_pages_are_counted_and_are_no_ordinary_memory(tmp_path: Path) -> None:
    for size, pages in ((2048, 3), (1048576, 1), (64, 2)):
        place = tmp_path / f"hugepages-{size}kB"
        place.mkdir()
        (place / "nr_hugepages").write_text(f"{pages}\n")

    found = machine.huge_pages(tmp_path)

    assert found == {"2Mi": 6 << 20, "1Gi": 1 << 30, "64Ki": 128 << 10}
    bare = replace(MACHINE, huge_pages={})
    seen = replace(MACHINE, huge_pages=found)
    whole = nodestatus.capacity(IDENTITY, seen)
    assert [whole[f"hugepages-{s}"] for s in ("2Mi", "1Gi", "64Ki")] == ["6Mi", "1Gi", "128Ki"]
    less = [int(nodestatus.allocatable(IDENTITY, m)["memory"][:-2]) for m in (bare, seen)]
    assert less[0] - less[1] == (6 << 10) + (1 << 20) + 128


# ---- plugins

real_time = pytest.mark.looptime(False)


def with_dongles(count: int, uid: str = "a", **fields: Any) -> Object:
    limits = {RESOURCE: str(count)}
    return pod(container(resources={"limits": limits, "requests": limits}), uid=uid, **fields)


class Bench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manager = DeviceManager(directory, SystemClock())
        self.manager.open()
        self.plugin = FakePlugin(("d1", "d2", "d3"), directory / "dongles")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.manager.run())
            async with self.plugin.serving(self.directory):
                await self.until(lambda: self.manager.counts().get(RESOURCE) == (3, 3))
                yield
            task.cancel()

    @staticmethod
    async def until(check: Callable[[], bool]) -> None:
        for _ in range(200):
            if check():
                return
            await asyncio.sleep(0.02)
        pytest.fail("it never came")


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    async with found.running():
        yield found


@real_time
async def test_a_container_gets_its_devices(bench: Bench) -> None:
    bench.manager.assign(with_dongles(2))
    gear = await bench.manager.gear("a", "main")

    assert gear.env == {"DONGLES": "d1,d2"}
    assert gear.mounts == (Mount("/dongles", str(bench.directory / "dongles"), True),)
    assert gear.devices == (Device("/dev/dongle", "/dev/zero", "r"),)
    assert json.loads(gear.annotations[DEVICES]) == {RESOURCE: ["d1", "d2"]}
    assert bench.plugin.started == [["d1", "d2"]]
    assert await bench.manager.gear("other", "main") == NO_GEAR


@real_time
async def test_devices_are_given_once_and_come_back(bench: Bench) -> None:
    bench.manager.assign(with_dongles(2))
    with pytest.raises(NotEnough) as failure:
        bench.manager.assign(with_dongles(2, "b"))
    bench.manager.release("a")
    bench.manager.assign(with_dongles(3, "b"))

    assert str(failure.value) == (
        f"Allocate failed due to requested number of devices unavailable for {RESOURCE}. "
        "Requested: 2, Available: 1, which is unexpected"
    )
    assert bench.manager.of("b", "main") == {RESOURCE: ["d1", "d2", "d3"]}


@real_time
@pytest.mark.parametrize(
    ("prefers", "found"),
    [
        (["d3", "d1"], ["d1", "d3"]),
        (["d3", "d9"], ["d1", "d2"]),  # one that is not there
        (["d3"], ["d1", "d2"]),  # too few
        (["d3", "d3"], ["d1", "d2"]),
    ],
)
async def test_a_plugin_may_prefer_others_of_its_free_devices(
    tmp_path: Path, prefers: list[str], found: list[str]
) -> None:
    bench = Bench(tmp_path)
    bench.plugin.prefers = prefers
    async with bench.running():
        bench.manager.assign(with_dongles(2))
        gear = await bench.manager.gear("a", "main")
        await bench.manager.gear("a", "main")

    assert bench.manager.of("a", "main") == {RESOURCE: found}
    assert gear.env == {"DONGLES": ",".join(found)}
    [wish] = bench.plugin.wishes  # asked once: a container that starts again keeps what it has
    assert (list(wish.available_deviceIDs), wish.allocation_size) == (["d1", "d2", "d3"], 2)


@real_time
@pytest.mark.parametrize(
    ("runtime", "gives"),
    [
        (Version("containerd", "1.6.20~ds1"), False),
        (Version("containerd", "v1.7.1"), True),
        (Version("containerd", "2.0.0"), True),
        (Version("cri-o", "1.30.0"), True),
    ],
)
async def test_devices_that_the_runtime_looks_up_by_their_names(
    tmp_path: Path, runtime: Version, gives: bool
) -> None:
    bench = Bench(tmp_path)
    bench.manager = DeviceManager(tmp_path, SystemClock(), runtime=runtime)
    bench.manager.open()
    bench.plugin.cdi = ["vendor.example/dongle=d1"]
    async with bench.running():
        bench.manager.assign(with_dongles(1))
        if not gives:
            with pytest.raises(PluginFailed, match=r"no CDI devices: vendor.example/dongle=d1"):
                await bench.manager.gear("a", "main")
            return
        gear = await bench.manager.gear("a", "main")

    assert gear.cdi_devices == ("vendor.example/dongle=d1",)
    config = messages.container_config(ContainerConfig("main", 0, "i", cdi_devices=gear.cdi_devices))
    assert [d.name for d in config.CDI_devices] == ["vendor.example/dongle=d1"]


@real_time
async def test_what_others_have_is_not_preferred(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.plugin.prefers = ["d1"]
    async with bench.running():
        bench.manager.assign(with_dongles(1, "a"))
        bench.manager.assign(with_dongles(1, "b"))
        await bench.manager.gear("b", "main")

    assert bench.manager.of("b", "main") == {RESOURCE: ["d2"]}


@real_time
async def test_who_has_what_outlives_the_agent_from_admission_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    async with bench.running():
        bench.manager.assign(with_dongles(1))
        bench.manager.assign(with_dongles(1, "b"))
        bench.manager.release("b")
    again = DeviceManager(tmp_path, SystemClock())
    again.open()

    assert again.holders() == {"a"}
    assert again.of("a", "main") == {RESOURCE: ["d1"]}


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": 1}', '{"a": {"main": 1}}'])
def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "allocations.json").write_text(text)
    manager = DeviceManager(tmp_path, SystemClock())
    manager.open()

    assert manager.holders() == set()


@real_time
async def test_what_init_containers_had_is_used_again(bench: Bench) -> None:
    limits = {"limits": {RESOURCE: "2"}}
    bench.manager.assign(with_dongles(3, initContainers=[container("i", resources=limits)]))

    assert bench.manager.of("a", "i") == {RESOURCE: ["d1", "d2"]}
    assert bench.manager.of("a", "main") == {RESOURCE: ["d1", "d2", "d3"]}


@real_time
async def test_sick_devices_are_not_given(bench: Bench) -> None:
    bench.plugin.say(d1="Unhealthy")
    await bench.until(lambda: bench.manager.counts()[RESOURCE] == (3, 2))
    bench.manager.assign(with_dongles(1))

    assert bench.manager.of("a", "main") == {RESOURCE: ["d2"]}


@real_time
async def test_a_plugin_that_goes_leaves_nothing_to_be_given(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    async with bench.running():
        bench.manager.assign(with_dongles(1))
    again = DeviceManager(tmp_path, SystemClock())
    again.open()
    again.restore("a", "main", json.dumps({RESOURCE: ["d1"]}))

    assert bench.manager.counts() == {RESOURCE: (3, 0)}
    assert again.counts() == {RESOURCE: (0, 0)}
    assert again.of("a", "main") == {RESOURCE: ["d1"]}
    with pytest.raises(NotEnough):
        again.assign(with_dongles(1, "b"))


@real_time
async def test_who_has_what_can_be_asked(bench: Bench) -> None:
    processors = pool()
    wanted = pod(
        exact("1"), with_dongles(1)["spec"]["containers"][0] | {"name": "two"}, uid="a", status=GUARANTEED
    )
    bench.manager.assign(wanted)
    processors.assign(wanted)
    socket = bench.directory / "resources.sock"
    lister = PodResources(socket, bench.manager, processors, lambda: [wanted])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(lister.run())
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:

            async def ask(method: str, request: Any, answer: Any) -> Any:
                call = channel.unary_unary(
                    f"/v1.PodResourcesLister/{method}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=answer.FromString,
                )
                return await call(request, wait_for_ready=True, timeout=10)

            listed = await ask("List", pb.ListPodResourcesRequest(), pb.ListPodResourcesResponse)
            request = pb.GetPodResourcesRequest(pod_name="web", pod_namespace="default")
            one = await ask("Get", request, pb.GetPodResourcesResponse)
            all_ = await ask(
                "GetAllocatableResources", pb.AllocatableResourcesRequest(), pb.AllocatableResourcesResponse
            )
            with pytest.raises(grpc.aio.AioRpcError):
                await ask("Get", pb.GetPodResourcesRequest(pod_name="no"), pb.GetPodResourcesResponse)
        task.cancel()

    [found] = listed.pod_resources
    assert found == one.pod_resources
    main, two = found.containers
    assert (list(main.cpu_ids), len(main.devices)) == ([1], 0)
    assert (two.devices[0].resource_name, list(two.devices[0].device_ids)) == (RESOURCE, ["d1"])
    assert list(all_.devices[0].device_ids) == ["d1", "d2", "d3"]
    assert list(all_.cpu_ids) == [1, 2, 3, 4, 5, 6, 7]
