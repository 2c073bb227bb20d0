"""Plugins that complete pods: accounts, priorities, tolerations, runtime classes, limits, quota."""

from __future__ import annotations

import pytest

from tests.server.fakes import FakeObjects, FakeReader, admitted, creating, pod
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.admission.limits import ANNOTATION, LimitRanger
from timonel.server.admission.namespaces import NamespaceLifecycle
from timonel.server.admission.pods import DefaultTolerationSeconds, Priority, RuntimeClass
from timonel.server.admission.quota import ResourceQuota
from timonel.server.admission.service_accounts import MOUNT_PATH, ServiceAccount

CLASSES = "priorityclasses.scheduling.k8s.io"


@pytest.fixture
def reader() -> FakeReader:
    found = FakeReader()
    found.put("serviceaccounts", {"metadata": {"name": "default", "namespace": "shop"}})
    return found


def spec_of(call: object) -> Object:
    spec: Object = call.obj["spec"]  # type: ignore[attr-defined]
    return spec


async def test_a_pod_gets_the_default_account_and_its_token(reader: FakeReader) -> None:
    spec = spec_of(await admitted(ServiceAccount(reader), creating(pod())))

    volume = spec["volumes"][0]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert volume["name"].startswith("kube-api-access-")
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "readOnly": True, "mountPath": MOUNT_PATH}
    ]


async def test_a_pod_may_do_without_a_token(reader: FakeReader) -> None:
    spec = spec_of(await admitted(ServiceAccount(reader), creating(pod(automountServiceAccountToken=False))))

    assert "volumes" not in spec


async def test_an_own_mount_at_that_place_is_left_alone(reader: FakeReader) -> None:
    own = {"name": "c", "image": "i", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}

    spec = spec_of(await admitted(ServiceAccount(reader), creating(pod(containers=[own]))))

    assert "volumes" not in spec


async def test_an_account_that_is_not_there(reader: FakeReader) -> None:
    with pytest.raises(errors.Forbidden) as error:
        await admitted(ServiceAccount(reader), creating(pod(serviceAccountName="absent")))

    why = 'error looking up service account shop/absent: serviceaccount "absent" not found'
    assert error.value.message == f'pods "p" is forbidden: {why}'


async def test_a_priority_class_becomes_a_number(reader: FakeReader) -> None:
    reader.put(CLASSES, {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"})

    spec = spec_of(await admitted(Priority(reader), creating(pod(priorityClassName="high"))))

    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priorityClassName": "nope"}, "no PriorityClass with name nope was found"),
        (
            {"priority": 5},
            "the integer value of priority (5) must not be provided in pod spec;"
            " priority admission controller computed 0 from the given PriorityClass name",
        ),
    ],
)
async def test_priorities_that_are_refused(reader: FakeReader, spec: Object, why: str) -> None:
    with pytest.raises(errors.Forbidden) as error:
        await admitted(Priority(reader), creating(pod(**spec)))

    assert error.value.message == f'pods "p" is forbidden: {why}'


