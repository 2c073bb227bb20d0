"""One engine for all simulated nodes of a process: their watches, timers and writes.

Two watches (nodes, pods) feed one queue of keys, which a few workers empty: so many writes are under way at once, no
more, and a pod or node has at most one. Due times lie on two wheels, that of pods and that of heartbeats, which are
spread over their period. A pod at rest costs its `Life` and nothing else: its object is read again when it is needed.

A write that fails is tried again later; whoever else changes a pod meanwhile is respected, since every step starts from
the newest object seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from timonel.aio.backoff import doubled
from timonel.aio.clock import Clock, upkeep
from timonel.aio.workqueue import WorkQueue
from timonel.client.events import EventRecorder
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import AlreadyExists, Conflict, Invalid, NotFound, StatusError
from timonel.node import podresources, podstatus
from timonel.node.admission import REJECTED
from timonel.node.follow import Changed, Replaced, follow
from timonel.node.simulation import life as lives
from timonel.node.simulation import machines
from timonel.node.simulation.addresses import Addresses, NoAddress
from timonel.node.simulation.holdings import Held, Node, address_in_use, reserved
from timonel.node.simulation.life import FINAL, Step
from timonel.node.simulation.machines import POD_ADDRESSES
from timonel.node.simulation.wheel import Wheel
from timonel.objects.meta import Key, Object, is_deleting, key_of, uid_of

if TYPE_CHECKING:
    from timonel.node.simulation.stages import Stages
    from timonel.node.simulation.stagework import StageWork

logger = logging.getLogger(__name__)

NODES = Resource("", "v1", "nodes", False)
PODS = Resource("", "v1", "pods", True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", True)
LEASE_NAMESPACE = "kube-node-lease"
WORKERS = 64
RENEW_EVERY = 20.0  # half of what a Lease lasts
RENEW_MANY_EVERY = 30.0  # the same where there are many nodes; still well before a Lease is over
MANY = 1_000  # nodes
FIRST_RENEWAL = 10.0  # of nodes that come by the hundred: their status, which is new, has to do until then
HUNDRED = 100
STATUS_EVERY = 300.0
RETRY, RETRY_LIMIT = 0.5, 10.0

# of a pod's status: what a node keeps
OWN = frozenset(
    (
        "observedGeneration", "phase", "conditions", "hostIP", "hostIPs", "startTime", "containerStatuses",
        "initContainerStatuses", "qosClass", "reason", "message", "podIP", "podIPs",
    )
)  # fmt: skip

Work = tuple[str, str]  # what is to be done, and for whom: (pod, uid), (node | beat | make, name)


class NodeSimulator:
    """Needs `transport` with the rights of the role timonel:node-simulator.

    `make` are nodes to create unless they exist; ready when they are there. Ranges of pod addresses that they bring are
    theirs if there are no other nodes yet. `not_ours` are nodes that have an agent, whatever they say. `listeners` hear
    which nodes are simulated here: (name, True) and (name, False).
    """

    name = "simulated nodes"

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        make: Iterable[Object] = (),
        stages: Stages | None = None,
        not_ours: Container[str] = (),
    ) -> None:
        self._not_ours = not_ours
        self._transport, self._clock = transport, clock
        self._calm = upkeep(clock)
        self._make = {obj["metadata"]["name"]: obj for obj in make}
        self.listeners: list[Callable[[str, bool], None]] = []
        self.recorder = EventRecorder(transport, clock, "kubelet")
        self._stages = self._stage_work(stages) if stages is not None else None
        self.nodes: dict[str, Node] = {}
        self._held: dict[str, Held] = {}
        # pods of nodes that are not ours, by node, and the address that each has
        self._elsewhere: dict[str, dict[Key, str]] = {}
        self._expected: dict[Key, tuple[Addresses, str]] = {}  # addresses of pods that are being found
        # heartbeats do not wait for ten thousand pods
        self._queue: WorkQueue[Work] = WorkQueue(clock, lane_of=lambda work: work[0])
        self._wheel: Wheel[Work] = Wheel(clock, self._queue.add)
        self._beats: Wheel[Work] = Wheel(self._calm, self._queue.add)
        self._node_addresses = Addresses(machines.ADDRESSES)
        self._shared_addresses = Addresses(POD_ADDRESSES)
        self._made = asyncio.Event()
        self._failures: dict[Work, int] = {}
        self._waiting: dict[str, asyncio.Event] = {}  # who follows a pod's logs, by uid

    def __len__(self) -> int:
        return len(self._held)

    @property
    def _period(self) -> float:
        """Seconds from one heartbeat of a node to the next."""
        return RENEW_MANY_EVERY if len(self.nodes) > MANY else RENEW_EVERY

    # ---- for who asks about a pod

    def pods_of(self, node: str) -> list[Held]:
        found = self.nodes.get(node)
        return [self._held[uid] for uid in found.pods] if found is not None else []

    def holds(self, held: Held) -> bool:
        return self._held.get(held.life.uid) is held

    async def changed(self, held: Held) -> None:
        """Wait until something has happened to it."""
        event = self._waiting.setdefault(held.life.uid, asyncio.Event())
        await event.wait()

    def _tell(self, held: Held) -> None:
        if (event := self._waiting.pop(held.life.uid, None)) is not None:
            event.set()

    async def pod(self, held: Held) -> Object:
        """Its object, as last seen or as it is now. Raises NotFound."""
        return held.pod if held.pod is not None else await self._transport.get(PODS, held.key)

    # ---- running

    def _stage_work(self, stages: Stages) -> StageWork:
        from timonel.node.simulation.stagework import StageWork  # here: most clusters have no Stages

        return StageWork(stages, self._transport, self._clock, self.recorder.record)

    async def run(self, ready: asyncio.Event) -> None:
        knows_nodes = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.recorder.run(asyncio.Event()), name=self.recorder.name)
                group.create_task(self._follow_nodes(knows_nodes), name="simulated nodes: nodes")
                await knows_nodes.wait()
                group.create_task(self._follow_pods(), name="simulated nodes: pods")
                for number in range(WORKERS):
                    group.create_task(self._work(), name=f"simulated nodes {number}")
                await self._made.wait()
                ready.set()
        finally:
            self._wheel.close()
            self._beats.close()
            self._queue.close()

    async def _work(self) -> None:
        while True:
            async with self._queue.take() as work:
                try:
                    await self._do(*work)
                    self._failures.pop(work, None)
                except Exception as e:
                    self._again(work, e)

    def _try(self, work: Work, change: Callable[[Object], None], obj: Object) -> None:
        """What is wrong with one object is no trouble of the others: `work` will look at it again, alone."""
        try:
            change(obj)
        except Exception as e:
            self._again(work, e)

    def _again(self, work: Work, error: Exception) -> None:
        failures = self._failures[work] = self._failures.get(work, 0) + 1
        extra = {"what": work[0], "who": work[1], "error": str(error), "failures": failures}
        if isinstance(error, StatusError | Unreachable | NoAddress):
            logger.info("Could not write, trying again", extra=extra)
        elif failures == 1:
            logger.error("Simulation failed, trying again", extra=extra, exc_info=error)
        elif failures & (failures - 1) == 0:  # ever more seldom: with each power of two
            logger.error("Simulation fails still: %r", error, extra=extra)
        self._queue.add_after(work, doubled(RETRY, failures, RETRY_LIMIT))

    async def _do(self, what: str, who: str) -> None:
        if what == "pod":
            await self._do_pod(who)
        elif what == "find":
            await self._do_find(who)
        elif what == "make":
            await self._do_make(who)
        elif what == "adopt":
            await self._do_adopt(who)
        elif (node := self.nodes.get(who)) is not None and not node.is_stopped:
            await (self._do_node(node) if what == "node" else self._do_beat(node))

    # ---- nodes

    async def _follow_nodes(self, known: asyncio.Event) -> None:
        async for news in follow(self._transport, self._clock, NODES):
            if isinstance(news, Changed):
                change = self._node_gone if news.is_deleted else self._node_present
                self._try(("adopt", news.object["metadata"]["name"]), change, news.object)
                continue
            found = {n["metadata"]["name"]: n for n in news.objects}
            for node in [node.object for name, node in self.nodes.items() if name not in found]:
                self._try(("adopt", node["metadata"]["name"]), self._node_gone, node)
            for node in news.objects:
                self._try(("adopt", node["metadata"]["name"]), self._node_present, node)
            if not known.is_set():
                if found.keys() - self._make.keys():  # others are here, who may have any range
                    self._make = {name: machines.without_range(obj) for name, obj in self._make.items()}
                for name in list(self._make):
                    if name in found:
                        del self._make[name]
                    else:
                        self._queue.add(("make", name))
                known.set()
                if not self._make:
                    self._made.set()

    def _node_gone(self, obj: Object) -> None:
        if (name := obj["metadata"]["name"]) in self.nodes:
            self._forget_node(name)

    def _node_present(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        if name in self._not_ours or not machines.is_simulated(obj):
            self._node_gone(obj)
            return
        node = self.nodes.get(name)
        if node is not None and uid_of(node.object) != uid_of(obj):
            self._forget_node(name)
            node = None
        if node is None:
            node = self._adopt_node(obj)
        was_stopped, node.object = node.is_stopped, obj
        if node.addresses is self._shared_addresses and (cidr := (obj.get("spec") or {}).get("podCIDR")):
            node.addresses = Addresses(cidr)
        if was_stopped and not node.is_stopped:  # switched on again
            self._wake_node(node)
        if node.is_stopped:
            self._beats.set(("beat", name), None)
        elif self._needs_status(obj):
            self._queue.add(("node", name))

    def _needs_status(self, obj: Object) -> bool:
        if self._stages is not None and self._stages.lives("Node"):
            return True
        if machines.hides_capacity(obj):
            return True
        return not machines.is_ready(obj) or not machines.address_of(obj)

    def _adopt_node(self, obj: Object) -> Node:
        name = obj["metadata"]["name"]
        cidr = (obj.get("spec") or {}).get("podCIDR")
        addresses = Addresses(cidr) if cidr else self._shared_addresses
        ip = machines.address_of(obj)
        if ip:
            self._node_addresses.seen(ip)
        else:
            ip = self._node_addresses.take()
        node = Node(name, obj, ip, addresses)
        self.nodes[name] = node
        self._wake_node(node)
        for listener in self.listeners:
            listener(name, True)
        return node

    def _wake_node(self, node: Node) -> None:
        """Its heartbeats begin, each node's at a moment of its own; its pods are looked at."""
        phase = len(self.nodes) * 0.618034 % 1.0 * self._period
        rest = FIRST_RENEWAL if len(self.nodes) > HUNDRED and not node.has_lease else 0.0
        self._beats.set(("beat", node.name), self._clock.now() + rest + phase)
        for uid in node.pods:
            self._queue.add(("pod", uid))
        for key, address in self._elsewhere.pop(node.name, {}).items():
            if (its := reserved(address, self._ranges(node))) is not None:
                self._expected[key] = (its, address)
            self._queue.add(("find", f"{key.namespace}/{key.name}"))

    def _forget_node(self, name: str) -> None:
        node = self.nodes.pop(name)
        self._node_addresses.free(node.ip)
        self._beats.set(("beat", name), None)
        for uid in list(node.pods):
            address = self._held[uid].address if self._held[uid].range is not None else ""
            held = self._forget(uid)
            if held is not None:
                self._elsewhere.setdefault(name, {})[held.key] = address
        for listener in self.listeners:
            listener(name, False)

    async def _do_make(self, name: str) -> None:
        obj, now = self._make.get(name), self._clock.now()
        if obj is not None:
            ip = self._node_addresses.take()
            status = machines.status(obj, ip, now)
            if self._stages is not None and self._stages.lives("Node"):
                status = obj["status"]
            try:
                await self._transport.create(NODES, {**obj, "status": status})
            except AlreadyExists:
                logger.info("The node is there already", extra={"node": name})
            self._make.pop(name, None)
        if not self._make:
            self._made.set()

    async def _do_adopt(self, name: str) -> None:
        """One that could not be taken up, or given up, when its news came."""
        try:
            self._node_present(await self._transport.get(NODES, Key("", name)))
        except NotFound:
            if name in self.nodes:
                self._forget_node(name)

    async def _do_node(self, node: Node) -> None:
        """Its status, after it came, came back or was said to be lost."""
        if self._stages is not None and self._stages.lives("Node"):
            await self._do_stage(("node", node.name), NODES, node.object, node, lambda: node.ip)
            return
        if not self._needs_status(node.object):
            return
        now, old = self._clock.now(), node.object.get("status") or {}
        wanted = machines.status(node.object, node.ip, now)
        patch = {key: value for key, value in wanted.items() if old.get(key) != value}
        await self._patch_node(node, patch, now)

    async def _patch_node(self, node: Node, status: dict[str, Any], now: float) -> None:
        body = {"metadata": {"uid": uid_of(node.object)}, "status": status}
        try:
            node.object = await self._transport.patch(
                NODES, Key("", node.name), body, kind="strategic", subresource="status"
            )
        except NotFound:  # its watch tells; and so it does where a namesake has its place
            return
        node.status_at = now

    async def _do_beat(self, node: Node) -> None:
        now = self._clock.now()
        self._beats.set(("beat", node.name), now + self._period)
        await self._renew(node, now)
        if now - node.status_at >= STATUS_EVERY and not (self._stages and self._stages.lives("Node")):
            if node.status_at:
                await self._patch_node(node, {"conditions": machines.conditions(node.object, now)}, now)
            else:
                node.status_at = now

    async def _renew(self, node: Node, now: float) -> None:
        key, spec = Key(LEASE_NAMESPACE, node.name), machines.renewed(node.name, now)
        if node.has_lease:  # it is as we left it, but for the time
            spec = {"renewTime": spec["renewTime"]}
        elif await self._has_new_lease(node, now):
            return
        try:
            await self._transport.patch(LEASES, key, {"spec": spec})
            node.has_lease = True
        except NotFound:  # somebody has deleted it
            node.has_lease = False
            await self._has_new_lease(node, now)

    async def _has_new_lease(self, node: Node, now: float) -> bool:
        try:
            await self._transport.create(LEASES, machines.lease(node.object, now), namespace=LEASE_NAMESPACE)
        except AlreadyExists:
            return False
        node.has_lease = True
        return True

    # ---- pods

    async def _follow_pods(self) -> None:
        async for news in follow(self._transport, self._clock, PODS):
            if isinstance(news, Replaced):
                self._replace(news.objects)
            else:
                change = self._gone if news.is_deleted else self._present
                self._try(_find(news.object), change, news.object)

    def _replace(self, pods: Sequence[Object]) -> None:
        present = {uid_of(pod) for pod in pods}
        for uid in [uid for uid in self._held if uid not in present]:
            self._forget(uid)
        self._elsewhere.clear()
        for pod in pods:
            self._try(_find(pod), self._present, pod)

    def _gone(self, pod: Object) -> None:
        self._forget(uid_of(pod))
        self._expect_no_more(key_of(pod))
        name = pod["spec"].get("nodeName")
        others = self._elsewhere.get(name)
        if others is not None:
            others.pop(key_of(pod), None)
            if not others:
                del self._elsewhere[name]

    def _present(self, pod: Object) -> None:
        name = pod["spec"].get("nodeName")
        if not name:
            return
        uid, version = uid_of(pod), int(pod["metadata"]["resourceVersion"])
        held = self._held.get(uid)
        if held is None:
            node = self.nodes.get(name)
            if node is None:
                self._elsewhere.setdefault(name, {})[key_of(pod)] = address_in_use(pod)
                return
            self._expect_no_more(key_of(pod))
            held = self._held[uid] = self._taken_up(pod, node, version)
        elif held.is_busy:
            held.newer = pod  # perhaps what we are writing: that is known when it is answered
            return
        elif version <= held.version:
            return  # what we wrote ourselves
        elif held.amounts is not None:  # it may have been resized
            held.hold(podresources.requests(pod))
        held.pod, held.version = pod, version
        self._queue.add(("pod", uid))

    def _taken_up(self, pod: Object, node: Node, version: int) -> Held:
        held = Held(key_of(pod), node, lives.restored(pod, node.ip, self._clock.now()), pod, version)
        held.keep_address(address_in_use(pod), self._ranges(node))
        if not held.life.is_stopped and (pod.get("status") or {}).get("startTime"):  # it was admitted before
            held.hold(podresources.requests(pod))
        node.pods.add(uid_of(pod))
        return held

    def _ranges(self, node: Node) -> tuple[Addresses, ...]:
        """That its pods' addresses may be of: a pod may be older than its node's own."""
        return (node.addresses, self._shared_addresses)

    def _expect_no_more(self, key: Key) -> None:
        if (found := self._expected.pop(key, None)) is not None:
            addresses, address = found
            addresses.free(address)

    def _forget(self, uid: str) -> Held | None:
        held = self._held.pop(uid, None)
        if held is None:
            return None
        held.node.pods.discard(uid)
        self._tell(held)
        self._wheel.set(("pod", uid), None)
        held.free_address()
        held.hold(None)
        if self._stages is not None:
            self._stages.forget(uid)
        return held

    async def _do_pod(self, uid: str) -> None:
        held = self._held.get(uid)
        if held is None or held.node.is_stopped:
            return
        try:
            pod = await self.pod(held)
        except NotFound:
            self._forget(uid)
            return
        if uid_of(pod) != uid:  # a namesake has its place
            self._forget(uid)
            return
        held.is_busy = True
        try:
            if self._stages is not None and self._stages.lives("Pod"):
                await self._do_stage(("pod", uid), PODS, pod, held.node, held.take_address)
                if (pod.get("status") or {}).get("phase") in FINAL:
                    held.free_address()
            else:
                await self._carry_out(held, pod)
        except (NotFound, Conflict, Invalid):
            held.pod = None  # gone, or not what we know: read again
            raise
        finally:
            held.is_busy = False
            self._tell(held)
            newer, held.newer = held.newer, None
            if newer is not None:
                self._present(newer)

    async def _do_find(self, who: str) -> None:
        """A pod that was bound to its node before that was known."""
        namespace, _, name = who.partition("/")
        key = Key(namespace, name)
        try:
            pod = await self._transport.get(PODS, key)
        except NotFound:
            self._expect_no_more(key)
            return
        self._present(pod)

    async def _admit(self, held: Held, pod: Object) -> None:
        """As kubelet: what does not fit, or does not belong there, whoever bound it, has failed."""
        wanted, node = podresources.requests(pod), held.node
        if node.refusal(pod, wanted) is not None:  # who bound it may have seen a newer node
            node.object = await self._transport.get(NODES, Key("", node.name))
            if not self.holds(held):  # gone meanwhile
                return
        refusal = node.refusal(pod, wanted)
        if refusal is None:
            held.hold(wanted)
            return
        held.life.failure = (refusal.reason, refusal.message)
        self.recorder.record(pod, "Warning", refusal.reason, refusal.message.removeprefix(REJECTED))

    async def _carry_out(self, held: Held, pod: Object) -> None:
        life = held.life
        if held.amounts is None and life.failure is None and not life.is_stopped and not is_deleting(pod):
            await self._admit(held, pod)
        step = lives.step(held.life, pod, self._clock.now(), held.take_address)
        if held.life.is_stopped:
            held.free_address()
            held.hold(None)
        self._record(pod, step)
        self._wheel.set(("pod", held.life.uid), step.wake_at)
        old: podstatus.Status = pod.get("status") or {}
        if step.status and podstatus.changes(old, step.status):
            version = pod["metadata"]["resourceVersion"]
            # A merge patch, for of all writes it costs the server least. It is made for this version, so that the
            # lists, which it replaces, lose nothing that others have put into them.
            body = {"metadata": {"resourceVersion": version}, "status": _merged(old, step.status)}
            pod = await self._transport.patch(PODS, held.key, body, subresource="status")
            held.version = int(pod["metadata"]["resourceVersion"])
        if step.is_gone:
            await self._transport.delete(PODS, held.key, uid=held.life.uid, grace_period=0)
            return
        held.pod = pod if step.wake_at is not None else None

    def _record(self, pod: Object, step: Step) -> None:
        for told in step.events:
            self.recorder.record(pod, told.type, told.reason, told.message, container=told.container)

    # ---- lives that are written as Stages

    async def _do_stage(
        self, work: Work, resource: Resource, obj: Object, node: Node, address: Callable[[], str]
    ) -> None:
        assert self._stages is not None
        again = await self._stages.look(resource, obj, node.name, node.ip, address)
        self._wheel.set(work, again)
        held = self._held.get(work[1])
        if held is not None and again is None:
            held.pod = None


def _find(pod: Object) -> Work:
    return ("find", f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")


def _merged(old: podstatus.Status, new: podstatus.Status) -> podstatus.Status:
    """What makes the one into the other; what others keep in a pod's status stays."""
    patch: podstatus.Status = {key: value for key, value in new.items() if old.get(key) != value}
    return patch | {key: None for key in old if key in OWN and key not in new}
