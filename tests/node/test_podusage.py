"""What the kernel's files say of pods' use, and where it is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timonel.node import figures, podusage
from timonel.node.agentmetrics import Volume
from timonel.node.cri.runtime import Stats
from timonel.node.podruntime import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID
from timonel.node.podusage import Disk, Extra, Held, Interface, Place

NET_DEV = """\
Inter-|   Receive                                           |  Transmit
 face |bytes packets errs drop fifo frame comp. multicast   |bytes packets errs drop fifo colls carrier comp.
    lo:     100       2    0    0    0     0     0         0      100       2    0    0    0     0       0     0
  eth0:    1500      10    1    2    0     0     0         0     2500      20    3    4    0     0       0     0
"""
ETH0 = Interface("eth0", (1500, 10, 1, 2), (2500, 20, 3, 4))
PLACE = Place("default", "web", "u1", "/kubepods-n1/podu1", True)
LABELS = {POD_NAMESPACE: "default", POD_NAME: "web", POD_UID: "u1", CONTAINER_NAME: "main"}
STATS = Stats("c1", LABELS, 1.0, 2, 3, 4, 5, 6)
EXTRA = Extra(
    {"u1": (ETH0,)},
    {"u1": 3},
    {"c1": Held(2, 4096, 1 << 20, 10, 4, 0.5)},
    (ETH0,),
    Disk(100, 40, 10, 4),
    (200, 32768),
)


def test_interfaces_without_the_loopback() -> None:
    assert podusage.interfaces(NET_DEV) == (ETH0,)
    assert podusage.interfaces("") == ()
    assert podusage.interfaces("a\nb\nodd: 1 2\n") == ()


@pytest.mark.parametrize(
    ("cpu", "memory", "limit", "found"),
    [
        ({"nr_periods": 9, "nr_throttled": 2, "throttled_time": 500_000_000}, {"total_cache": 7}, "1024",
         Held(1, 7, 1024, 9, 2, 0.5)),
        ({"nr_periods": 9, "nr_throttled": 2, "throttled_usec": 500_000}, {"file": 7}, "max", Held(1, 7, 0, 9, 2, 0.5)),
        ({}, {}, "9223372036854771712", Held(1)),
        ({}, {}, "", Held(1)),
    ],
)  # fmt: skip
def test_groups_of_both_versions(
    cpu: dict[str, int], memory: dict[str, int], limit: str, found: Held
) -> None:
    assert podusage.held(cpu, memory, limit, 1) == found


def group(root: Path, controllers: tuple[str, ...], files: dict[str, str]) -> None:
    for controller in controllers:
        place = root / controller / "kubepods-n1" / "podu1" / "c1"
        place.mkdir(parents=True)
        for name, text in files.items():
            (place / name).write_text(text)


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_pod_s_groups_say(tmp_path: Path, version: int) -> None:
    files = {
        "cgroup.procs": f"{os.getpid()}\n",
        "cpu.stat": "nr_periods 9\nnr_throttled 2\n",
        "memory.stat": "total_cache 7\nfile 7\n",
        "memory.limit_in_bytes" if version == 1 else "memory.max": "1024\n",
    }
    if version == 2:
        (tmp_path / "cgroup.controllers").write_text("cpu memory")
    group(tmp_path, ("cpu", "memory") if version == 1 else ("",), files)

    found = podusage.read([PLACE, Place("default", "gone", "u2", "/nowhere", True)], tmp_path, tmp_path)

    assert found.containers == {"c1": Held(1, 7, 1024, 9, 2)}
    assert found.counts == {"u1": 1, "u2": 0}
    assert set(found.networks) == {"u1"}
    assert found.disk.capacity >= found.disk.available > 0
    assert 0 < found.processes[0] < found.processes[1]


def test_a_pod_on_the_node_s_network_has_none_of_its_own(tmp_path: Path) -> None:
    group(tmp_path, ("cpu", "memory"), {"cgroup.procs": f"{os.getpid()}\n"})
    place = Place("default", "web", "u1", "/kubepods-n1/podu1", False)

    assert podusage.read([place], tmp_path, tmp_path).networks == {}


def test_the_summary_tells_of_networks_disks_and_volumes() -> None:
    node = {"metadata": {"name": "n1"}}
    plain = figures.summary(node, [STATS], figures.Usage(1.0, 2, 3), 10.0)
    volume = Volume("default", "claim", 100, 40, 60, 10, 4)

    found = podusage.with_extra(plain, EXTRA, {"u1": [("data", volume)]}, 10.0)

    assert found["node"]["fs"]["usedBytes"] == 60
    assert found["node"]["runtime"]["imageFs"]["inodesUsed"] == 6
    assert found["node"]["rlimit"]["curproc"] == 200
    [pod] = found["pods"]
    assert pod["network"]["rxBytes"] == 1500
    assert pod["network"]["interfaces"] == [
        {"name": "eth0", "rxBytes": 1500, "rxErrors": 1, "txBytes": 2500, "txErrors": 3}
    ]
    assert pod["process_stats"] == {"process_count": 3}
    assert pod["volume"][0]["pvcRef"] == {"name": "claim", "namespace": "default"}
    assert (pod["volume"][0]["name"], pod["volume"][0]["usedBytes"]) == ("data", 60)
    assert pod["containers"] == plain["pods"][0]["containers"]


def test_cadvisor_s_metrics_have_networks_and_throttling() -> None:
    lines = list(podusage.cadvisor_lines([STATS, Stats("other", {}, 1.0, 2, 3, 4, 5, 6)], [PLACE], EXTRA))

    whose = 'container="main",id="/kubepods/podu1/c1",name="c1",namespace="default",pod="web"'
    assert f"container_cpu_cfs_throttled_periods_total{{{whose}}} 4" in lines
    assert f"container_spec_memory_limit_bytes{{{whose}}} {1 << 20}" in lines
    where = 'container="",id="/kubepods/podu1",interface="eth0",namespace="default",pod="web"'
    assert f"container_network_receive_bytes_total{{{where}}} 1500" in lines
    assert f"container_network_transmit_packets_dropped_total{{{where}}} 4" in lines
    assert len([text for text in lines if text.startswith("container_processes{")]) == 1
