"""All pods of this node: gives each its runner, brings what the API server and the runtime report to the right one, and
clears away what belongs to no pod.

Upstream: pkg/kubelet/kubelet.go (syncLoop, HandlePodAdditions, HandlePodCleanups), pkg/kubelet/pleg.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

from timonel.aio.clock import Clock, upkeep
from timonel.client.transport import Resource
from timonel.node import admission, amounts, cgroups, cpus, manifests, resizing, shutdownplan, staticpods
from timonel.node.cpus import CpuPool
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Container, ContainerState, Resources, Sandbox
from timonel.node.follow import Changed, Replaced, follow
from timonel.node.plugins import devices
from timonel.node.podrunner import Ending, PodRunner, Surroundings
from timonel.node.podruntime import GRACE, POD_UID, PodRuntime, pod_runtime
from timonel.node.podspec import qos_of
from timonel.node.preparation import Preparation, Workshop
from timonel.node.references import references
from timonel.node.relist import insist, read_pod
from timonel.node.staticpods import ManifestFolder, Mirrors
from timonel.node.statuswriter import PODS
from timonel.objects import pods as podlib
from timonel.objects.meta import Key, Object, key_of, uid_of

logger = logging.getLogger(__name__)

RELIST = 60.0
ORPHAN_RETRY = 5.0
REMEMBERED_EXITS = 512
UNEXPECTED = "UnexpectedAdmissionError"


class Pods:
    """`run` owns every runner. The rest are plain calls from the same loop."""

    def __init__(
        self, around: Surroundings, shop: Workshop, folder: ManifestFolder, mirrors: Mirrors
    ) -> None:
        self._around = around
        self._folder = folder
        self._mirrors = mirrors
        self._static: dict[str, Object] = {}  # the pods of the node's own manifests, by uid
        self._shop = shop
        self._clock: Clock = around.clock
        self._runners: dict[str, PodRunner] = {}
        self._found: dict[str, PodRuntime] = {}  # what an earlier life of the agent left running, by uid
        self._asks = admission.Requests()
        self._burstable = -1  # thousandths of cpu that burstable pods request together, as last told
        self._sharing = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._knows_pods = False
        self._orphans: set[str] = set()

    async def run(self, listening: asyncio.Event) -> None:
        """`listening` is set once the pods' first list was taken in."""
        self._found = await insist(self._clock, self._left_running)
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._set_static(await self._folder.read())
            group.create_task(
                staticpods.keep(self._folder, self._mirrors, self._set_static), name="static pods"
            )
            group.create_task(self._hear_runtime(), name="runtime events")
            group.create_task(self._relist_for_ever(), name="relist")
            await self._hear_api(listening)

    # ---- what others ask

    def runners(self) -> Sequence[PodRunner]:
        return list(self._runners.values())

    def find(self, namespace: str, name: str, uid: str = "") -> PodRunner | None:
        """A live namesake is preferred to one on its way out."""
        found = [
            r
            for r in self._runners.values()
            if r.pod["metadata"]["namespace"] == namespace
            and r.pod["metadata"]["name"] == name
            and uid in ("", r.uid)
        ]
        return min(found, key=lambda r: r.is_finished, default=None)

    def references_changed(self, resource: Resource, key: Key) -> None:
        """A ConfigMap or Secret has changed: whoever uses it looks again."""
        for runner in self._runners.values():
            if runner.pod["metadata"]["namespace"] != key.namespace:
                continue
            names = references(runner.pod)
            if key.name in (names.config_maps if resource.plural == "configmaps" else names.secrets):
                runner.references_changed()

    # ---- the API server's side

    async def _hear_api(self, listening: asyncio.Event) -> None:
        selector = f"spec.nodeName={self._around.node.name}"
        async for news in follow(self._shop.transport, self._clock, PODS, field_selector=selector):
            if isinstance(news, Replaced):
                self._mirrors.all_seen([p for p in news.objects if manifests.is_mirror(p)])
                self._replace([p for p in news.objects if not manifests.is_mirror(p)])
                listening.set()
            elif manifests.is_mirror(news.object):
                self._mirrors.seen(news.object, is_deleted=news.is_deleted)
            else:
                self._change(news)

    def _replace(self, pods: Sequence[Object]) -> None:
        present = {uid_of(pod): pod for pod in pods}
        for uid, runner in list(self._runners.items()):
            if uid not in present and not manifests.is_static(runner.pod):
                runner.removed(runner.pod)
        for pod in sorted(pods, key=lambda p: str(p["metadata"].get("creationTimestamp"))):
            self._present(pod)
        self._knows_pods = True
        self._shop.take_back(
            *(self._shop.holders() - self._runners.keys() - self._found.keys() - self._orphans)
        )
        self._clear_orphans()

    def _change(self, news: Changed) -> None:
        if not news.is_deleted:
            self._present(news.object)
            return
        runner = self._runners.get(uid_of(news.object))
        if runner is not None:
            runner.removed(news.object)

    def _present(self, pod: Object) -> None:
        uid = uid_of(pod)
        runner = self._runners.get(uid)
        if runner is not None:
            runner.update(pod)
            self._consider_resize(runner)
            if podlib.is_terminal(pod):
                self._resize_others()
            return
        runtime = self._found.pop(uid, PodRuntime())
        self._begin(pod, runtime)

    # ---- the node's own pods

    def _set_static(self, pods: Sequence[Object]) -> None:
        """These are the pods that the node runs of its own accord."""
        self._static = {uid_of(pod): pod for pod in pods}
        for uid, runner in list(self._runners.items()):
            if uid not in self._static and manifests.is_static(runner.pod):
                runner.removed(runner.pod)
        self._begin_static()

    def _begin_static(self) -> None:
        """One whose namesake is still on its way out waits for its end."""
        taken = {key_of(r.pod) for r in self._runners.values() if manifests.is_static(r.pod)}
        for uid, pod in self._static.items():
            if uid not in self._runners and key_of(pod) not in taken:
                self._mirrors.show(pod)
                self._begin(pod, self._found.pop(uid, PodRuntime()))

    def _begin(self, pod: Object, runtime: PodRuntime) -> None:
        assert self._group is not None
        holder: list[PodRunner] = []
        preparation = Preparation(self._shop, lambda: holder[0].pod)
        holder.append(PodRunner(pod, runtime, self._around, preparation))
        runner = holder[0]
        preparation.open()
        self._restore(runner.uid, runtime)
        if not runtime.containers:
            self._admit(runner)
        self._runners[runner.uid] = runner
        self._share_out()
        self._group.create_task(
            self._keep(runner), name=f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
        )

    def _admit(self, runner: PodRunner) -> None:
        phase = (runner.pod.get("status") or {}).get("phase", "Pending")
        if phase not in ("Pending", "Unknown"):
            return
        if self._shop.is_closing():
            self._refuse(runner, admission.Refusal(shutdownplan.REFUSED, shutdownplan.WHY_REFUSED))
            return
        allocatable = self._shop.allocatable()
        pressures = self._shop.pressures()
        is_easy = admission.fits_anywhere(runner.pod) and not pressures
        if is_easy and len(self._runners) < int(allocatable["pods"]):
            return
        refusal = self._refusal(runner, allocatable)
        while refusal is not None and self._make_room(runner, refusal):
            refusal = self._refusal(runner, allocatable)
        if refusal is not None:
            self._refuse(runner, refusal)
            return
        self._assign(runner)

    def _refuse(self, runner: PodRunner, refusal: admission.Refusal) -> None:
        message = refusal.message.removeprefix(admission.REJECTED)
        self._around.records.record(runner.pod, "Warning", refusal.reason, message)
        runner.end(Ending(refusal.reason, refusal.message))

    def _assign(self, runner: PodRunner) -> None:
        """Devices and processors of its own, which the pod has from its admission to its end."""
        shop = self._shop
        try:
            if shop.devices is not None:
                shop.devices.assign(runner.pod)
            if shop.cpus is not None:
                before = shop.cpus.shared
                shop.cpus.assign(runner.pod)
                if shop.cpus.shared != before:
                    self.spread()
        except (devices.NotEnough, cpus.NotEnough) as e:
            self._around.records.record(runner.pod, "Warning", UNEXPECTED, str(e))
            runner.end(Ending(UNEXPECTED, f"{admission.REJECTED}{e}"))

    def _restore(self, uid: str, runtime: PodRuntime) -> None:
        """What containers have that an earlier life of the agent left running."""
        for c in runtime.containers:
            if self._shop.devices is not None and devices.DEVICES in c.annotations:
                self._shop.devices.restore(uid, c.name, c.annotations[devices.DEVICES])
            if self._shop.cpus is not None and cpus.CPUS in c.annotations:
                self._shop.cpus.restore(uid, c.name, c.annotations[cpus.CPUS])

    def _share_out(self) -> None:
        """Burstable pods have together what they request: told when that changes."""
        held = [r.pod for r in self._runners.values() if r.holds_resources]
        burstable = sum(self._asks(pod).get("cpu", 0) for pod in held if qos_of(pod) == "Burstable")
        if burstable != self._burstable and self._group is not None and self._shop.room is not None:
            self._burstable = burstable
            self._group.create_task(self._set_shares(burstable), name="shares of classes")

    async def _set_shares(self, burstable: int) -> None:
        milli = amounts.milli(self._shop.allocatable().get("cpu"))
        root = self._around.node.cgroup_root
        async with self._sharing:  # one after another, and the last one counts
            if burstable == self._burstable:
                try:
                    await self._shop.threads.run(_share_out, root, milli, burstable)
                except OSError as e:
                    logger.warning("Could not set the shares of classes of pods", extra={"error": str(e)})

    def spread(self) -> None:
        """The processors that containers share are others now: tell those that run."""
        if self._group is not None and self._shop.cpus is not None:
            self._group.create_task(self._spread(self._shop.cpus), name="shared processors")

    async def _spread(self, pool: CpuPool) -> None:
        shared = Resources(cpuset=cpus.written(pool.shared))
        for runner in list(self._runners.values()):
            for c in runner.runtime.containers:
                if c.state is ContainerState.RUNNING and pool.of(runner.uid, c.name) is None:
                    try:
                        await self._around.runtime.update_resources(c.id, shared)
                    except RuntimeFailure as e:
                        logger.info(
                            "Could not move a container to other processors", extra={"error": e.message}
                        )

    def _consider_resize(self, runner: PodRunner) -> None:
        """Give a pod what its spec asks for now, if that is not what it has and the node can."""
        if not runner.is_syncing:
            return
        if not runner.resize.is_wanted:
            runner.resize.settle()
            return
        others = [r.pod for r in self._runners.values() if r.holds_resources and r is not runner]
        why = resizing.verdict(runner.resize.desired, others, self._shop.allocatable(), self._asks)
        if why is not None:
            runner.resize.put_off(why)
            return
        runner.give()
        self._asks.forget(runner.uid)
        self._share_out()
        self._resize_others()

    def _resize_others(self) -> None:
        """Something may have become free for those that had to wait: the more important first, then by service."""
        waiting = [r for r in self._runners.values() if r.is_syncing and r.resize.is_put_off]
        for runner in sorted(waiting, key=lambda r: admission.resize_rank(r.pod)):
            if runner.resize.is_put_off:
                self._consider_resize(runner)

    def _refusal(self, runner: PodRunner, allocatable: Mapping[str, str]) -> admission.Refusal | None:
        others = [r.pod for r in self._runners.values() if r.holds_resources]
        shop = self._shop
        return admission.admit(
            runner.pod,
            others,
            allocatable,
            self._asks,
            node=shop.node_object(),
            abilities=shop.abilities,
            pressures=shop.pressures(),
        )

    def _make_room(self, runner: PodRunner, refusal: admission.Refusal) -> bool:
        """End others for a critical pod that is only short of something; whether any were found."""
        if refusal.missing is None or not admission.is_critical(runner.pod):
            return False
        holders = {r.uid: r for r in self._runners.values() if r.holds_resources}
        victims = admission.victims([r.pod for r in holders.values()], refusal.missing)
        for victim in victims:
            message = "Preempted in order to admit critical pod"
            self._around.records.record(victim, "Warning", "Preempting", message)
            why = "Pod was preempted by Kubelet to accommodate a critical pod."
            holders[uid_of(victim)].end(Ending("Preempting", message, why))
        return bool(victims)

    async def _keep(self, runner: PodRunner) -> None:
        """Run it to its end. One that fails is a bug: it is told, and taken up again from what the runtime says."""
        uid = runner.uid
        try:
            await runner.run()
        except* Exception:
            logger.exception("Pod runner failed", extra={"pod": uid})
            await self._clock.sleep(1)
            if self._runners.get(uid) is runner:
                del self._runners[uid]
                self._begin(runner.pod, await insist(self._clock, lambda: self._read(uid)))
        if self._runners.get(uid) is runner:
            del self._runners[uid]
            self._around.statuses.forget(uid)
            self._asks.forget(uid)
            self._around.measures.forget_pod(uid)
            self._resize_others()
            self._share_out()
            if manifests.is_static(runner.pod):
                self._mirrors.drop(runner.pod)
                self._begin_static()

    # ---- the runtime's side

    async def _left_running(self) -> dict[str, PodRuntime]:
        """By uid, what runs here already from before the agent started."""
        sandboxes = await self._around.runtime.list_sandboxes()
        uids = {s.labels[POD_UID] for s in sandboxes if POD_UID in s.labels}
        found = {uid: await self._read(uid) for uid in uids}
        return found | {uid: PodRuntime() for uid in await self._shop.leftovers() - uids}

    async def _read(self, uid: str) -> PodRuntime:
        return await read_pod(self._around.runtime, {POD_UID: uid}, PodRuntime())

    async def _hear_runtime(self) -> None:
        async for event in self._around.runtime.events():
            if event.kind == "lost":
                await self._relist()
                continue
            self._around.exits[event.id] = None
            while len(self._around.exits) > REMEMBERED_EXITS:
                self._around.exits.pop(next(iter(self._around.exits)))
            runner = self._around.owners.get(event.id)
            if runner is not None:
                runner.look_at(event.id)

    async def _relist_for_ever(self) -> None:
        while True:
            self._resize_others()
            for runner in self._runners.values():
                runner.look_at_claims()
            await upkeep(self._clock, lazy=True).sleep(RELIST)
            await self._relist()

    async def _relist(self) -> None:
        """Compare everything with what is believed; each difference makes its pod look."""
        sandboxes = await insist(self._clock, self._around.runtime.list_sandboxes)
        containers = await insist(self._clock, self._around.runtime.list_containers)
        by_uid = defaultdict[str, tuple[list[Sandbox], list[Container]]](lambda: ([], []))
        for sandbox in sandboxes:
            by_uid[sandbox.labels.get(POD_UID, "")][0].append(sandbox)
        for container in containers:
            by_uid[container.labels.get(POD_UID, "")][1].append(container)
        for uid, runner in self._runners.items():
            runner.compare(pod_runtime(*by_uid[uid]))
        for uid, (known_sandboxes, _) in by_uid.items():
            if uid and known_sandboxes and uid not in self._runners and uid not in self._found:
                self._found[uid] = pod_runtime(known_sandboxes, ())
        self._clear_orphans()

    def _clear_orphans(self) -> None:
        if not self._knows_pods or self._group is None:
            return
        for uid in list(self._found):
            del self._found[uid]
            if uid not in self._orphans and uid not in self._runners:
                self._orphans.add(uid)
                self._group.create_task(self._clear_orphan(uid), name=f"orphan {uid}")

    async def _clear_orphan(self, uid: str) -> None:
        """A pod that the API server does not know any more: it was deleted while we were away."""
        logger.info("Removing a pod that is not wanted any more", extra={"pod": uid})
        while True:
            try:
                current = await self._read(uid)
                for container in current.containers:
                    if container.state is ContainerState.RUNNING:
                        grace = float(container.annotations.get(GRACE) or 30)
                        await self._around.runtime.stop_container(container.id, grace)
                for sandbox in current.sandboxes:
                    await self._around.runtime.stop_sandbox(sandbox.id)
                    await self._around.runtime.remove_sandbox(sandbox.id)
                await self._shop.clear(uid, current)
                break
            except RuntimeFailure as e:
                logger.info("Could not remove it yet", extra={"pod": uid, "error": e.message})
                await self._clock.sleep(ORPHAN_RETRY)
        self._orphans.discard(uid)


def _share_out(root: str, milli: int, burstable: int) -> None:
    cgroups.share_out(root, milli=milli, burstable=burstable)
