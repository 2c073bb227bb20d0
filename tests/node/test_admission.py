from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import container, pod
from timonel.node import cgroups, podresources
from timonel.node.admission import Abilities, Refusal, admit, fits_anywhere, is_critical, victims
from timonel.node.podspec import sysctl_name
from timonel.objects.meta import Object

ALLOCATABLE = {"cpu": "2", "memory": "1Gi", "pods": "10", "example.com/dongle": "1"}
NODE: Object = {
    "metadata": {"name": "n1", "labels": {"disk": "ssd", "kubernetes.io/os": "linux"}},
    "spec": {"taints": [{"key": "broken", "effect": "NoExecute"}]},
}
TOLERANT = [{"key": "broken", "operator": "Exists"}]


def asks(name: str = "web", qos: str = "Burstable", **requests: str) -> Object:
    status = {"phase": "Pending", "qosClass": qos}
    resources = {"requests": {k.replace("_", "/"): v for k, v in requests.items()}}
    return pod(container(resources=resources), name=name, uid=name, status=status, tolerations=TOLERANT)


def refused(wanted: Object, *others: Object, **abilities: Any) -> Refusal | None:
    return admit(wanted, others, ALLOCATABLE, node=NODE, abilities=Abilities(**abilities))


def spec(**fields: Any) -> Object:
    return pod(tolerations=TOLERANT, **fields)


def secured(**fields: Any) -> Object:
    return spec(securityContext=fields)


