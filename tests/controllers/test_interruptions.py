"""Plans that break off anywhere, status writes that come too late: the end is the same, nothing counts twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.test_daemonset import daemonset
from tests.controllers.test_deployment import deployment
from tests.controllers.test_job import job
from tests.controllers.test_statefulset import CLAIM, statefulset
from tests.controllers.world import World, kubelet, merged, node, scheduler, template
from timonel.control import actions as a
from timonel.control.declare import AnyControllerType
from timonel.controllers.daemonset import DAEMONSET
from timonel.controllers.deployment import DEPLOYMENT
from timonel.controllers.job import JOBS as JOB_CONTROLLERS
from timonel.controllers.job import indexes
from timonel.controllers.job.tally import FINALIZER
from timonel.controllers.replicaset import REPLICASET
from timonel.controllers.statefulset import STATEFULSET
from timonel.machinery.errors import Conflict
from timonel.objects import pods
from timonel.objects.meta import Key, Object

KEY = Key("shop", "web")
JOBS = "jobs.batch"
dice = st.lists(st.booleans(), max_size=60)


class Interrupted(World):
    """As long as there are dice: true ones break a plan off before its next action, or after it."""

    def __init__(self, throws: list[bool], *objects: tuple[str, Object]) -> None:
        super().__init__(*objects)
        self._throws: Iterator[bool] = iter(throws)

    def apply(self, owner: Object | None, action: a.Action) -> Any:
        if next(self._throws, False):
            self._touch(owner)
            raise Conflict("before it was done")
        done = super().apply(owner, action)
        if next(self._throws, False):
            self._touch(owner)
            raise Conflict("after it was done: the answer was lost")
        return done

    def _touch(self, owner: Object | None) -> None:
        """Somebody writes to the object meanwhile, so that the status of this pass is refused."""
        if owner is None or not next(self._throws, False):
            return
        resource = next(
            r for (r, key), o in self._objects.items() if o["metadata"]["uid"] == owner["metadata"]["uid"]
        )
        current = self.get(resource, Key(owner["metadata"].get("namespace", ""), owner["metadata"]["name"]))
        if current is not None:
            self.put(resource, current)


def rest(world: World, *types: AnyControllerType, rounds: int = 4, actors: Any = ()) -> None:
    for _ in range(rounds):
        world.settle(*types, actors=[scheduler, kubelet, *actors], rounds=300)
        world.time += 2_000


@settings(deadline=None, max_examples=40)
@given(throws=dice, image=st.sampled_from(["v1", "v2"]), replicas=st.integers(0, 4))
def test_a_deployment(throws: list[bool], image: str, replicas: int) -> None:
    world = Interrupted(throws, ("deployments.apps", deployment(3)))
    world.settle(DEPLOYMENT, REPLICASET, actors=[scheduler, kubelet], rounds=300)
    world.change("deployments.apps", "web", spec={"template": template(image), "replicas": replicas})
    rest(world, DEPLOYMENT, REPLICASET)

    living = [p["spec"]["containers"][0]["image"] for p in world.list("pods") if pods.is_active(p)]
    assert living == [image] * replicas
    found = world.get("deployments.apps", KEY)
    assert found is not None
    assert found["status"].get("availableReplicas", 0) == replicas


@settings(deadline=None, max_examples=40)
@given(throws=dice, replicas=st.integers(0, 3), policy=st.sampled_from(["OrderedReady", "Parallel"]))
def test_a_statefulset(throws: list[bool], replicas: int, policy: str) -> None:
    made = statefulset(2, podManagementPolicy=policy, volumeClaimTemplates=[CLAIM])
    world = Interrupted(throws, ("statefulsets.apps", made))
    world.settle(STATEFULSET, actors=[scheduler, kubelet], rounds=300)
    world.change("statefulsets.apps", "web", spec={"template": template("v2"), "replicas": replicas})
    rest(world, STATEFULSET)

    living = {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in world.list("pods")}
    assert living == {f"web-{i}": "v2" for i in range(replicas)}
    assert len(world.list("controllerrevisions.apps")) == 2


@settings(deadline=None, max_examples=40)
@given(throws=dice, surge=st.integers(0, 1))
def test_a_daemonset(throws: list[bool], surge: int) -> None:
    some = [("nodes", node(f"n{i}")) for i in range(3)]
    world = Interrupted(throws, ("daemonsets.apps", daemonset(surge=surge, unavailable=1 - surge)), *some)
    world.settle(DAEMONSET, actors=[scheduler, kubelet], rounds=300)
    world.change("daemonsets.apps", "web", spec={"template": template("v2")})
    rest(world, DAEMONSET)

    there = sorted((pods.node_of(p), p["spec"]["containers"][0]["image"]) for p in world.list("pods"))
    assert there == [(f"n{i}", "v2") for i in range(3)]


@settings(deadline=None, max_examples=60)
@given(
    throws=dice,
    completions=st.integers(1, 4),
    parallelism=st.integers(1, 3),
    mode=st.sampled_from(["NonIndexed", "Indexed", "PerIndex"]),
    fates=st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_a_job(throws: list[bool], completions: int, parallelism: int, mode: str, fates: list[bool]) -> None:
    spec: Object = {"backoffLimit": 3}
    if mode != "NonIndexed":
        spec["completionMode"] = "Indexed"
    if mode == "PerIndex":
        spec = {**spec, "backoffLimitPerIndex": 1, "backoffLimit": 2**31 - 1}
    world = Interrupted(throws, (JOBS, job(completions=completions, parallelism=parallelism, **spec)))
    ended: dict[str, tuple[int | None, str]] = {}

    def fate(w: World) -> bool:
        for running in w.list("pods"):
            if running["status"]["phase"] == "Running" and pods.is_active(running):
                phase = "Succeeded" if fates[len(ended) % len(fates)] else "Failed"
                ended[running["metadata"]["uid"]] = indexes.index_of(running), phase
                w.put("pods", merged(running, {"status": {"phase": phase, "conditions": []}}))
                return True
        return False

    rest(world, *JOB_CONTROLLERS, rounds=2 * completions + 4, actors=[fate])

    found = world.get(JOBS, KEY)
    assert found is not None
    status, final = found["status"], found["status"]["conditions"][-1]
    won = [at for at, phase in ended.values() if phase == "Succeeded"]
    lost = [at for at, phase in ended.values() if phase == "Failed"]
    assert final["type"] in ("Complete", "Failed")
    assert status.get("succeeded", 0) == (len(won) if mode == "NonIndexed" else len(set(won)))
    if final["type"] == "Complete":
        assert status.get("failed", 0) == len(lost)
    assert status["uncountedTerminatedPods"] == {}
    assert not [p for p in world.list("pods") if FINALIZER in p["metadata"]["finalizers"]]
