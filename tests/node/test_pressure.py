"""When a node is short of something, and who goes then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.node import pressure
from timonel.node.pressure import Memory, Settings, Signal, Supplies, Supply, Usage, Verdict

MI, GI = 1 << 20, 1 << 30


def supplies(memory: int = 8 * GI, disk: int = 50 * GI, inodes: int = 500, pids: int = 1000) -> Supplies:
    return {
        Signal.MEMORY: Supply(memory, 16 * GI),
        Signal.NODE_DISK: Supply(disk, 100 * GI),
        Signal.NODE_INODES: Supply(inodes, 1000),
        Signal.IMAGE_DISK: Supply(disk, 100 * GI),
        Signal.IMAGE_INODES: Supply(inodes, 1000),
        Signal.PIDS: Supply(pids, 2000),
    }


def run(settings: Settings, *steps: tuple[float, Supplies]) -> list[Verdict]:
    memory, found = Memory(), []
    for now, seen in steps:
        verdict, memory = pressure.judge(memory, settings, seen, now)
        found.append(verdict)
    return found


@pytest.mark.parametrize(
    ("seen", "conditions", "first"),
    [
        (supplies(), set(), None),
        (supplies(memory=100 * MI), set(), None),
        (supplies(memory=100 * MI - 1), {"MemoryPressure"}, Signal.MEMORY),
        (supplies(disk=12 * GI), {"DiskPressure"}, Signal.IMAGE_DISK),
        (supplies(disk=9 * GI), {"DiskPressure"}, Signal.NODE_DISK),
        (supplies(inodes=49), {"DiskPressure"}, Signal.NODE_INODES),
        (supplies(memory=MI, disk=GI), {"MemoryPressure", "DiskPressure"}, Signal.MEMORY),
        (supplies(pids=0), set(), None),  # nothing is said about it by default
    ],
)
def test_the_defaults_are_upstreams(seen: Supplies, conditions: set[str], first: Signal | None) -> None:
    (verdict,) = run(pressure.settings({}), (0.0, seen))

    assert verdict.conditions == conditions
    assert (verdict.act[0].signal if verdict.act else None) == first


def test_a_soft_threshold_waits_and_a_condition_stays() -> None:
    flags = {
        "eviction-hard": "",
        "eviction-soft": "memory.available<1Gi",
        "eviction-soft-grace-period": "memory.available=1m30s",
        "eviction-pressure-transition-period": "2m",
    }
    low, fine = supplies(memory=GI - 1), supplies()

    found = run(
        pressure.settings(flags),
        (0, low), (80, low), (90, low), (100, fine), (110, low), (190, low), (200, low), (210, fine), (319, fine),
        (320, fine),
    )  # fmt: skip

    assert [bool(v.act) for v in found] == [
        False,
        False,
        True,
        False,
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert [bool(v.conditions) for v in found] == [True] * 9 + [False]


def test_what_was_short_must_be_less_short_than_the_threshold_says() -> None:
    flags = {"eviction-hard": "nodefs.available<10%", "eviction-minimum-reclaim": "nodefs.available=5Gi"}

    found = run(
        pressure.settings(flags),
        (0, supplies(disk=9 * GI)), (10, supplies(disk=14 * GI)), (20, supplies(disk=15 * GI)),
        (30, supplies(disk=14 * GI)),
    )  # fmt: skip

    assert [bool(v.act) for v in found] == [True, True, False, False]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"eviction-hard": "memory.available"}, "invalid eviction threshold syntax memory.available"),
        ({"eviction-hard": "memory.available>1Gi"}, "invalid eviction threshold syntax memory.available>1Gi"),
        ({"eviction-hard": "cabbages<1"}, "unsupported eviction signal cabbages"),
        (
            {"eviction-hard": "memory.available<1Gi,memory.available<2Gi"},
            "duplicate eviction threshold signal",
        ),
        ({"eviction-hard": "memory.available<-1Gi"}, "must be positive"),
        ({"eviction-hard": "memory.available<110%"}, "must be <= 100%: 110%"),
        ({"eviction-hard": "memory.available<-1%"}, "must be >= 0%: -1%"),
        ({"eviction-hard": "memory.available<x%"}, "invalid percentage x%"),
        ({"eviction-hard": "memory.available<some"}, "quantities must match"),
        ({"eviction-soft": "memory.available<1Gi"}, "grace period must be specified for the soft eviction"),
        (
            {"eviction-soft": "memory.available<1Gi", "eviction-soft-grace-period": "memory.available=-1m"},
            "must be a positive value",
        ),
        ({"eviction-pressure-transition-period": "soon"}, "invalid duration"),
        ({"eviction-max-pod-grace-period": "x"}, "could not convert"),
    ],
)
def test_settings_that_mean_nothing_are_refused(flags: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pressure.settings(flags)


def test_none_and_all_turn_a_threshold_off() -> None:
    found = pressure.settings({"eviction-hard": "memory.available<0%,nodefs.available<100%,pid.available<10"})

    assert [t.signal for t in found.thresholds] == [Signal.PIDS]


def pod(
    name: str, *, request: str = "", priority: int = 0, limit: str = "", empty: str = ""
) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if request:
        resources["requests"] = {"memory": request, "ephemeral-storage": request}
    if limit:
        resources["limits"] = {"ephemeral-storage": limit}
    volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": empty}}] if empty else []
    return {
        "metadata": {"name": name, "namespace": "a", "uid": name},
        "spec": {
            "containers": [{"name": "c", "resources": resources}],
            "priority": priority,
            "volumes": volumes,
        },
    }


def usage(obj: dict[str, Any], memory: int = 0, disk: int = 0, pids: int = 0) -> Usage:
    own = {"memory": memory, "ephemeral-storage": disk, "pids": pids}
    return Usage(obj, own, {"c": own})


def test_who_uses_more_than_he_asked_for_goes_first_then_priority_then_usage() -> None:
    usages = [
        usage(pod("modest", request="1Gi"), memory=GI - 1),
        usage(pod("important", priority=9), memory=3 * GI),
        usage(pod("greedy", request="1Gi"), memory=4 * GI),
        usage(pod("free"), memory=2 * GI),
        usage(pod("small", request="2Gi"), memory=GI),
    ]

    order = [u.pod["metadata"]["name"] for u in pressure.ranked(usages, Signal.MEMORY)]

    assert order == ["greedy", "free", "important", "modest", "small"]


def test_of_processes_nobody_asks_for_any() -> None:
    usages = [usage(pod("a", priority=5), pids=90), usage(pod("b"), pids=3), usage(pod("c"), pids=40)]

    assert [u.pod["metadata"]["name"] for u in pressure.ranked(usages, Signal.PIDS)] == ["c", "b", "a"]


def test_the_message_is_upstreams() -> None:
    threshold = pressure.settings({}).thresholds[0]

    text = pressure.message(
        usage(pod("a", request="1Mi"), memory=3 * MI), threshold, Supply(50 * MI, 16 * GI)
    )

    assert text == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "
        "Container c was using 3072Ki, request is 1Mi, has larger consumption of memory. "
    )


@pytest.mark.parametrize(
    ("found", "volumes", "text"),
    [
        (usage(pod("a"), disk=GI), {}, ""),
        (usage(pod("a", limit="1Gi"), disk=GI), {}, ""),
        (usage(pod("a", empty="1Mi")), {"scratch": MI}, ""),
        (usage(pod("a", empty="1Mi")), {"scratch": MI + 1},
         'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '),
        (usage(pod("a", limit="1Gi"), disk=GI + 1), {},
         "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "),
    ],
)  # fmt: skip
def test_a_pod_may_use_as_much_of_the_disk_as_it_says(
    found: Usage, volumes: dict[str, int], text: str
) -> None:
    assert pressure.over_its_limits(found, volumes) == text
    assert pressure.limits_disk(found.pod) is bool(found.pod["spec"]["volumes"] or "1Gi" in str(found.pod))


def test_one_container_of_several_may_be_over() -> None:
    obj = pod("a", limit="1Mi")
    obj["spec"]["containers"].append({"name": "d"})
    found = Usage(obj, {"ephemeral-storage": 3 * MI}, {"c": {"ephemeral-storage": 2 * MI}, "d": {}})

    assert pressure.over_its_limits(found, {}) == (
        'Container c exceeded its local ephemeral storage limit "1Mi". '
    )


@pytest.mark.parametrize(
    ("conditions", "critical", "best_effort", "tolerates", "why"),
    [
        (set(), False, True, False, ""),
        ({"MemoryPressure"}, False, False, False, ""),
        ({"MemoryPressure"}, False, True, True, ""),
        ({"MemoryPressure"}, False, True, False, "The node had condition: [MemoryPressure]. "),
        ({"DiskPressure"}, False, False, True, "The node had condition: [DiskPressure]. "),
        ({"DiskPressure"}, True, False, False, ""),
        ({"PIDPressure", "MemoryPressure"}, False, False, False,
         "The node had condition: [MemoryPressure PIDPressure]. "),
    ],
)  # fmt: skip
def test_who_may_still_come(
    conditions: set[str], critical: bool, best_effort: bool, tolerates: bool, why: str
) -> None:
    obj = pod("a")
    if tolerates:
        obj["spec"]["tolerations"] = [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]

    assert (
        pressure.admits(obj, frozenset(conditions), is_critical=critical, is_best_effort=best_effort) == why
    )


@given(st.lists(st.integers(0, 2 * 100 * MI), min_size=1, max_size=30))
def test_what_acts_is_met_now_and_shows_in_a_condition(available: list[int]) -> None:
    settings, memory = pressure.settings({"eviction-minimum-reclaim": "memory.available=20Mi"}), Memory()
    for step, memory_left in enumerate(available):
        verdict, memory = pressure.judge(memory, settings, supplies(memory=memory_left), step * 10.0)
        assert bool(verdict.act) <= (memory_left < 120 * MI)
        assert bool(verdict.act) >= (memory_left < 100 * MI)
        assert not verdict.act or verdict.conditions == {"MemoryPressure"}
