"""What is wrong with one pod or node on simulated nodes is no trouble of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.harness import template, workload
from tests.cluster.simulated import phases, pod_on, ready_nodes, simulated, tiny_node
from timonel.machinery.errors import StatusError
from timonel.node.simulation import life as lives
from timonel.node.simulation import machines
from timonel.objects.meta import Key, Object


class Poison:
    """Makes a function raise for objects of one name."""

    def __init__(self, inner: Callable[..., Any], name: str) -> None:
        self._inner, self._name = inner, name
        self.is_on, self.calls = True, 0

    def __call__(self, *args: Any) -> Any:
        named = any(isinstance(a, dict) and a["metadata"]["name"] == self._name for a in args)
        if self.is_on and named:
            self.calls += 1
            raise RuntimeError("poisoned")
        return self._inner(*args)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, str], Poison]:
    def poison(module: Any, function: str, name: str) -> Poison:
        found = Poison(getattr(module, function), name)
        monkeypatch.setattr(module, function, found)
        return found

    return poison


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.exc_info and r.exc_info[0] is RuntimeError]


@pytest.mark.parametrize("function", ["step", "restored"])
async def test_one_poisoned_pod_backs_off_alone(
    function: str, poisoned: Callable[[Any, str, str], Poison], caplog: pytest.LogCaptureFixture
) -> None:
    poison = poisoned(lives, function, "bad")
    async with simulated(2) as (world, _, _):
        await pod_on(world, "bad", node="test-1")
        await world.create("deployments.apps", workload(replicas=10))
        await world.pass_by(600)

        assert len(await world.ready_pods()) == 10
        assert (await phases(world))["bad"] == "Pending"
        assert 60 < poison.calls < 75
        assert len(tracebacks(caplog)) == 1
        assert 5 < len([r for r in caplog.records if "poisoned" in str(r.getMessage())]) < 8
        poison.is_on = False
        await world.pass_by(11)
        assert (await phases(world))["bad"] == "Running"


async def test_one_poisoned_node_backs_off_alone(
    poisoned: Callable[[Any, str, str], Poison], caplog: pytest.LogCaptureFixture
) -> None:
    poison = poisoned(machines, "address_of", "tiny")
    async with simulated(2) as (world, _, _):
        await tiny_node(world)
        await world.create("deployments.apps", workload(replicas=4))
        await world.pass_by(100)

        assert await ready_nodes(world) == ["test-1", "test-2"]
        assert len(await world.ready_pods()) == 4
        assert len(tracebacks(caplog)) == 1
        poison.is_on = False
        await world.pass_by(60)
        assert "tiny" in await ready_nodes(world)
        await world.client.delete("nodes", Key("", "tiny"))
        poison.is_on = True
        await world.pass_by(60)
        assert await ready_nodes(world) == ["test-1", "test-2"]


async def test_a_write_that_fails_for_days_does_not_end_the_simulation() -> None:
    async with simulated(1) as (world, _, unreliable):
        refused = 0

        def refuse(name: str, args: tuple[Any, ...]) -> None:
            nonlocal refused
            if name == "patch" and args[1] == Key("shop", "bad"):
                refused += 1
                raise StatusError("no", code=500)

        unreliable.refuse = refuse
        await pod_on(world, "bad", node="test-1")
        await world.pass_by(11_500)

        assert refused > 1_100
        await pod_on(world, "good", node="test-1")
        await world.pass_by(1)
        assert (await phases(world)) == {"bad": "Pending", "good": "Running"}


@pytest.mark.parametrize("annotation", ['{"runFor": NaN}', '{"stopDelay": 1e999}', "[" * 100_000])
async def test_an_annotation_that_makes_no_sense_shows_as_a_container_that_cannot_be_made(
    annotation: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with simulated(1) as (world, _, _):
        meta = {"name": "odd", "annotations": {"timonel.dev/simulate": annotation}}
        pod: Object = {"metadata": meta, "spec": {**template()["spec"], "nodeName": "test-1"}}
        await world.create("pods", pod)
        await world.pass_by(2)

        status = await world.status("pods", "odd")
        waiting = status["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == "CreateContainerConfigError"
        assert "timonel.dev/simulate" in waiting["message"]
        assert not [r for r in caplog.records if r.exc_info]
        await world.delete("pods", "odd")
        await world.pass_by(31)
        assert not await world.all("pods")
