"""Decisions of the default profile over nodes and pods given as plain objects; messages are upstream's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timonel.objects.meta import Key, Object
from timonel.scheduler import cycle
from timonel.scheduler.framework import State
from timonel.scheduler.nodes import CPU, PODS, Nodes
from timonel.scheduler.podinfo import pod_info, pod_requests
from timonel.scheduler.profile import Profile, default_plugins

HELPLESS = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


class Objects:
    """What plugins may read besides nodes and pods."""

    def __init__(self, **objects: list[Object]) -> None:
        self._objects = objects

    def get(self, resource: str, key: Key) -> Object | None:
        found = self._objects.get(resource.partition(".")[0], ())
        return next((o for o in found if o["metadata"]["name"] == key.name), None)

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        return self._objects.get(resource.partition(".")[0], [])


def node(name: str, *, cpu: str = "4", pods: str = "110", **spec: Any) -> Object:
    labels = {"kubernetes.io/hostname": name, **spec.pop("labels", {})}
    allocatable = {"cpu": cpu, "memory": "16Gi", "ephemeral-storage": "100Gi", "pods": pods}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def pod(name: str = "p", *, cpu: str = "", ports: Sequence[int] = (), **spec: Any) -> Object:
    container = {
        "name": "c",
        "image": "pause",
        "resources": {"requests": {"cpu": cpu} if cpu else {}},
        "ports": [{"hostPort": port, "containerPort": port} for port in ports],
    }
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"containers": [container], **spec},
    }


def world(nodes: Sequence[Object], running: Sequence[tuple[str, Object]] = ()) -> Nodes:
    table = Nodes()
    for obj in nodes:
        table.put(obj)
    for where, obj in running:
        table.add_pod(where, pod_info(obj))
    return table


def decide(table: Nodes, obj: Object, reads: Objects | None = None) -> str:
    """The node's name, or the message."""
    profile = Profile(default_plugins())
    try:
        return table.name(cycle.choose(profile, State(pod_info(obj), table, reads or Objects())))
    except cycle.Unschedulable as exc:
        return str(exc)


def refusal(reasons: str, preemption: str, count: int) -> str:
    start = f"0/{count} nodes are available: "
    return f"{start}{reasons}. no new claims to deallocate, preemption: {start}{preemption}."


TAINT = {"key": "a", "value": "b", "effect": "NoSchedule"}


def test_without_nodes_there_is_nothing_to_say_but_that() -> None:
    assert decide(Nodes(), pod()) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("nodes", "obj", "expected"),
    [
        ([node("n1", cpu="1")], pod(cpu="2"), refusal("1 Insufficient cpu", f"1 {HELPLESS}", 1)),
        (
            [node("n1", cpu="1"), node("n2", taints=[TAINT]), node("n3", unschedulable=True)],
            pod(cpu="2"),
            refusal(
                "1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable",
                f"3 {HELPLESS}",
                3,
            ),
        ),
        ([node("n1", pods="0")], pod(), refusal("1 Too many pods", f"1 {NO_VICTIMS}", 1)),
        (
            [node("n1"), node("n2")],
            pod(nodeSelector={"disk": "ssd"}),
            refusal("2 node(s) didn't match Pod's node affinity/selector", f"2 {HELPLESS}", 2),
        ),
        ([node("n1"), node("n2", labels={"disk": "ssd"})], pod(nodeSelector={"disk": "ssd"}), "n2"),
        ([node("n1", taints=[TAINT])], pod(tolerations=[{"key": "a", "operator": "Exists"}]), "n1"),
        ([node("n1", cpu="2"), node("n2", cpu="8")], pod(cpu="1"), "n2"),
    ],
)
def test_decisions(nodes: list[Object], obj: Object, expected: str) -> None:
    assert decide(world(nodes), obj) == expected


def test_host_ports_are_had_once() -> None:
    table = world([node("n1"), node("n2")], [("n1", pod("a", ports=[80]))])

    assert decide(table, pod(ports=[80])) == "n2"


@pytest.mark.parametrize(("policy", "expected"), [("Always", "n2"), ("", "n1")])
def test_ports_of_sidecars_count_and_those_of_other_init_containers_do_not(
    policy: str, expected: str
) -> None:
    beside = {"name": "i", "image": "pause", "ports": [{"hostPort": 80, "containerPort": 80}]}
    if policy:
        beside["restartPolicy"] = policy
    table = world([node("n1", cpu="8"), node("n2", cpu="2")], [("n1", pod("a", initContainers=[beside]))])

    assert decide(table, pod(ports=[80])) == expected


