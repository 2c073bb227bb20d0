"""Cells that are put together from several fields."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.examples import RESOURCES, stored
from timonel.objects.meta import Object

TYPES = {f"{t.api_version}/{t.kind}": t for t in RESOURCES}


def cells(kind: str, body: Object | None = None, **extra: Any) -> dict[str, Any]:
    rtype = TYPES[kind]
    obj = {**stored(rtype, body), **extra}
    return {column.name: column.value(obj, 1000.0) for column in rtype.columns}


@pytest.mark.parametrize(
    ("conditions", "spec", "text"),
    [
        ([], {}, "Unknown"),
        ([{"type": "Ready", "status": "True"}], {}, "Ready"),
        ([{"type": "Ready", "status": "Unknown"}], {"unschedulable": True}, "NotReady,SchedulingDisabled"),
    ],
)
def test_the_status_of_a_node(conditions: list[Object], spec: Object, text: str) -> None:
    assert cells("v1/Node", spec=spec, status={"conditions": conditions})["Status"] == text


def test_the_roles_and_addresses_of_a_node() -> None:
    labels = {"node-role.kubernetes.io/b": "", "node-role.kubernetes.io/a": "", "kubernetes.io/role": "c"}
    found = cells(
        "v1/Node",
        metadata={"name": "n", "labels": labels},
        status={"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    )
    assert (found["Roles"], found["Internal-IP"], found["External-IP"]) == ("a,b,c", "10.0.0.1", "<none>")


def test_endpoints_are_cut_after_three() -> None:
    subsets = [
        {
            "addresses": [{"ip": f"10.0.0.{n}"} for n in range(1, 5)] + [{"ip": "::1"}],
            "ports": [{"port": 80}],
        },
        {"notReadyAddresses": [{"ip": "10.0.0.9"}], "ports": [{"port": 80}]},
    ]
    assert (
        cells("v1/Endpoints", subsets=subsets)["Endpoints"]
        == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    )
    assert cells("v1/Endpoints", subsets=[])["Endpoints"] == "<none>"


def test_a_claim_shows_its_volume_once_it_has_one() -> None:
    pending = cells("v1/PersistentVolumeClaim")
    assert (pending["Status"], pending["Capacity"], pending["Access Modes"]) == ("Pending", "", "")
    spec = {"volumeName": "pv", "storageClassName": "fast"}
    status = {
        "phase": "Bound",
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
    }
    bound = cells("v1/PersistentVolumeClaim", spec=spec, status=status)
    assert (bound["Capacity"], bound["Access Modes"], bound["StorageClass"]) == ("2Gi", "RWO,RWX", "fast")


def test_the_default_storage_class_says_so() -> None:
    metadata = {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    assert cells("storage.k8s.io/v1/StorageClass", metadata=metadata)["Name"] == "fast (default)"


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        ([], "*"),
        (["a", None], "a"),
        (["a", "b", "c", "d", "e"], "a,b,c + 2 more..."),
        ([None, "a", "b", "c"], "a,b,c"),
    ],
)
def test_the_hosts_of_an_ingress(hosts: list[str | None], text: str) -> None:
    spec = {"rules": [{"host": host} if host else {} for host in hosts]}
    assert cells("networking.k8s.io/v1/Ingress", spec=spec)["Hosts"] == text


def test_a_quota_shows_requests_and_limits_apart() -> None:
    status = {"hard": {"pods": "3", "limits.cpu": "4"}, "used": {"pods": "1"}}
    found = cells("v1/ResourceQuota", status=status)
    assert (found["Request"], found["Limit"]) == ("pods: 1/3", "limits.cpu: 0/4")


def test_an_event_has_its_name_last() -> None:
    found = cells("v1/Event", count=4, source={"component": "kubelet", "host": "n"}, reason="r")
    assert list(found)[-1] == "Name"
    assert (found["Object"], found["Source"], found["Count"]) == ("pod/p", "kubelet, n", 4)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({}, "Pending"),
        ({"conditions": [{"type": "Approved"}], "certificate": "x"}, "Approved,Issued"),
        ({"conditions": [{"type": "Denied"}, {"type": "Failed"}]}, "Denied,Failed"),
    ],
)
def test_the_condition_of_a_signing_request(status: Object, text: str) -> None:
    assert cells("certificates.k8s.io/v1/CertificateSigningRequest", status=status)["Condition"] == text
