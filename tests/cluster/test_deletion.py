"""What goes with an object that is deleted, and what stays."""

from __future__ import annotations

import pytest

from tests.cluster.harness import NAMESPACE, World, cluster, workload
from timonel.machinery.errors import StatusError
from timonel.objects.meta import Key, is_deleting

SETS, DEPLOYMENTS = "replicasets.apps", "deployments.apps"


async def deployed(world: World) -> None:
    await world.create(DEPLOYMENTS, workload(replicas=2))
    await world.until(lambda: are_ready(world, 2))


async def are_ready(world: World, count: int) -> bool:
    return len(await world.ready_pods()) == count


async def are_gone(world: World, *resources: str) -> bool:
    return not any([await world.names(resource) for resource in resources])


async def test_in_the_background_the_owner_goes_first() -> None:
    async with cluster() as world:
        await deployed(world)

        await world.delete(DEPLOYMENTS, "web", propagation="Background")

        assert await are_gone(world, DEPLOYMENTS)
        assert not await are_gone(world, "pods")
        await world.until(lambda: are_gone(world, SETS, "pods"))


async def test_in_the_foreground_the_owner_goes_last() -> None:
    async with cluster() as world:
        await deployed(world)
        held = await world.names("pods")
        for pod in held:
            await world.patch("pods", pod, {"metadata": {"finalizers": ["example.com/hold"]}})

        await world.delete(DEPLOYMENTS, "web", propagation="Foreground")
        await world.pass_by(60)
        for resource in (DEPLOYMENTS, SETS, "pods"):
            assert all(is_deleting(obj) for obj in await world.all(resource))
            assert not await are_gone(world, resource)
        for pod in held:
            await world.patch("pods", pod, {"metadata": {"finalizers": None}})

        await world.until(lambda: are_gone(world, DEPLOYMENTS, SETS, "pods"))


async def test_orphans_stay_and_belong_to_nobody() -> None:
    async with cluster() as world:
        await deployed(world)

        await world.delete(DEPLOYMENTS, "web", propagation="Orphan")
        await world.until(lambda: are_gone(world, DEPLOYMENTS))
        await world.pass_by(60)

        (left,) = await world.all(SETS)
        assert not left["metadata"].get("ownerReferences")
        assert await are_ready(world, 2)


async def test_a_namespace_is_emptied_before_it_goes() -> None:
    async with cluster() as world:
        await deployed(world)
        await world.create("configmaps", {"metadata": {"name": "settings"}})

        await world.client.delete("namespaces", Key("", NAMESPACE))

        await world.until(lambda: is_forgotten(world))
        assert await are_gone(world, DEPLOYMENTS, SETS, "pods", "configmaps", "serviceaccounts")


async def is_forgotten(world: World) -> bool:
    return await world.client.find("namespaces", Key("", NAMESPACE)) is None


async def test_a_collection_goes_until_one_of_it_may_not() -> None:
    async with cluster() as world:
        for number in range(40):
            await world.create("configmaps", {"metadata": {"name": f"c-{number}"}})
        configmaps = world.client.index.resource("configmaps")
        await world.client.transport.delete_collection(configmaps, "shop", label_selector="!keep")
        assert not [name for name in await world.names("configmaps") if name.startswith("c-")]

        policy = {
            "metadata": {"name": "keep"},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["DELETE"],
                            "resources": ["configmaps"],
                        }
                    ]
                },
                "validations": [{"expression": "false", "message": "kept"}],
            },
        }
        admission = "admissionregistration.k8s.io"
        await world.client.create(f"validatingadmissionpolicies.{admission}", policy)
        binding = {
            "metadata": {"name": "keep"},
            "spec": {"policyName": "keep", "validationActions": ["Deny"]},
        }
        await world.client.create(f"validatingadmissionpolicybindings.{admission}", binding)
        await world.create("configmaps", {"metadata": {"name": "d"}})
        await world.pass_by(1)

        with pytest.raises(StatusError, match="kept"):
            await world.client.transport.delete_collection(configmaps, "shop")
        assert "d" in await world.names("configmaps")
