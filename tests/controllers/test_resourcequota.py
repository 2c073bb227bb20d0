from __future__ import annotations

from typing import Any

import pytest

from tests.controllers.world import World, pod, workload
from timonel.controllers.resourcequota import RESOURCEQUOTA
from timonel.objects.meta import Key, Object

QUOTAS = "resourcequotas"


def quota(hard: dict[str, str], **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": "shop", "uid": "uid-q"},
        "spec": {"hard": hard, **spec},
    }


def sized(name: str, *, cpu: str = "", limit: str = "", **kwargs: Any) -> Object:
    made = pod(name, **kwargs)
    resources = {"requests": {"cpu": cpu} if cpu else {}, "limits": {"cpu": limit} if limit else {}}
    made["spec"]["containers"][0]["resources"] = resources
    return made


def used(world: World) -> dict[str, str]:
    world.settle(RESOURCEQUOTA)
    found: dict[str, str] = world.list(QUOTAS)[0]["status"]["used"]
    return found


def test_everything_that_is_limited_is_counted() -> None:
    hard = {"pods": "9", "requests.cpu": "4", "cpu": "4", "limits.cpu": "8", "services.nodeports": "5"}
    hard |= {"count/deployments.apps": "2", "secrets": "1", "count/unknown.example.com": "1"}
    service = workload("Service", api="v1", type="NodePort", ports=[{"port": 1}, {"port": 2}])
    world = World(
        (QUOTAS, quota(hard)),
        ("pods", sized("a", cpu="500m", limit="1")),
        ("pods", sized("b", cpu="1")),
        ("pods", sized("ended", cpu="3", phase="Succeeded")),
        ("services", service),
        ("deployments.apps", workload("Deployment")),
    )

    assert used(world) == {
        "pods": "2",
        "requests.cpu": "1500m",
        "cpu": "1500m",
        "limits.cpu": "1",
        "services.nodeports": "2",
        "count/deployments.apps": "1",
        "secrets": "0",
    }


def test_custom_resources_are_counted_as_long_as_they_are_served() -> None:
    hard = {"count/things.example.com": "2", "count/gone.example.com": "1"}
    world = World((QUOTAS, quota(hard)), ("things.example.com", workload("Thing", api="example.com/v1")))

    assert used(world) == {"count/things.example.com": "1"}


def test_the_larger_of_start_and_run_counts_and_sidecars_add_up() -> None:
    some = sized("a", cpu="1")
    small, large = {"requests": {"cpu": "200m"}}, {"requests": {"cpu": "2"}}
    some["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": small},
        {"name": "init", "resources": large},
    ]
    world = World((QUOTAS, quota({"requests.cpu": "9"})), ("pods", some))

    assert used(world) == {"requests.cpu": "2200m"}


@pytest.mark.parametrize(
    ("scope", "count"),
    [("BestEffort", "1"), ("NotBestEffort", "1"), ("Terminating", "0"), ("NotTerminating", "2")],
)
def test_scopes_choose_the_pods(scope: str, count: str) -> None:
    some = [sized("a", cpu="1"), sized("b")]
    world = World((QUOTAS, quota({"pods": "9"}, scopes=[scope])), *(("pods", p) for p in some))

    assert used(world) == {"pods": count}


def test_only_what_is_given_back_wakes_a_settled_quota() -> None:
    world = World((QUOTAS, quota({"pods": "9"})), ("pods", pod("a")))
    wakes = {w.resource: w.wakes for w in RESOURCEQUOTA.watches if not w.delay}
    (fresh,) = world.list(QUOTAS)
    assert list(wakes[QUOTAS](fresh, world)) == [Key("shop", "q")]

    world.settle(RESOURCEQUOTA)
    (counted,) = world.list(QUOTAS)
    living = world.list("pods")[0]
    assert list(wakes[QUOTAS](counted, world)) == list(wakes["pods"](living, world)) == []

    world.remove("pods", Key("shop", "a"), grace=0)
    assert list(wakes["pods"](living, world)) == [Key("shop", "q")]
    assert used(world) == {"pods": "0"}


def test_a_quota_that_was_charged_for_nothing_is_counted_anew_after_a_while() -> None:
    world = World((QUOTAS, quota({"pods": "9"})), ("pods", pod("a")))
    world.settle(RESOURCEQUOTA)
    (counted,) = world.list(QUOTAS)
    charged = world.put(QUOTAS, {**counted, "status": {**counted["status"], "used": {"pods": "2"}}})
    (later,) = [w for w in RESOURCEQUOTA.watches if w.delay]

    assert (later.resource, later.delay) == (QUOTAS, 300)
    assert list(later.wakes(charged, world)) == [Key("shop", "q")]
    assert used(world) == {"pods": "1"}
