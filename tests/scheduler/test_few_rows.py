"""What plugins make of numbers where there are few rows comes to what they make of columns where there are many."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.scheduler.test_cycle import Objects, node, pod
from timonel.objects.meta import Object
from timonel.scheduler.framework import State
from timonel.scheduler.nodes import Nodes
from timonel.scheduler.plugins.node_resources_balanced import NodeResourcesBalancedAllocation
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.podinfo import pod_info

cpus, memories = st.integers(0, 8000), st.integers(0, 1 << 33)
pods = st.lists(st.tuples(st.integers(0, 11), cpus, memories), max_size=20)


def sized(name: str, cpu: int, memory: int) -> Object:
    found = node(name, cpu=f"{cpu}m")
    found["status"]["allocatable"]["memory"] = str(memory)
    return found


def asking(name: str, cpu: int, memory: int) -> Object:
    found = pod(name, cpu=f"{cpu}m")
    found["spec"]["containers"][0]["resources"]["requests"]["memory"] = str(memory)
    return found


@given(st.lists(st.tuples(cpus, memories), min_size=12, max_size=12), pods, st.tuples(cpus, memories))
def test_few_rows_are_answered_like_many(
    sizes: list[tuple[int, int]], placed: list[tuple[int, int, int]], asked: tuple[int, int]
) -> None:
    table = Nodes()
    for number, (cpu, memory) in enumerate(sizes):
        table.put(sized(f"n{number}", cpu, memory))
    for number, (row, cpu, memory) in enumerate(placed):
        table.add_pod(f"n{row}", pod_info(asking(f"p{number}", cpu, memory)))
    state = State(pod_info(asking("new", *asked)), table, Objects())
    fit, balanced = NodeResourcesFit(), NodeResourcesBalancedAllocation()
    many = np.arange(12)
    refusals = list(fit.filter(state, many))
    points, balance = fit.score(state, many), balanced.score(state, many)
    assert points is not None

    for row in range(12):
        one = np.array([row], dtype=np.int64)
        said = [(r.reason, r.resolvable) for r in fit.filter(state, one) if r.mask[0]]
        assert said == [(r.reason, r.resolvable) for r in refusals if r.mask[row]]
        assert fit.score(state, one).tolist() == [points[row]]  # type: ignore[union-attr]
        found = balanced.score(state, one)
        assert (None if found is None else found.tolist()) == (None if balance is None else [balance[row]])
