"""A runtime without containers: pods start, run their time and end, in memory and on the clock they are given.

How a container behaves is said by an annotation of its pod (`simulation.behaviour`). Without it a container runs until
it is stopped, or ends well after a moment when it is expected to end by itself (an init container, or a pod that is
not restarted). Every image exists, but for those that
`missing_images` names. Cheap enough for tens of thousands of pods in one process.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from timonel.aio.clock import Clock, Timer
from timonel.node.cri.errors import InvalidArgument, Missing, NotSupported, RuntimeFailure
from timonel.node.cri.runtime import (
    Auth,
    Condition,
    Container,
    ContainerConfig,
    ContainerState,
    ExecResult,
    Image,
    Resources,
    RuntimeEvent,
    Sandbox,
    SandboxConfig,
    SandboxState,
    Stats,
    Streams,
    Version,
)
from timonel.node.podruntime import POD_UID, RUNS_TO_END
from timonel.node.simulation.behaviour import Behaviour, Unclear, behaviour_of
from timonel.objects.meta import format_micro_time

IMAGE_SIZE = 4_194_304
# No colons: kubectl reads what a node refuses an upgrade with as YAML first, and shows it only if it is none.
NO_PROCESS = "this node simulates its containers, there is no process to run a command in"
NO_PORT = "this node simulates its containers, there is no port to forward to"


class SimulatedRuntime:
    """One per node. `pod_cidr` is where addresses come from."""

    def __init__(
        self, clock: Clock, pod_cidr: str = "10.244.0.0/16", *, missing_images: Iterable[str] = ()
    ) -> None:
        self._clock = clock
        self._missing = frozenset(missing_images)
        self._fresh_ips: Iterator[str] = map(
            str, itertools.islice(ipaddress.ip_network(pod_cidr).hosts(), 1, None)
        )
        self._freed_ips: list[str] = []
        self._numbers = itertools.count(1)
        self._sandboxes: dict[str, Sandbox] = {}
        self._names: set[tuple[str, int]] = set()  # (uid, attempt) of sandboxes that exist
        self._containers: dict[str, Container] = {}
        self._by_sandbox: dict[str, set[str]] = {}
        self._by_uid: dict[str, set[str]] = {}  # pod uid -> its sandboxes
        self._behaviours: dict[str, Behaviour] = {}
        self._timers: dict[str, Timer] = {}
        self._images: dict[str, Image] = {}
        self._subscribers: list[asyncio.Queue[RuntimeEvent]] = []

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _id(self) -> str:
        return hashlib.sha256(f"{id(self)} {next(self._numbers)}".encode()).hexdigest()

    def _tell(self, kind: str, id_: str) -> None:
        for queue in self._subscribers:
            queue.put_nowait(RuntimeEvent(kind, id_))

    # ---- runtime

    async def version(self) -> Version:
        return Version("simulated", "1.0.0")

    async def conditions(self) -> Sequence[Condition]:
        return [Condition("RuntimeReady", True), Condition("NetworkReady", True)]

    async def events(self) -> AsyncGenerator[RuntimeEvent, None]:
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._subscribers.append(queue)
        try:
            yield RuntimeEvent("lost")
            while True:
                yield await queue.get()
        finally:
            self._subscribers.remove(queue)

    async def stats(self) -> Sequence[Stats]:
        now = self._clock.now()
        return [
            Stats(
                c.id,
                c.labels,
                now,
                int((now - c.started_at) * 1e6 * how.cpu),
                how.memory,
                how.memory,
                how.memory // 2,
                1 << 12,
                int(how.cpu * 1e6),
            )
            for c in self._containers.values()
            if c.state is ContainerState.RUNNING and (how := self._behaviours[c.id])
        ]

    # ---- sandboxes

    async def run_sandbox(self, config: SandboxConfig, handler: str = "") -> str:
        if (config.uid, config.attempt) in self._names:
            raise RuntimeFailure(
                f'failed to reserve sandbox name "{config.name}_{config.attempt}": name is reserved'
            )
        host_network = config.namespaces.network == "node"
        ips = () if host_network else (self._address(),)
        sandbox = Sandbox(
            id=self._id(),
            name=config.name,
            uid=config.uid,
            namespace=config.namespace,
            attempt=config.attempt,
            state=SandboxState.READY,
            created_at=self._clock.now(),
            ips=ips,
            labels=config.labels,
            annotations=config.annotations,
        )
        self._names.add((config.uid, config.attempt))
        self._sandboxes[sandbox.id] = sandbox
        self._by_sandbox[sandbox.id] = set()
        self._by_uid.setdefault(config.uid, set()).add(sandbox.id)
        return sandbox.id

    def _address(self) -> str:
        if self._freed_ips:
            return self._freed_ips.pop()
        found = next(self._fresh_ips, None)
        if found is None:
            raise RuntimeFailure("no IP addresses available in range set")
        return found

    async def stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.state is SandboxState.NOT_READY:
            return
        for container_id in self._by_sandbox[sandbox_id]:
            self._end(container_id, 137)
        self._freed_ips.extend(sandbox.ips)
        self._sandboxes[sandbox_id] = replace(sandbox, state=SandboxState.NOT_READY, ips=())
        self._tell("exit", sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is None:
            return
        self._names.discard((sandbox.uid, sandbox.attempt))
        self._by_uid[sandbox.uid].discard(sandbox_id)
        if not self._by_uid[sandbox.uid]:
            del self._by_uid[sandbox.uid]
        for container_id in self._by_sandbox.pop(sandbox_id):
            self._containers.pop(container_id, None)
            self._behaviours.pop(container_id, None)

    async def sandbox_status(self, sandbox_id: str) -> Sandbox:
        found = self._sandboxes.get(sandbox_id)
        if found is None:
            raise Missing(f'an error occurred when try to find sandbox "{sandbox_id}": not found')
        return found

    async def list_sandboxes(self, labels: Mapping[str, str] | None = None) -> Sequence[Sandbox]:
        found = map(self._sandboxes.__getitem__, self._sandbox_ids(labels))
        # Those that have stopped have none, and many of them may be kept.
        return [replace(s, ips=()) if s.ips else s for s in found if _matches(s.labels, labels)]

    def _sandbox_ids(self, labels: Mapping[str, str] | None) -> Iterable[str]:
        """Those worth looking at: one pod's, if it is one pod that is asked for."""
        uid = (labels or {}).get(POD_UID)
        return self._by_uid.get(uid, ()) if uid is not None else self._sandboxes.keys()

    def now(self) -> float:
        return self._clock.now()

    def behaviour(self, container_id: str) -> Behaviour | None:
        """How a container behaves; None for one that is gone."""
        return self._behaviours.get(container_id)

    # ---- containers

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        owner = await self.sandbox_status(sandbox_id)
        if owner.state is not SandboxState.READY:
            raise RuntimeFailure(f"sandbox {sandbox_id} is not running")
        for other in map(self._containers.__getitem__, self._by_sandbox[sandbox_id]):
            if (other.name, other.attempt) == (config.name, config.attempt):
                raise RuntimeFailure(
                    f'failed to reserve container name "{config.name}_{config.attempt}": '
                    f'name is reserved for "{other.id}"'
                )
        image = await self.image_status(config.image)
        runs_to_end = config.annotations.get(RUNS_TO_END) == "true"
        try:
            behaviour = behaviour_of(config.name, owner.annotations, runs_to_end=runs_to_end)
        except Unclear as e:
            raise InvalidArgument(str(e)) from e
        container = Container(
            id=self._id(),
            sandbox_id=sandbox_id,
            name=config.name,
            attempt=config.attempt,
            state=ContainerState.CREATED,
            image=config.image,
            image_ref=image.digests[0] if image is not None else config.image,
            created_at=self._clock.now(),
            labels=config.labels,
            annotations=config.annotations,
            log_path=f"{sandbox.log_directory}/{config.log_path}",
        )
        self._containers[container.id] = container
        self._behaviours[container.id] = behaviour
        self._by_sandbox[sandbox_id].add(container.id)
        return container.id

    async def start_container(self, container_id: str) -> None:
        container = await self.container_status(container_id)
        if container.state is not ContainerState.CREATED:
            raise RuntimeFailure(f"container {container_id} is not in created state")
        behaviour = self._behaviours[container_id]
        delay = behaviour.start_delay + (behaviour.pull_delay if container.attempt == 0 else 0)
        if delay:
            await self._clock.sleep(delay)
        now = self._clock.now()
        self._containers[container_id] = replace(container, state=ContainerState.RUNNING, started_at=now)
        if behaviour.run_for is not None:
            reason = "OOMKilled" if behaviour.is_oom else ""
            self._timers[container_id] = self._clock.call_later(
                behaviour.run_for,
                lambda: self._end(container_id, behaviour.code_of(container.attempt), reason),
            )

    def _end(self, container_id: str, code: int, reason: str = "") -> None:
        container = self._containers.get(container_id)
        if container is None or container.state is not ContainerState.RUNNING:
            return
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        self._containers[container_id] = replace(
            container,
            state=ContainerState.EXITED,
            finished_at=self._clock.now(),
            exit_code=code,
            reason=reason or ("Completed" if code == 0 else "Error"),
        )
        self._tell("exit", container_id)

    async def stop_container(self, container_id: str, timeout: float) -> None:
        """Simulated processes heed TERM and end well, as soon as their behaviour lets them."""
        how = self._behaviours.get(container_id)
        takes = how.stop_delay if how is not None else 0.0
        if takes and timeout > 0:
            await self._clock.sleep(min(takes, timeout))
        self._end(container_id, 0 if takes < timeout else 137)

    async def remove_container(self, container_id: str) -> None:
        self._end(container_id, 137)
        container = self._containers.pop(container_id, None)
        if container is not None:
            self._by_sandbox[container.sandbox_id].discard(container_id)
            self._behaviours.pop(container_id, None)

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        container = await self.container_status(container_id)
        if container.state is not ContainerState.RUNNING:
            raise RuntimeFailure(f"container is in {container.state} state")

    async def list_containers(self, labels: Mapping[str, str] | None = None) -> Sequence[Container]:
        ids = itertools.chain.from_iterable(map(self._by_sandbox.__getitem__, self._sandbox_ids(labels)))
        return [c for c in map(self._containers.__getitem__, ids) if _matches(c.labels, labels)]

    async def container_status(self, container_id: str) -> Container:
        found = self._containers.get(container_id)
        if found is None:
            raise Missing(f'an error occurred when try to find container "{container_id}": not found')
        return found

    async def reopen_log(self, container_id: str) -> None:
        await self.container_status(container_id)

    async def log_text(self, container_id: str) -> bytes | None:
        container = await self.container_status(container_id)
        lines = self._behaviours[container_id].log or (
            f"{container.name}: simulated container started",
            f"{container.name}: nothing runs here, this node simulates its containers",
        )
        when = format_micro_time(container.started_at)
        return b"".join(f"{when} stdout F {line}\n".encode() for line in lines)

    # ---- streams

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: float = 0) -> ExecResult:
        """Hooks and probes succeed; nobody can look at output that was never made."""
        container = await self.container_status(container_id)
        if container.state is not ContainerState.RUNNING:
            raise RuntimeFailure(f"container is in {container.state} state")
        return ExecResult(0)

    async def exec_url(self, container_id: str, command: Sequence[str], streams: Streams) -> str:
        raise NotSupported(NO_PROCESS)

    async def attach_url(self, container_id: str, streams: Streams) -> str:
        raise NotSupported(NO_PROCESS)

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        raise NotSupported(NO_PORT)

    # ---- images

    async def pull_image(self, image: str, auth: Auth | None = None) -> str:
        if image in self._missing:
            raise Missing(
                f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
            )
        found = self._images.get(image)
        if found is None:
            digest = f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
            repository = image.rsplit(":", 1)[0] if ":" in image.rsplit("/", 1)[-1] else image
            found = self._images[image] = Image(digest, (image,), (f"{repository}@{digest}",), IMAGE_SIZE)
        return found.id

    async def image_status(self, image: str) -> Image | None:
        """By name or by id."""
        return self._images.get(image) or next((i for i in self._images.values() if i.id == image), None)

    async def list_images(self) -> Sequence[Image]:
        return list(self._images.values())

    async def remove_image(self, image: str) -> None:
        self._images = {name: i for name, i in self._images.items() if image not in (name, i.id)}

    async def mount_image(self, image: str, path: str) -> None:
        """Nothing is mounted on a simulated node."""

    async def unmount_image(self, path: str) -> None:
        """Nothing was mounted."""


def _matches(labels: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    return not wanted or all(labels.get(k) == v for k, v in wanted.items())
