"""The node agent as one service: what it needs, what it is made of, the order of its start.

    runtime answers -> node registered -> pods taken up (what already runs is adopted) -> HTTPS server listens -> ready

Everything runs in one loop. Cancelling `run` leaves all containers running; the next agent finds them by their labels.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import cast

from timonel.aio.clock import Clock, outside, upkeep
from timonel.aio.threads import Threads
from timonel.client.events import EventRecorder
from timonel.client.transport import Resource, Transport
from timonel.node import (
    api,
    cgroups,
    credentialproviders,
    diskusage,
    logind,
    machine,
    nodestatus,
    pressure,
    shutdownplan,
)
from timonel.node.access import Reviews
from timonel.node.admission import Abilities
from timonel.node.cpus import CpuPool
from timonel.node.credentialproviders import CredentialProviders
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Dns, Runtime, Version
from timonel.node.eviction import Evictions
from timonel.node.follow import Replaced, Watched, follow
from timonel.node.heartbeat import Heartbeat
from timonel.node.hooks import Hooks
from timonel.node.housekeeping import Housekeeping
from timonel.node.imagerecords import PullRecords
from timonel.node.images import Credentials, ImageManager
from timonel.node.imagesettings import ImageSettings
from timonel.node.localpath import LocalPathProvisioner
from timonel.node.measures import Measures
from timonel.node.nearby import NearbyServer
from timonel.node.nodestatus import Identity, Machine, Observed
from timonel.node.plugins.csi import CsiDrivers
from timonel.node.plugins.devices import DeviceManager
from timonel.node.plugins.podresources import PodResources
from timonel.node.plugins.registry import PluginRegistry
from timonel.node.podrunner import Surroundings
from timonel.node.pods import Pods
from timonel.node.podspec import NodeFacts
from timonel.node.preparation import Workshop
from timonel.node.probes import NetworkProber, Prober
from timonel.node.shutdown import Shutdown
from timonel.node.shutdownplan import Period
from timonel.node.staticpods import ManifestFolder, Mirrors
from timonel.node.statuswriter import StatusWriter
from timonel.node.tokens import Tokens
from timonel.node.volumes import image
from timonel.node.volumes.csi import CsiVolumes
from timonel.node.volumes.image import ImageVolumes
from timonel.objects.meta import Object, key_of
from timonel.records import dataclass

logger = logging.getLogger(__name__)

SERVICES = Resource("", "v1", "services", True)
RUNTIME_RETRY = 0.1
KUBELET = Path("/var/lib/kubelet")
CPU_STATE = "cpu_manager_state"
IMAGE_PULLS = "image-pulls.json"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """`directory` holds everything of this node; short, since sockets live below it. `server` is the HTTPS server's
    certificate and whom it lets in; without it the agent has none (see `nearby` of NodeAgent).

    `is_simulated`: nothing is made on the machine (directories, cgroups, volumes) and probes always pass; for use with
    `SimulatedRuntime`. `machine` overrides what would be read from the machine."""

    name: str
    ip: str
    directory: Path
    pod_cidr: str = ""
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    server: api.ServerConfig | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    max_pods: int = 110
    provider_id: str = ""
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    cpu_policy: str = "none"  # static: processors of their own for those who ask for whole ones
    reserved_cpus: frozenset[int] = frozenset()
    reserved: Mapping[str, int] = field(default_factory=dict)  # thousandths of cpu, else whole units
    bounds_pods: bool = True  # all together have no more than what is not reserved
    pids_limit: int = 0  # of each pod; 0 is none
    static_pods: Path | None = None  # the folder of manifests; None: `manifests` in the node's directory
    eviction: pressure.Settings = field(default_factory=lambda: pressure.settings({}))
    images: ImageSettings = field(default_factory=ImageSettings)
    shutdown: tuple[Period, ...] = ()  # none: pods go down with the machine
    is_simulated: bool = False
    machine: Machine | None = None


class NodeAgent:
    """Needs `transport` with the rights of system:node:NAME in system:nodes.

    `storage` is for the local-path provisioner, which makes volumes, as a node may not; it takes the node's otherwise.
    `nearby` serves an API server in the same process, instead of an HTTPS server.
    """

    name = "node-agent"

    def __init__(
        self,
        config: NodeConfig,
        transport: Transport,
        runtime: Runtime,
        clock: Clock,
        *,
        storage: Transport | None = None,
        nearby: NearbyServer | None = None,
        measures: Measures | None = None,
    ) -> None:
        self._measures = measures or Measures(clock.monotonic)
        self._config = config
        self._nearby = nearby
        self._storage = storage or transport
        self._transport = transport
        self._runtime = runtime
        self._clock = clock
        self._services: dict[object, Object] = {}
        self._services_known = asyncio.Event()
        self._version = Version("", "")
        self._machine: Machine | None = config.machine
        self._evictions: Evictions | None = None
        self._csi: CsiVolumes | None = None
        self._devices: DeviceManager | None = None
        self._cpus: CpuPool | None = None
        self._shutdown: Shutdown | None = None

    def shut_down(self) -> None:
        """The machine is going down: pods end within their times, if any are configured."""
        if self._shutdown is not None:
            self._shutdown.begin()

    async def run(self, ready: asyncio.Event) -> None:
        threads = Threads(f"node-{self._config.name}", 2)
        try:
            await self._run(ready, threads)
        finally:
            threads.close()

    async def _run(self, ready: asyncio.Event, threads: Threads) -> None:
        config, clock = self._config, self._clock
        await self._wait_for_runtime()
        if not config.is_simulated:
            await threads.run(self._make_directories)
        first = await self._read_machine()
        recorder = EventRecorder(self._transport, clock, "kubelet", host=config.name)
        statuses = StatusWriter(self._transport, clock)
        pods_box: list[Pods] = []
        watched = Watched(self._transport, clock, lambda r, k: pods_box[0].references_changed(r, k))
        facts = self._facts(first)
        if not config.is_simulated:
            await threads.run(self._bound_pods, facts.cgroup_root, first)
        identity = self._identity(0)
        hosts = self._hosts()
        if hosts is not None:
            identity = self._identity(await hosts.bind())
        heartbeat = Heartbeat(self._transport, upkeep(clock), identity, self._observe)
        runtime_name = self._version.name or "containerd"
        around = Surroundings(
            clock=clock,
            runtime=self._runtime,
            records=recorder,
            hooks=Hooks(self._runtime, clock),
            prober=self._prober(),
            statuses=statuses,
            node=facts,
            runtime_name=runtime_name,
            exits={},
            owners={},
            measures=self._measures,
        )
        drivers = CsiDrivers(self._transport, config.name)
        if not config.is_simulated:
            self._csi = CsiVolumes(
                self._transport, drivers, clock, threads, node=config.name, root=self._as_kubelet()
            )
            self._devices = DeviceManager(config.directory / "device-plugins", clock, runtime=self._version)
            await threads.run(self._devices.open)
            if config.cpu_policy == "static":
                self._cpus = machine.cpu_pool(config.reserved_cpus, config.directory / CPU_STATE)
        tokens = Tokens(self._transport, clock)
        pulls = None
        if not config.is_simulated:
            pulls = PullRecords(config.directory / IMAGE_PULLS, config.images.verification)
            await threads.run(pulls.open)
        images = self._image_manager()(
            self._runtime,
            clock,
            recorder,
            at_once=config.images.pulls_at_once,
            credentials=await self._credentials(tokens, threads),
            pulls=pulls,
            measures=self._measures,
        )
        shop = Workshop(
            clock=clock,
            transport=self._transport,
            runtime=self._runtime,
            images=images,
            watched=watched,
            tokens=tokens,
            threads=threads,
            node=facts,
            room=None if config.is_simulated else config.directory / "pods",
            services=lambda: list(self._services.values()),
            allocatable=lambda: nodestatus.allocatable(identity, self._machine or first),
            node_object=lambda: heartbeat.node or None,
            abilities=Abilities(unsafe_sysctls=config.allowed_unsafe_sysctls),
            services_known=self._services_known,
            pressures=self._pressures,
            csi=self._csi,
            image_volumes=ImageVolumes(self._runtime, images, threads),
            devices=self._devices,
            cpus=self._cpus,
            spread=lambda: pods_box[0].spread(),
            is_closing=lambda: self._shutdown is not None and self._shutdown.is_under_way,
        )
        folder = ManifestFolder(self._manifests(), config.name, clock, threads)
        mirrors = Mirrors(self._transport, clock, statuses, lambda: heartbeat.node or None)
        pods = Pods(around, shop, folder, mirrors)
        pods_box.append(pods)
        taken_up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.run(asyncio.Event()), name=recorder.name)
            group.create_task(statuses.run(), name="pod statuses")
            group.create_task(watched.run(), name="configmaps and secrets")
            group.create_task(self._follow_services(), name="services")
            group.create_task(pods.run(taken_up), name="pods")  # static pods wait for nobody
            await heartbeat.register()
            group.create_task(heartbeat.run(), name="heartbeat")
            ending = self._shutdown = Shutdown(
                config.shutdown, clock, recorder, pods.runners, lambda: heartbeat.node, heartbeat.tell
            )
            group.create_task(ending.run(), name="shutdown")
            if config.shutdown and not config.is_simulated and logind.is_there():
                group.create_task(logind.Logind(ending, clock).run(), name="logind")
            if not config.is_simulated:
                assert self._devices is not None
                registry = PluginRegistry(
                    config.directory / "plugins_registry",
                    clock,
                    threads,
                    {"CSIPlugin": drivers, "DevicePlugin": self._devices},
                )
                group.create_task(registry.run(), name="plugins")
                group.create_task(self._devices.run(), name="device plugins")
                lister = PodResources(
                    config.directory / "pod-resources" / "kubelet.sock",
                    self._devices,
                    self._cpus,
                    lambda: [r.pod for r in pods.runners() if r.holds_resources],
                )
                group.create_task(lister.run(), name="pod resources")
                provisioner = LocalPathProvisioner(
                    self._storage, clock, recorder, {config.name}, config.directory / "volumes"
                )
                group.create_task(provisioner.run(), name="local-path provisioner")
                chores = Housekeeping(
                    self._runtime,
                    clock,
                    threads,
                    lambda: (r.runtime for r in pods.runners()),
                    self._read_machine,
                    config.images,
                    (recorder, lambda: heartbeat.node),
                    lambda: (name for r in pods.runners() for name in image.names(r.pod)),
                    pulls,
                )
                group.create_task(chores.run(), name="housekeeping")
                self._evictions = Evictions(
                    settings=config.eviction,
                    runtime=self._runtime,
                    clock=clock,
                    threads=threads,
                    records=recorder,
                    runners=pods.runners,
                    supplies=self._supplies,
                    free_images=chores.free_images,
                    room=config.directory / "pods",
                    log_root=facts.log_root,
                    measures=self._measures,
                )
                group.create_task(self._evictions.run(), name="evictions")
            await taken_up.wait()
            if hosts is not None:
                handler = api.NodeApi(
                    pods,
                    self._runtime,
                    clock,
                    heartbeat,
                    threads,
                    facts=facts,
                    measures=self._measures,
                    shutdown=lambda: (ending.started_at, ending.ended_at),
                    is_simulated=config.is_simulated,
                )
                group.create_task(hosts.serve(handler), name="node api")
            recorder.record(heartbeat.node, "Normal", "Starting", "Starting kubelet.")
            ready.set()

    async def _credentials(self, tokens: Tokens, threads: Threads) -> Credentials | None:
        """For images, from programs that the administrator named, if any. Raises ValueError."""
        config = self._config.images
        if config.providers is None or config.programs is None:
            return None
        found = await threads.run(credentialproviders.read, config.providers, config.programs)
        return CredentialProviders(found, config.programs, self._transport, tokens, self._clock).credentials

    def _as_kubelet(self) -> Path:
        """The node's directory under the name that plugins know it by, if it has that."""
        own = self._config.directory
        return KUBELET if KUBELET.exists() and KUBELET.samefile(own) else own

    def _manifests(self) -> Path | None:
        config = self._config
        if config.static_pods is not None or config.is_simulated:
            return config.static_pods
        return config.directory / "manifests"

    def _prober(self) -> Prober:
        if not self._config.is_simulated:
            return NetworkProber(self._runtime)
        from timonel.node.cri.simulated import SimulatedRuntime  # real nodes do without
        from timonel.node.simulated import SimulatedProber

        return SimulatedProber(cast(SimulatedRuntime, self._runtime))

    def _image_manager(self) -> type[ImageManager]:
        if not self._config.is_simulated:
            return ImageManager
        from timonel.node.simulated import SimulatedImages

        return SimulatedImages

    def _hosts(self) -> api.HttpsServer | NearbyServer | None:
        """Where the agent's API is served, if anywhere."""
        config = self._config
        if config.server is None:
            return self._nearby
        reviews = Reviews(self._transport, outside(self._clock), config.name)
        return api.HttpsServer(config.server, config.ip, reviews)

    # ---- facts

    async def _wait_for_runtime(self) -> None:
        while True:
            try:
                self._version = await self._runtime.version()
                return
            except RuntimeFailure as e:
                logger.info("Waiting for the container runtime", extra={"error": e.message})
                await self._clock.sleep(RUNTIME_RETRY)

    def _make_directories(self) -> None:
        directory = self._config.directory
        for name in ("pods", "logs", "volumes", "seccomp", "manifests", "pod-resources"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "pods").chmod(0o711)

    def _bound_pods(self, group: str, found: Machine) -> None:
        reserved = self._config.reserved if self._config.bounds_pods else {}
        memory = max(found.memory - reserved["memory"], 1) if reserved.get("memory") else 0
        pids = max(found.pids - reserved["pid"], 1) if reserved.get("pid") else 0
        try:
            cgroups.bound(group, memory=memory, pids=pids)
        except OSError as e:
            logger.warning("Could not hold pods to what can be allocated", extra={"error": str(e)})

    async def _read_machine(self) -> Machine:
        if self._config.machine is not None:
            return self._config.machine
        found = machine.read(self._config.name, self._config.directory)
        if self._machine is not None:  # capacity does not change while we run
            found = replace(
                found, memory=self._machine.memory, cpus=self._machine.cpus, disk=self._machine.disk
            )
        self._machine = found
        return found

    async def _observe(self) -> Observed:
        try:
            conditions = list(await self._runtime.conditions())
            images = list(await self._runtime.list_images())
        except RuntimeFailure:
            found = await self._read_machine()
            return Observed(self._clock.now(), found, str(self._version), None, (), self._pressures())
        found = await self._read_machine()
        in_use = await self._csi.in_use() if self._csi is not None else ()
        version = str(self._version)
        return Observed(
            self._clock.now(),
            found,
            version,
            conditions,
            images,
            self._pressures(),
            volumes_in_use=in_use,
            devices=self._devices.counts() if self._devices is not None else {},
            tells_handlers=not self._config.is_simulated,
            problem=self._problem(),
        )

    def _problem(self) -> str:
        is_closing = self._shutdown is not None and self._shutdown.is_under_way
        return shutdownplan.NOT_READY if is_closing else ""

    def _pressures(self) -> frozenset[str]:
        return self._evictions.conditions if self._evictions is not None else frozenset()

    async def _supplies(self) -> pressure.Supplies:
        found = await self._read_machine()
        return diskusage.supplies(
            self._config.directory,
            (found.memory_available, found.memory),
            (found.pids - found.pids_used, found.pids),
        )

    def _identity(self, port: int) -> Identity:
        c = self._config
        return Identity(
            name=c.name,
            ip=c.ip,
            port=port,
            max_pods=c.max_pods,
            labels=c.labels,
            annotations=c.annotations,
            taints=c.taints,
            pod_cidr=c.pod_cidr,
            provider_id=c.provider_id,
            reserved=c.reserved,
        )

    def _facts(self, found: Machine) -> NodeFacts:
        c = self._config
        return NodeFacts(
            name=c.name,
            ip=c.ip,
            cluster_domain=c.cluster_domain,
            cluster_dns=c.cluster_dns,
            host_dns=Dns() if c.is_simulated else machine.host_dns(),
            cgroup_root=f"/kubepods-{c.name}",
            log_root=str(c.directory / "logs"),
            seccomp_root=str(c.directory / "seccomp"),
            memory_capacity=found.memory,
            pids_limit=c.pids_limit,
        )

    async def _follow_services(self) -> None:
        async for news in follow(self._transport, self._clock, SERVICES):
            if isinstance(news, Replaced):
                self._services = {key_of(s): s for s in news.objects}
                self._services_known.set()
            elif news.is_deleted:
                self._services.pop(key_of(news.object), None)
            else:
                self._services[key_of(news.object)] = news.object
