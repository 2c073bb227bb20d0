"""What is remembered of a kind of pods decides as a decision from scratch does, whatever happened in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduler.test_cycle import Objects, node, pod
from timonel.objects.meta import Object
from timonel.scheduler import cycle
from timonel.scheduler.framework import Diagnosis, State
from timonel.scheduler.memory import Memory
from timonel.scheduler.nodes import Nodes
from timonel.scheduler.podinfo import pod_info
from timonel.scheduler.profile import Profile, default_plugins

ZONE = "topology.kubernetes.io/zone"


def term(app: str, key: str = "kubernetes.io/hostname") -> Object:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}


def affinity(kind: str, *terms: Object) -> dict[str, Any]:
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def spread(when: str) -> dict[str, Any]:
    constraint = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "a"}},
    }
    return {"topologySpreadConstraints": [constraint]}


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"cpu": "1"},
    "large": {"cpu": "3", "priority": 10},
    "apart": {"cpu": "500m", **affinity("podAntiAffinity", term("a"))},
    "near": affinity("podAffinity", term("a", ZONE)),
    "spread": {"cpu": "100m", **spread("DoNotSchedule")},
    "rather": {"cpu": "100m", **spread("ScheduleAnyway")},
    "ports": {"ports": [80]},
    "tolerant": {"tolerations": [{"operator": "Exists"}]},
    "chosen": {"nodeSelector": {ZONE: "z1"}},
}


def made(kind: str, name: str, app: str) -> Object:
    found = pod(name, **KINDS[kind])
    found["metadata"]["labels"] = {"app": app}
    return found


def worker(number: int) -> Object:
    taints = [{"key": "k", "value": "", "effect": "PreferNoSchedule"}] if number == 1 else []
    return node(f"n{number}", labels={ZONE: f"z{number % 3}"}, taints=taints)


kinds, apps = st.sampled_from(sorted(KINDS)), st.sampled_from("ab")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), kinds, apps, st.just(0)),
        st.tuples(st.just("add"), kinds, apps, st.integers(0, 4)),
        st.tuples(st.just("drop"), st.just(""), st.just(""), st.integers(0, 9)),
        st.tuples(st.just("nominate"), kinds, apps, st.integers(0, 4)),
        st.tuples(st.just("decide nominated"), st.just(""), st.just(""), st.integers(0, 9)),
        st.tuples(st.sampled_from(("node", "no node")), st.just(""), st.just(""), st.integers(0, 6)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_remembering_changes_no_decision(script: list[tuple[str, str, str, int]]) -> None:
    table, profile = Nodes(), Profile(default_plugins())
    memory = Memory(profile, table, Objects())
    for number in range(4):
        table.put(worker(number))
    placed: list[tuple[str, str]] = []
    for count, (what, kind, app, number) in enumerate(script):
        uid, name = f"p{count}", f"n{number}"
        if what == "node":
            table.put(worker(number))
        elif what == "no node" and name in table.row:
            table.remove(name)
        elif what == "add":
            table.add_pod(name, pod_info(made(kind, uid, app)))
            placed.append((name, uid))
        elif what == "drop" and placed:
            table.remove_pod(*placed.pop(number % len(placed)))
        elif what == "nominate":
            table.nominate(pod_info(made(kind, uid, app)), name)
        elif what == "decide nominated" and table.nominated:
            uids = sorted(table.nominated)
            _, info = table.nominated[uids[number % len(uids)]]
            decided(memory, profile, table, info.pod)
        elif what == "decide":
            decided(memory, profile, table, made(kind, uid, app))


def decided(memory: Memory, profile: Profile, table: Nodes, obj: Object) -> None:
    info = pod_info(obj)
    try:
        _, row = memory.choose(info)
    except cycle.Unschedulable as exc:
        remembered: Diagnosis | None = exc.diagnosis
    else:
        remembered = None
    state, diagnosis = State(info, table, Objects()), Diagnosis(len(table))
    if remembered is not None:
        with pytest.raises(cycle.Unschedulable) as caught:
            cycle.choose(profile, state)
        anew = caught.value.diagnosis
        assert remembered.message == anew.message
        assert remembered.plugins == anew.plugins
        assert remembered.unresolvable.tolist() == anew.unresolvable.tolist()
        assert remembered.nomination == anew.nomination
        return
    rows = cycle.feasible(profile, state, diagnosis)
    assert row in rows
    if info.uid in table.nominated:
        own = cycle.nomination_of(state)
        assert row == own or own not in rows
        if row == own:
            return
    scores = cycle.score(profile, state, rows)
    assert scores[np.flatnonzero(rows == row)[0]] == scores.max()


def test_pods_that_differ_in_name_alone_are_of_one_kind() -> None:
    a, b, c = (
        pod_info(made(kind, name, "a")) for kind, name in (("plain", "x"), ("plain", "y"), ("large", "x"))
    )

    assert a.likeness == b.likeness
    assert a.likeness != c.likeness


def test_a_pod_with_claims_is_of_no_kind() -> None:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}

    assert pod_info(pod(volumes=[volume])).likeness is None
