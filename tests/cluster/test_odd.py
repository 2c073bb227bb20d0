"""What cannot be done or understood is waited for: no loop, no flood, and it is done as soon as it can be."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.cluster.everything import HPA_COMPLAINTS, claim, cluster, config, pod
from tests.cluster.harness import NAMESPACE, World, workload
from timonel.client.faults import Faults
from timonel.objects.meta import Key, Object

HOUR = 3600.0
UNKNOWN: Object = {
    "apiVersion": "example.com/v1",
    "kind": "Gadget",
    "metadata": {"name": "g", "uid": "11111111-2222-3333-4444-555555555555"},
}
CONTENT = "namespace-controller delete_collection"


async def populate(world: World) -> None:
    create, make = world.create, world.client.create
    await create("configmaps", config("of-a-gadget", UNKNOWN))
    await create("persistentvolumeclaims", claim("classless", "1Gi", storageClassName="missing"))
    await create(
        "resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"count/gadgets.example.com": "3"}}}
    )
    target = {"apiVersion": "example.com/v1", "kind": "Gadget", "name": "g"}
    await create("horizontalpodautoscalers.autoscaling", {
        "metadata": {"name": "odd"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}})  # fmt: skip
    await create(
        "services",
        {"metadata": {"name": "nowhere"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    )
    for name in ("one", "two"):  # each selects the pods of the other
        await create("replicasets.apps", workload(name, replicas=2))
        selector = {"matchLabels": {"app": "web"}}
        await create("poddisruptionbudgets.policy", {
            "metadata": {"name": name}, "spec": {"maxUnavailable": 1, "selector": selector}})  # fmt: skip
    await create("pods", pod("loner", nodeName="nobody"))
    await create("serviceaccounts", {"metadata": {"name": "robot"}})
    await make("namespaces", {"metadata": {"name": "stuck"}})
    held = config("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await make("configmaps", held, namespace="stuck")
    await world.client.delete("namespaces", Key("", "stuck"))


async def stuck(world: World) -> Object | None:
    return await world.client.find("namespaces", Key("", "stuck"))


def condition(namespace: Object | None, kind: str) -> Any:
    assert namespace is not None
    return next(c for c in namespace["status"]["conditions"] if c["type"] == kind)


async def test_what_cannot_be_done_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    async with cluster(faults) as world:
        await populate(world)
        await world.pass_by(600)
        told = condition(await stuck(world), "NamespaceFinalizersRemaining")
        faults.writes.clear()
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            await world.pass_by(HOUR)
        passes = {what: n for what, n in faults.writes.items() if what.startswith(CONTENT)}
        others = {
            what: n for what, n in faults.writes.items() if what not in passes and what != HPA_COMPLAINTS
        }

        await world.client.patch("configmaps", Key("stuck", "held"), {"metadata": {"finalizers": None}})
        await world.until(lambda: is_forgotten(world), within=2)
        there = await world.names("configmaps")

    assert told["message"] == (
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )
    assert others == {}
    assert max(passes.values()) <= HOUR / 60  # once a minute it looks whether the namespace can go
    assert len(caplog.records) < 20, [r.getMessage() for r in caplog.records][:30]
    assert "of-a-gadget" in there  # nobody knows that its owner is gone


async def is_forgotten(world: World) -> bool:
    return await stuck(world) is None


async def test_who_owns_what_is_settled_when_the_kind_of_the_owner_is_known() -> None:
    async with cluster(Faults()) as world:
        await world.create("configmaps", config("of-a-gadget", UNKNOWN))
        await world.pass_by(60)
        names = {"plural": "gadgets", "kind": "Gadget"}
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
        await world.client.create("customresourcedefinitions.apiextensions.k8s.io", {
            "metadata": {"name": "gadgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
        })  # fmt: skip

        await world.until(lambda: is_collected(world), within=300)


async def is_collected(world: World) -> bool:
    return await world.client.find("configmaps", Key(NAMESPACE, "of-a-gadget")) is None
