from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.aio.clock import VirtualClock
from timonel.node.simulation import machines
from timonel.node.simulation.machines import Size
from timonel.node.simulation.wheel import Wheel


def test_a_node_keeps_the_sizes_that_it_was_made_with() -> None:
    node = machines.new_node("n", Size("3", "5Gi", "7", {"x.y/gpu": "2"}), {"pool": "a"})
    status = machines.status({**node, "metadata": {**node["metadata"], "uid": "u"}}, "172.16.0.2", 1e9)

    assert {k: status["capacity"][k] for k in ("cpu", "memory", "pods", "x.y/gpu")} == {
        "cpu": "3", "memory": "5Gi", "pods": "7", "x.y/gpu": "2",
    }  # fmt: skip
    assert machines.is_simulated(node)
    assert machines.is_ready({"status": status})
    assert machines.address_of({"status": status}) == "172.16.0.2"


@pytest.mark.parametrize(
    ("annotations", "simulated", "stopped"),
    [
        ({}, False, False),
        ({"timonel.dev/simulated": "true"}, True, False),
        ({"timonel.dev/simulated": "stopped"}, True, True),
        ({"timonel.dev/simulated": "false"}, False, False),
        ({"kwok.x-k8s.io/node": "fake"}, True, False),
    ],
)
def test_a_node_says_whether_it_is_simulated(
    annotations: dict[str, str], simulated: bool, stopped: bool
) -> None:
    node = {"metadata": {"annotations": annotations}}

    assert (machines.is_simulated(node), machines.is_stopped(node)) == (simulated, stopped)


def test_names_that_are_taken_are_passed_over() -> None:
    assert list(machines.names("sim", 3, frozenset({"sim-2"}))) == ["sim-1", "sim-3", "sim-4"]


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 50))), max_size=40))
async def test_each_key_of_a_wheel_fires_once_at_its_last_time(moves: list[tuple[int, int | None]]) -> None:
    clock, fired = VirtualClock(0.0), list[tuple[int, float]]()
    wheel: Wheel[int] = Wheel(clock, lambda key: fired.append((key, clock.now())))
    wanted = dict[int, int]()
    for key, due in moves:
        wheel.set(key, None if due is None else float(due))
        if due is None:
            wanted.pop(key, None)
        else:
            wanted[key] = due

    await clock.advance(100, settle=1)

    assert sorted(fired) == sorted((key, float(due)) for key, due in wanted.items())
    assert not len(wheel)


def test_a_resource_that_somebody_advertises_can_be_allocated() -> None:
    node = machines.new_node("n", machines.Size(), {})
    node["status"]["capacity"]["example.com/dongle"] = "4"
    hidden = machines.hides_capacity(node)
    node["status"] = machines.status(node, "10.0.0.1", 0.0)

    assert (hidden, machines.hides_capacity(node)) == (True, False)
    assert node["status"]["allocatable"]["example.com/dongle"] == "4"


def test_a_range_of_pod_addresses_is_given_and_taken_away() -> None:
    plain = machines.new_node("a", Size(), {}, [{"key": "k", "effect": "NoSchedule"}])

    given = machines.with_range(plain, "10.1.2.0/24")

    assert (given["spec"]["podCIDR"], given["spec"]["podCIDRs"]) == ("10.1.2.0/24", ["10.1.2.0/24"])
    assert machines.without_range(given)["spec"] == plain["spec"]
