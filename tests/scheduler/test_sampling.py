"""How many nodes are scored, and that decisions take turns."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scheduler.test_cycle import Objects, node, pod, world
from timonel.scheduler import cycle
from timonel.scheduler.framework import State
from timonel.scheduler.memory import Memory
from timonel.scheduler.nodes import Nodes
from timonel.scheduler.podinfo import pod_info
from timonel.scheduler.profile import Profile, default_plugins
from timonel.scheduler.sampling import enough, sampled


@pytest.mark.parametrize(
    ("percentage", "count", "expected"),
    [
        (0, 10, 10),
        (40, 10, 10),
        (0, 1000, 420),
        (40, 1000, 400),
        (0, 6000, 300),
        (40, 6000, 2400),
        (5, 1000, 100),
        (100, 1000, 1000),
        (0, 100, 100),
    ],
)
def test_how_many_are_enough(percentage: int, count: int, expected: int) -> None:
    assert enough(percentage, count) == expected


@pytest.mark.parametrize(
    ("passing", "start", "wanted", "expected", "seen"),
    [
        ([0, 1, 2, 3, 4], 0, 2, [0, 1], 2),
        ([0, 1, 2, 3, 4], 3, 3, [3, 4, 0], 3),
        ([0, 2, 4], 1, 1, [2], 3),  # one that does not pass is looked at, too
        ([0, 2], 3, 5, [0, 2], 5),
        ([], 2, 5, [], 5),
    ],
)
def test_the_search_begins_where_the_last_one_stopped(
    passing: list[int], start: int, wanted: int, expected: list[int], seen: int
) -> None:
    rows, looked = sampled(np.arange(5), np.array(passing, dtype=np.int64), start, wanted)

    assert (rows.tolist(), looked) == (expected, seen)


def two_hundred() -> Nodes:
    """The last node is the emptiest."""
    nodes = [node(f"n{number:03}", cpu="4") for number in range(199)]
    return world([*nodes, node("n199", cpu="64")])


@pytest.mark.parametrize("remembers", [True, False])
def test_only_a_sample_is_scored(remembers: bool) -> None:
    table = two_hundred()
    profile = Profile(default_plugins(), percentage=50)
    memory = Memory(profile, table, Objects())
    chosen: list[int] = []
    for number in range(3):
        info = pod_info(pod(f"p{number}", cpu="1"))
        if remembers:
            chosen.append(memory.choose(info)[1])
        else:
            chosen.append(cycle.choose(profile, State(info, table, Objects())))

    assert chosen[0] < 100  # of the first hundred nodes
    assert chosen[1] == 199  # of the second
    assert chosen[2] < 100
    assert table.turn == 100


def test_all_are_looked_at_where_nothing_is_said() -> None:
    table = two_hundred()
    state = State(pod_info(pod(cpu="1")), table, Objects())

    assert cycle.choose(Profile(default_plugins()), state) == 199
    assert table.turn == 0


@pytest.mark.parametrize("remembers", [True, False])
def test_the_node_that_room_was_made_on_is_taken_if_it_passes(remembers: bool) -> None:
    table = two_hundred()
    profile = Profile(default_plugins())
    info = pod_info(pod(cpu="2"))

    def chosen() -> str:
        if remembers:
            return table.name(Memory(profile, table, Objects()).choose(info)[1])
        return table.name(cycle.choose(profile, State(info, table, Objects())))

    table.nominate(info, "n007")
    assert chosen() == "n007"
    table.add_pod("n007", pod_info(pod("big", cpu="3")))
    assert chosen() == "n199"