def test_what_never_preempts_says_so() -> None:
    found = decide(world([node("n1", cpu="1")]), pod(cpu="2", preemptionPolicy="Never"))

    assert found.endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_a_field_selector_narrows_the_search() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    }

    found = decide(world([node("n1", taints=[TAINT]), node("n2")]), pod(affinity=affinity))

    reasons = "1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) had untolerated taint(s)"
    assert found == refusal(reasons, f"2 {HELPLESS}", 2)


def claim(mode: str, *, bound: bool = False) -> Objects:
    annotations = {"pv.kubernetes.io/bind-completed": "yes"} if bound else {}
    spec = {"storageClassName": "standard", "resources": {"requests": {"storage": "1Gi"}}}
    return Objects(
        persistentvolumeclaims=[
            {
                "metadata": {"name": "data", "namespace": "shop", "uid": "u", "annotations": annotations},
                "spec": {**spec, "volumeName": "v1"} if bound else spec,
            }
        ],
        persistentvolumes=[
            {
                "metadata": {"name": "v1"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "nodeAffinity": {
                        "required": {
                            "nodeSelectorTerms": [
                                {
                                    "matchExpressions": [
                                        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}
                                    ]
                                }
                            ]
                        }
                    },
                    "claimRef": {"namespace": "shop", "name": "data", "uid": "u" if bound else "other"},
                },
            }
        ],
        storageclasses=[
            {"metadata": {"name": "standard"}, "provisioner": "example.com/p", "volumeBindingMode": mode}
        ],
    )


WITH_CLAIM: dict[str, Any] = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        (claim("WaitForFirstConsumer"), "n1"),
        (claim("Immediate", bound=True), "n2"),
        (
            claim("Immediate"),
            "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
        ),
        (Objects(), '0/2 nodes are available: persistentvolumeclaim "data" not found. not found'),
    ],
)
def test_claims(reads: Objects, expected: str) -> None:
    assert decide(world([node("n1"), node("n2")]), pod(**WITH_CLAIM), reads) == expected


def test_init_containers_run_before_the_others_and_sidecars_beside_them() -> None:
    def container(cpu: str, **more: Any) -> Object:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "initContainers": [container("1", restartPolicy="Always"), container("3")],
        "containers": [container("1"), container("1")],
        "overhead": {"cpu": "100m"},
    }

    assert pod_requests(spec) == {"cpu": 4100}


steps = st.lists(
    st.tuples(st.sampled_from(("put", "remove", "add", "drop")), st.integers(0, 3), st.integers(0, 5)),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_the_columns_always_tell_the_sum_of_the_pods(script: list[tuple[str, int, int]]) -> None:
    table, there, placed = Nodes(), set(), {}  # type: Nodes, set[str], dict[str, str]
    for what, n, p in script:
        name, uid = f"n{n}", f"p{p}"
        if what == "put":
            table.put(node(name))
            there.add(name)
        elif what == "remove" and name in there:
            table.remove(name)
            there.discard(name)
        elif what == "add" and uid not in placed:
            table.add_pod(name, pod_info(pod(uid, cpu=f"{p + 1}")))
            placed[uid] = name
        elif what == "drop" and uid in placed:
            table.remove_pod(placed.pop(uid), uid)

    assert set(table.row) == there
    for name in there:
        here = [uid for uid, where in placed.items() if where == name]
        row = table.requested[table.row[name]]
        assert row[table.resources[PODS]] == len(here)
        assert row[table.resources[CPU]] == sum(1000 * (int(uid[1:]) + 1) for uid in here)


def test_what_a_pod_needs_of_the_node_agent_must_be_declared() -> None:
    needing = pod()
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
    needing["spec"]["containers"][0]["restartPolicyRules"] = [rule]
    plain, able = node("plain"), node("able")
    able["status"]["declaredFeatures"] = ["RestartAllContainersOnContainerExits", "Other"]

    assert decide(world([plain, able]), needing) == "able"
    assert decide(world([plain]), needing).startswith(
        "0/1 nodes are available: 1 node declared features check failed - unsatisfied requirements: "
        "RestartAllContainersOnContainerExits."
    )
    assert decide(world([plain]), pod()) == "plain"