async def test_own_tolerations_replace_the_default_ones() -> None:
    own = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 3}

    spec = spec_of(await admitted(DefaultTolerationSeconds(), creating(pod(tolerations=[own]))))

    assert [(t["key"], t["tolerationSeconds"]) for t in spec["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 3),
        ("node.kubernetes.io/unreachable", 300),
    ]


async def test_a_runtime_class_brings_overhead_and_selector(reader: FakeReader) -> None:
    chosen = {
        "metadata": {"name": "r"},
        "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"a": "b"}},
    }
    reader.put("runtimeclasses.node.k8s.io", chosen)

    spec = spec_of(await admitted(RuntimeClass(reader), creating(pod(runtimeClassName="r"))))

    assert (spec["overhead"], spec["nodeSelector"]) == ({"cpu": "100m"}, {"a": "b"})
    with pytest.raises(errors.Forbidden, match="conflict: runtimeClass"):
        await admitted(RuntimeClass(reader), creating(pod(runtimeClassName="r", nodeSelector={"a": "c"})))


def limit_range(**limit: object) -> Object:
    metadata = {"name": "l", "namespace": "shop"}
    return {"metadata": metadata, "spec": {"limits": [{"type": "Container", **limit}]}}


async def test_a_limit_range_fills_in_what_is_missing(reader: FakeReader) -> None:
    reader.put("limitranges", limit_range(default={"cpu": "1"}, defaultRequest={"cpu": "500m"}))

    call = await admitted(LimitRanger(reader), creating(pod()))

    assert spec_of(call)["containers"][0]["resources"] == {
        "limits": {"cpu": "1"},
        "requests": {"cpu": "500m"},
    }
    assert call.obj is not None
    note = "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    assert call.obj["metadata"]["annotations"][ANNOTATION] == note


@pytest.mark.parametrize(
    ("limit", "resources", "why"),
    [
        (
            {"min": {"cpu": "1"}},
            {"requests": {"cpu": "500m"}},
            "minimum cpu usage per Container is 1, but request is 500m",
        ),
        (
            {"max": {"memory": "1Gi"}},
            {"limits": {"memory": "2Gi"}},
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "400m"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000",
        ),
        ({"min": {"cpu": "1"}}, {}, "minimum cpu usage per Container is 1.  No request is specified"),
    ],
)
async def test_bounds(reader: FakeReader, limit: Object, resources: Object, why: str) -> None:
    reader.put("limitranges", limit_range(**limit))
    own = {"name": "c", "image": "i", "resources": resources}

    with pytest.raises(errors.Forbidden) as error:
        await admitted(LimitRanger(reader), creating(pod(containers=[own])))

    assert error.value.message == f'pods "p" is forbidden: {why}'


def quota(hard: Object, used: Object | None) -> Object:
    status = {} if used is None else {"hard": hard, "used": used}
    return {"metadata": {"name": "q", "namespace": "shop"}, "spec": {"hard": hard}, "status": status}


async def test_a_quota_counts_and_then_refuses(reader: FakeReader) -> None:
    plugin = ResourceQuota(reader, FakeObjects(reader))
    reader.put("resourcequotas", quota({"pods": "1"}, {"pods": "0"}))

    await admitted(plugin, creating(pod("a")))
    with pytest.raises(errors.Forbidden) as error:
        await admitted(plugin, creating(pod("b")))

    counted = reader.get("resourcequotas", "shop", "q")
    assert counted is not None
    assert counted["status"]["used"] == {"pods": "1"}
    why = "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    assert error.value.message == f'pods "b" is forbidden: {why}'


@pytest.mark.parametrize(
    ("hard", "used", "why"),
    [
        ({"pods": "1"}, None, "status unknown for quota: q, resources: pods"),
        ({"limits.cpu": "1"}, {"limits.cpu": "0"}, "failed quota: q: must specify limits.cpu for: c"),
    ],
)
async def test_quotas_that_cannot_be_met(reader: FakeReader, hard: Object, used: Object, why: str) -> None:
    reader.put("resourcequotas", quota(hard, used))

    with pytest.raises(errors.Forbidden, match=why):
        await admitted(ResourceQuota(reader, FakeObjects(reader)), creating(pod()))


async def test_nothing_new_in_a_namespace_that_ends(reader: FakeReader) -> None:
    plugin = NamespaceLifecycle(reader, FakeObjects(reader))
    reader.put("namespaces", {"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}})

    with pytest.raises(errors.Forbidden) as error:
        await admitted(plugin, creating(pod()))

    assert error.value.details["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace shop is being terminated",
            "field": "metadata.namespace",
        }
    ]


async def test_nothing_in_a_namespace_that_is_not_there(reader: FakeReader) -> None:
    with pytest.raises(errors.NotFound, match='namespaces "shop" not found'):
        await admitted(NamespaceLifecycle(reader, FakeObjects(reader)), creating(pod()))
