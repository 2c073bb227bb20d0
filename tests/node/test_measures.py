"""What the agent counts about its own work, and how it is shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.node.builders import container, pod, ran, runtime
from tests.node.fake_api import FakeApi
from tests.node.test_agent import MACHINE, LoopClock, until_phase
from timonel.aio.histogram import Histogram
from timonel.aio.lifecycle import running
from timonel.node import agentmetrics
from timonel.node.cri.containerd import Containerd, operation_type
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.measures import Measures, container_type, size_of
from timonel.node.shell import NodeAgent, NodeConfig

NODE = {"metadata": {"name": "n1"}}


def value(text: str, name: str, **labels: str) -> float | None:
    """Of the sample with at least these labels."""
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if match is None or match[1] != name:
            continue
        has = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
        if labels.items() <= has.items():
            return float(match[3])
    return None


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("Version", "version"),
        ("RunPodSandbox", "run_podsandbox"),
        ("ListPodSandbox", "list_podsandbox"),
        ("CreateContainer", "create_container"),
        ("UpdateContainerResources", "update_container"),
        ("ExecSync", "exec_sync"),
        ("ReopenContainerLog", "reopen_container_log"),
        ("PullImage", "pull_image"),
    ],
)
def test_operations_have_upstream_s_names(method: str, kind: str) -> None:
    assert operation_type(method) == kind


@pytest.mark.looptime(False)
async def test_calls_of_the_runtime_are_counted(tmp_path: Path) -> None:
    measures = Measures()
    found = Containerd(str(tmp_path / "nobody.sock"), LoopClock(), measures)
    with pytest.raises(RuntimeFailure):
        await found.version()
    await found.close()

    text = agentmetrics.agent_metrics([], NODE, measures)
    assert value(text, "kubelet_runtime_operations_total", operation_type="version") == 1
    assert value(text, "kubelet_runtime_operations_errors_total", operation_type="version") == 1
    assert value(text, "kubelet_runtime_operations_duration_seconds_count", operation_type="version") == 1


@pytest.mark.parametrize(
    ("size", "label"),
    [(0, "0-10MB"), (10 << 20, "10MB-100MB"), (700 << 20, "500MB-1GB"), (1 << 40, "GT100GB")],
)
def test_sizes_of_images(size: int, label: str) -> None:
    assert size_of(size) == label


def test_types_of_containers() -> None:
    found = pod(initContainers=[container("i")], ephemeralContainers=[container("e")])

    assert [container_type(found, n) for n in ("i", "e", "main")] == [
        "init_container",
        "ephemeral_container",
        "container",
    ]


def test_a_histogram_counts_all_that_was_no_longer() -> None:
    found = Histogram((0.5, 1))
    for seconds in (0.1, 0.7, 5):
        found.add(seconds)

    assert list(agentmetrics.histogram("x", found, {"a": "b"})) == [
        'x_bucket{a="b",le="0.5"} 1',
        'x_bucket{a="b",le="1"} 2',
        'x_bucket{a="b",le="+Inf"} 3',
        'x_sum{a="b"} 5.8',
        'x_count{a="b"} 3',
    ]


def test_volumes_of_claims_are_measured(tmp_path: Path) -> None:
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "own", "ephemeral": {}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "raw", "persistentVolumeClaim": {"claimName": "block"}},
    ]
    (tmp_path / "raw").touch()
    paths = {name: str(tmp_path / name) for name in ("raw",)} | {
        "data": str(tmp_path),
        "scratch": str(tmp_path),
    }
    runner: Any = SimpleNamespace(
        pod=pod(volumes=volumes), volume_paths=paths, runtime=runtime(ran()), is_finished=False
    )

    found = agentmetrics.read_volumes(agentmetrics.claims([runner, runner]))
    text = agentmetrics.agent_metrics([runner], NODE, Measures(), found)

    labels = {"namespace": "default", "persistentvolumeclaim": "c"}
    capacity, used, free = (
        value(text, f"kubelet_volume_stats_{name}_bytes", **labels)
        for name in ("capacity", "used", "available")
    )
    assert [v.claim for v in found] == ["c"]
    assert (capacity or 0) >= (used or 0) + (free or 0) > 0
    assert value(text, "kubelet_running_pods") == 1
    assert value(text, "kubelet_active_pods", static="") == 1


def test_the_process_is_measured() -> None:
    found = agentmetrics.read_process()
    text = agentmetrics.agent_metrics([], NODE, Measures(), process=found)

    assert (value(text, "process_resident_memory_bytes") or 0) > 1 << 20
    assert (value(text, "process_cpu_seconds_total") or 0) > 0
    assert (value(text, "process_start_time_seconds") or 0) > 1_600_000_000


@pytest.fixture
async def counted() -> AsyncIterator[tuple[FakeApi, Measures]]:
    clock = LoopClock()
    api, measures = FakeApi(clock.now), Measures(clock.monotonic)
    config = NodeConfig("n1", "10.0.0.1", Path("/nowhere"), is_simulated=True, machine=MACHINE)
    simulated = SimulatedRuntime(clock, missing_images=["docker.io/library/nope:latest"])
    async with running(NodeAgent(config, api, simulated, clock, measures=measures)):
        yield api, measures


async def test_what_pods_cost_is_counted(counted: tuple[FakeApi, Measures]) -> None:
    api, measures = counted
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    api.put("pods", pod(container(readinessProbe=probe), name="web", uid="u1"))
    api.put("pods", pod(container(image="nope"), name="bad", uid="u2"))
    await until_phase(api, "Running")
    await asyncio.sleep(3)
    text, probes = agentmetrics.agent_metrics([], NODE, measures), agentmetrics.probe_metrics(measures)
    api.mark_deleted("default", "web", 0)
    await api.until(lambda: api.find("pods", "default", "web") is None)
    await asyncio.sleep(1)

    assert value(text, "kubelet_started_pods_total") == 2
    assert value(text, "kubelet_pod_start_duration_seconds_count") == 1
    assert value(text, "kubelet_started_containers_total", container_type="container") == 1
    assert (value(text, "kubelet_started_containers_errors_total", code="ErrImagePull") or 0) >= 1
    assert value(text, "kubelet_image_pull_duration_seconds_count") == 1
    labels = {"pod": "web", "namespace": "default", "container": "main", "pod_uid": "u1"}
    passed = value(probes, "prober_probe_total", probe_type="Readiness", result="successful", **labels)
    assert (passed or 0) >= 3
    assert value(probes, "prober_probe_duration_seconds_count", **labels) == passed
    assert measures.probes == {}  # nobody counts for ever those of pods that are gone