NAMED = {"name": "kernel.msgmax", "value": "1"}
PORT: dict[str, Any] = {"ports": [{"containerPort": 80, "hostPort": 80}]}
LOCAL_PORT = {"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]}
OTHER_PORT = {"ports": [{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]}
POLICY = "SupplementalGroupsPolicyNotSupported"
PREDICATE = "Pod was rejected: Predicate"


@pytest.mark.parametrize(
    ("wanted", "reason", "message"),
    [
        (
            secured(sysctls=[NAMED]),
            "SysctlForbidden",
            'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted',
        ),
        (
            spec(
                hostNetwork=True,
                securityContext={"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]},
            ),
            "SysctlForbidden",
            'Pod was rejected: forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
        (
            secured(appArmorProfile={"type": "RuntimeDefault"}),
            "AppArmor",
            "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ),
        (
            secured(seLinuxOptions={"level": "s0:c1,c2"}),
            "SELinux",
            "Pod was rejected: Cannot enforce SELinux: SELinux is not enabled on the host",
        ),
        (
            secured(supplementalGroupsPolicy="Strict"),
            POLICY,
            "Pod was rejected: SupplementalGroupsPolicy=Strict is not supported in this node",
        ),
        (
            spec(nodeSelector={"disk": "hdd"}),
            "NodeAffinity",
            f"{PREDICATE} NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            pod(),
            "TaintToleration",
            f"{PREDICATE} TaintToleration failed: node(s) had taints that the pod didn't tolerate",
        ),
        (
            asks(example_com="0", **{"example.com_dongle": "2"}),
            "OutOfexample.com/dongle",
            "Pod was rejected: Node didn't have enough resource: example.com/dongle, "
            "requested: 2, used: 0, capacity: 1",
        ),
        (
            spec(os={"name": "windows"}),
            "PodOSNotSupported",
            "Pod was rejected: Failed to admit pod as the OS field doesn't match node OS",
        ),
    ],
)
def test_what_a_node_refuses(wanted: Object, reason: str, message: str) -> None:
    found = refused(wanted)

    assert found is not None
    assert (found.reason, found.message) == (reason, message)


@pytest.mark.parametrize(
    "wanted",
    [
        secured(sysctls=[{"name": "kernel/shm_rmid_forced", "value": "1"}]),
        secured(seLinuxOptions={"type": "spc_t"}),
        secured(appArmorProfile={"type": "Unconfined"}),
        spec(nodeSelector={"disk": "ssd"}),
        asks(**{"unknown.example_thing": "3"}),
    ],
)
def test_what_a_node_takes(wanted: Object) -> None:
    assert refused(wanted) is None


def test_unsafe_sysctls_can_be_allowed() -> None:
    assert refused(secured(sysctls=[NAMED]), unsafe_sysctls=("kernel.msg*",)) is None


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced"),
        ("kernel/shm_rmid_forced", "kernel.shm_rmid_forced"),
        ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
    ],
)
def test_names_of_sysctls(written: str, name: str) -> None:
    assert sysctl_name(written) == name


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [(PORT, LOCAL_PORT, True), (PORT, PORT, True), (PORT, OTHER_PORT, False)],
)
def test_host_ports_are_taken_once(one: Any, other: Any, *, collide: bool) -> None:
    found = refused(pod(container(**one), tolerations=TOLERANT), pod(container(**other), name="b"))

    assert (found is not None and found.reason == "NodePorts") == collide


def test_a_plain_pod_need_not_be_held_against_others() -> None:
    assert fits_anywhere(pod())
    assert not fits_anywhere(asks(cpu="1"))
    assert not fits_anywhere(pod(container(**PORT)))
    assert not fits_anywhere(secured(runAsUser=1))


def test_pods_of_the_least_service_are_ended_for_a_critical_one() -> None:
    critical = pod(priority=2_000_000_000, name="c")
    small, large = asks("small", cpu="100m"), asks("large", cpu="1")
    sure = asks("sure", "Guaranteed", cpu="1")
    everyone = [sure, small, large, critical]

    def names(amount: int) -> list[str]:
        return [v["metadata"]["name"] for v in victims(everyone, ("cpu", amount))]

    assert is_critical(critical)
    assert names(50) == ["large"]
    assert names(1100) == ["small", "large"]
    assert sorted(names(2000)) == ["large", "sure"]
    assert names(5000) == []


# ---- what a pod asks for as a whole


def test_a_pod_s_own_resources_stand_for_the_sum_and_overhead_comes_on_top() -> None:
    one = container(resources={"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}})
    whole = pod(
        one, resources={"requests": {"cpu": "3"}, "limits": {"memory": "4Gi"}}, overhead={"cpu": "250m"}
    )

    assert podresources.requests(whole) == {"cpu": 3250, "memory": 1 << 30}
    assert podresources.limits(whole) == {"cpu": 2250, "memory": 4 << 30}


def test_one_container_without_limit_leaves_the_pod_without() -> None:
    limited = container("a", resources={"limits": {"cpu": "1", "memory": "1Gi"}})

    assert podresources.limits(pod(limited, container("b", resources={"limits": {"cpu": "1"}}))) == {
        "cpu": 2000
    }


def test_a_pod_s_group_in_a_unified_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    limited = container(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}})
    cgroups.create("/kubepods/podX", pod(limited, status={"qosClass": "Burstable"}), pids=100, root=tmp_path)
    group = tmp_path / "kubepods" / "podX"

    assert {f.name: f.read_text() for f in group.iterdir()} == {
        "cpu.weight": "39",
        "cpu.max": "100000 100000",
        "memory.max": str(1 << 30),
        "pids.max": "100",
    }
    assert (tmp_path / "kubepods" / "cgroup.subtree_control").read_text() == "+pids"
    assert not (group / "cgroup.subtree_control").exists()


def test_classes_of_pods_share_the_processors(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    cgroups.share_out("/kubepods-n", milli=2000, burstable=500, root=tmp_path)
    top = tmp_path / "cpu" / "kubepods-n"

    assert {name: (top / name / "cpu.shares").read_text() for name in ("", "burstable", "besteffort")} == {
        "": "2048",
        "burstable": "512",
        "besteffort": "2",
    }


def test_classes_of_pods_in_a_unified_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    cgroups.share_out("/kubepods-n", milli=2000, burstable=0, root=tmp_path)
    top = tmp_path / "kubepods-n"

    assert (top / "cpu.weight").read_text() == "79"
    assert (top / "besteffort" / "cpu.weight").read_text() == "1"
