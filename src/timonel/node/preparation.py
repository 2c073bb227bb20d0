"""What has to be in place for one pod's sandbox and containers: directories, cgroup, volumes, image, environment.

The runner decides when; this knows how. A node whose runtime is simulated has no `room`: nothing
is made on the machine then.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import NotFound, StatusError
from timonel.node import cgroups, cpus, envfile, environment, loglinks, manifests, podspec
from timonel.node.admission import Abilities
from timonel.node.cpus import CpuPool
from timonel.node.cri.runtime import Container, Device, Image, Mount, Runtime, Sandbox
from timonel.node.environment import ConfigError, Sources
from timonel.node.follow import Watched
from timonel.node.images import ImageManager
from timonel.node.plugins.devices import NO_GEAR, DeviceManager, Gear
from timonel.node.plugins.rpc import PluginFailed
from timonel.node.podruntime import POD_UID, PodRuntime
from timonel.node.podspec import ContainerParts, NodeFacts
from timonel.node.references import References, references
from timonel.node.relist import read_pod
from timonel.node.tokens import Tokens
from timonel.node.volumes import mounts
from timonel.node.volumes.container_mounts import container_devices, container_mounts
from timonel.node.volumes.csi import CsiVolumes
from timonel.node.volumes.image import ImageVolumes
from timonel.node.volumes.manager import PodVolumes, read_only
from timonel.node.volumes.source import Context, VolumeError
from timonel.node.volumes.subpath import read_below
from timonel.objects.meta import Key, Object, uid_of
from timonel.records import dataclass

CONFIG_MAPS = Resource("", "v1", "configmaps", True)
SECRETS = Resource("", "v1", "secrets", True)
RUNTIME_CLASSES = Resource("node.k8s.io", "v1", "runtimeclasses", False)
CLAIMS = Resource("", "v1", "persistentvolumeclaims", True)
VOLUMES = Resource("", "v1", "persistentvolumes", False)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all pods' preparations share. `room` is where pods' directories are; None: nothing real is made."""

    clock: Clock
    transport: Transport
    runtime: Runtime
    images: ImageManager
    watched: Watched
    tokens: Tokens
    threads: Threads
    node: NodeFacts
    room: Path | None
    services: Callable[[], Sequence[Object]]
    allocatable: Callable[[], Mapping[str, str]]
    node_object: Callable[[], Object | None]
    abilities: Abilities
    services_known: asyncio.Event
    csi: CsiVolumes | None = None
    image_volumes: ImageVolumes | None = None
    devices: DeviceManager | None = None
    cpus: CpuPool | None = None  # None: all containers may use all processors
    spread: Callable[[], None] = lambda: None  # the processors that containers share are others now
    pressures: Callable[[], frozenset[str]] = frozenset  # the node's conditions of that kind
    is_closing: Callable[[], bool] = bool  # the machine is going to shut down

    async def clear(self, uid: str, runtime: PodRuntime) -> None:
        """Remove the directories of a pod of which only the runtime still knew."""
        if self.room is None:
            return
        for sandbox in runtime.sandboxes:
            logs = f"{self.node.log_root}/{sandbox.namespace}_{sandbox.name}_{uid}"
            await self.threads.run(shutil.rmtree, logs, ignore_errors=True)
            named = {"metadata": {"name": sandbox.name, "namespace": sandbox.namespace}}
            await self.threads.run(loglinks.tidy, self.node.log_root, named)
        self.take_back(uid)
        root = self.room / uid
        await PodVolumes(root, self.threads, self.csi, self.image_volumes).tear_down()
        await self.threads.run(shutil.rmtree, root, ignore_errors=True)
        for qos in ("", "/burstable", "/besteffort"):
            await self.threads.run(cgroups.remove, f"{self.node.cgroup_root}{qos}/pod{uid}")

    def take_back(self, *uids: str) -> None:
        """Devices and processors of pods that are over."""
        if self.devices is not None:
            self.devices.release(*uids)
        if self.cpus is not None and self.cpus.release(*uids):
            self.spread()

    def holders(self) -> set[str]:
        """Uids of the pods that have devices or processors of their own."""
        found = self.devices.holders() if self.devices is not None else set[str]()
        return found | self.cpus.holders() if self.cpus is not None else found

    async def leftovers(self) -> set[str]:
        """Uids of pods that have left something on the machine: directories or cgroups."""
        if self.room is None:
            return set()
        return await self.threads.run(_leftovers, self.room, self.node.cgroup_root)


def _leftovers(room: Path, cgroup_root: str) -> set[str]:
    return cgroups.pods_of(cgroup_root) | {entry.name for entry in room.iterdir()}


async def _awaited(call: Coroutine[Any, Any, str]) -> str:
    return await call


class Preparation:
    """`to_its_end` awaits a call of the runtime that must not break off in the middle; the runner sets it."""

    def __init__(self, shop: Workshop, pod: Callable[[], Object]) -> None:
        self._shop = shop
        self._current = pod
        self._volumes_ready = asyncio.Event()
        self._root: Path | None = None
        self._volumes: PodVolumes | None = None
        self._held: References | None = None
        self.to_its_end: Callable[[Coroutine[Any, Any, str]], Awaitable[str]] = _awaited

    def open(self) -> None:
        """Once the pod is known: find its place, and watch what it refers to."""
        if self._shop.room is None:
            self._volumes_ready.set()
        else:
            self._root = self._shop.room / uid_of(self._current())
            shop = self._shop
            self._volumes = PodVolumes(self._root, shop.threads, shop.csi, shop.image_volumes)
        self.hold()

    @property
    def needs_set_up(self) -> bool:
        return not self._volumes_ready.is_set()

    @property
    def volume_paths(self) -> Mapping[str, str]:
        return self._volumes.paths if self._volumes is not None else {}

    @property
    def renew_at(self) -> float | None:
        return self._volumes.renew_at if self._volumes is not None and self._volumes_ready.is_set() else None

    def hold(self) -> None:
        """Say which ConfigMaps and Secrets the pod needs, so that they are watched."""
        pod = self._current()
        namespace = pod["metadata"]["namespace"]
        names = references(pod)
        if names == self._held:
            return
        self._held = names
        wanted = [(CONFIG_MAPS, Key(namespace, name)) for name in names.config_maps]
        wanted += [(SECRETS, Key(namespace, name)) for name in names.secrets]
        self._shop.watched.hold(uid_of(pod), wanted)

    # ---- sandbox

    async def make_sandbox(self, attempt: int) -> Sandbox:
        shop, pod = self._shop, self._current()
        config = podspec.sandbox_config(pod, attempt, shop.node)
        if shop.room is not None:
            await shop.threads.run(
                self._make_directories, pod, config.cgroup_parent, config.log_directory, shop.node.pids_limit
            )
        handler = await self._runtime_handler(pod)
        sandbox_id = await self.to_its_end(shop.runtime.run_sandbox(config, handler))
        return await shop.runtime.sandbox_status(sandbox_id)

    async def resize_group(self, before: Object, after: Object, *, done: bool) -> None:
        """Of a pod whose containers are to have other resources: what it may use more before theirs, else after."""
        if self._shop.room is None:
            return
        parent = podspec.cgroup_parent(after, self._shop.node.cgroup_root)
        if done:
            await self._shop.threads.run(cgroups.create, parent, after)
        else:
            await self._shop.threads.run(cgroups.grow, parent, before, after)

    async def _runtime_handler(self, pod: Object) -> str:
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        try:
            found = await self._shop.transport.get(RUNTIME_CLASSES, Key("", name))
        except (StatusError, Unreachable) as e:
            raise ConfigError(f"failed to look up runtime class {name}: {e}") from e
        return str(found["handler"])

    @staticmethod
    def _make_directories(pod: Object, cgroup: str, logs: str, pids: int) -> None:
        Path(logs).mkdir(0o755, parents=True, exist_ok=True)
        cgroups.create(cgroup, pod, pids=pids)

    async def reread(self, known: PodRuntime) -> PodRuntime:
        """Everything the runtime has of the pod, read anew."""
        labels = {POD_UID: uid_of(self._current())}
        return await read_pod(self._shop.runtime, labels, known)

    # ---- volumes

    async def set_up_volumes(self) -> None:
        assert self._volumes is not None
        await self._volumes.set_up(await self._context())
        self._volumes_ready.set()

    @property
    def may_grow(self) -> bool:
        """Whether the pod has volumes of claims, of which it may come to be told that they are larger."""
        return self._shop.csi is not None and bool(references(self._current()).claims)

    async def refresh_volumes(self) -> None:
        if self._volumes is not None and self._volumes_ready.is_set():
            await self._volumes.refresh(await self._context())

    async def _context(self) -> Context:
        pod = self._current()
        assert self._root is not None
        return Context(
            pod=pod,
            root=self._root,
            sources=await self._sources(),
            token=lambda audience, seconds: self._shop.tokens.get(pod, audience, seconds),
            now=self._shop.clock.now(),
            claims=await self._claims(pod),
        )

    async def _claims(self, pod: Object) -> dict[str, tuple[Object, Object]]:
        found = dict[str, tuple[Object, Object]]()
        for name in references(pod).claims:
            try:
                claim = await self._shop.transport.get(CLAIMS, Key(pod["metadata"]["namespace"], name))
                volume = claim["spec"].get("volumeName")
                if volume and (claim.get("status") or {}).get("phase") == "Bound":
                    found[name] = (claim, await self._shop.transport.get(VOLUMES, Key("", volume)))
            except NotFound as e:
                raise VolumeError(e.message) from e
            except Unreachable as e:
                raise VolumeError(str(e)) from e
        return found

    async def _sources(self, pod_ips: tuple[str, ...] = ()) -> Sources:
        shop, pod = self._shop, self._current()
        namespace = pod["metadata"]["namespace"]
        names = references(pod)
        return Sources(
            config_maps={
                n: await shop.watched.get(CONFIG_MAPS, Key(namespace, n)) for n in names.config_maps
            },
            secrets={n: await shop.watched.get(SECRETS, Key(namespace, n)) for n in names.secrets},
            services=shop.services(),
            node_name=shop.node.name,
            host_ip=shop.node.ip,
            pod_ips=pod_ips,
            allocatable=shop.allocatable(),
        )

    # ---- containers

    async def image_for(self, spec: Mapping[str, Any]) -> Image:
        pod = self._current()
        namespace = pod["metadata"]["namespace"]
        secrets = []
        for ref in pod["spec"].get("imagePullSecrets") or ():
            secret = (
                await self._shop.watched.get(SECRETS, Key(namespace, ref["name"]))
                if ref.get("name")
                else None
            )
            if secret is not None:
                secrets.append(secret)
        return await self._shop.images.ensure(pod, spec, secrets)

    async def create_container(
        self, sandbox: Sandbox, spec: Mapping[str, Any], attempt: int, image: Image, target: str = ""
    ) -> str:
        """`target`: the container whose processes it shares."""
        shop, pod = self._shop, self._current()
        await self._volumes_ready.wait()
        if not manifests.is_static(pod):  # which do not wait for the API server
            await shop.services_known.wait()
        host_network = bool(pod["spec"].get("hostNetwork"))
        ips = (shop.node.ip,) if host_network else sandbox.ips
        sources = replace(await self._sources(ips), files=await self._env_files(spec))
        env = environment.build(pod, spec, sources)
        mounts: tuple[Mount, ...] = ()
        devices: tuple[Device, ...] = ()
        if self._volumes is not None:
            try:
                mounts = await shop.threads.run(self._mounts, pod, spec, env, ips, attempt)
                devices = container_devices(spec, self._volumes.paths)
            except OSError as e:
                raise VolumeError(str(e)) from e
        gear = await self._gear(pod, spec)
        parts = ContainerParts(
            attempt,
            image.id,
            {**gear.env, **env},
            (*mounts, *gear.mounts),
            (*devices, *gear.devices),
            image,
            target,
            self._cpuset(pod, spec),
            {**gear.annotations, **self._cpu_annotation(pod, spec)},
            gear.cdi_devices,
        )
        config = podspec.container_config(pod, spec, parts, shop.node)
        within = podspec.sandbox_config(pod, sandbox.attempt, shop.node)
        made = await self.to_its_end(shop.runtime.create_container(sandbox.id, config, within))
        if shop.room is not None:
            await shop.threads.run(loglinks.add, shop.node.log_root, pod, config, made)
        return made

    async def _env_files(self, spec: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, str] | None]:
        found = dict[tuple[str, str], Mapping[str, str] | None]()
        for volume, path in environment.file_refs(spec):
            if self._volumes is None or volume not in self._volumes.paths:
                raise ConfigError(f'volume "{volume}" is not mounted')
            place = Path(self._volumes.paths[volume])
            text = await self._shop.threads.run(read_below, place, path, envfile.SIZE_LIMIT)
            found[volume, path] = None if text is None else envfile.parse(text)
        return found

    async def _gear(self, pod: Object, spec: Mapping[str, Any]) -> Gear:
        if self._shop.devices is None:
            return NO_GEAR
        try:
            return await self._shop.devices.gear(uid_of(pod), spec["name"])
        except PluginFailed as e:
            raise ConfigError(str(e)) from e

    def _cpuset(self, pod: Object, spec: Mapping[str, Any]) -> str:
        pool = self._shop.cpus
        if pool is None:
            return ""
        return cpus.written(pool.of(uid_of(pod), spec["name"]) or pool.shared)

    def _cpu_annotation(self, pod: Object, spec: Mapping[str, Any]) -> dict[str, str]:
        own = self._shop.cpus.of(uid_of(pod), spec["name"]) if self._shop.cpus is not None else None
        return {cpus.CPUS: cpus.written(own)} if own else {}

    def _mounts(
        self, pod: Object, spec: Mapping[str, Any], env: Mapping[str, str], ips: Sequence[str], attempt: int
    ) -> tuple[Mount, ...]:
        assert self._volumes is not None
        assert self._root is not None
        volumes = self._volumes
        found = list(container_mounts(spec, volumes.paths, read_only(pod), env, volumes.sub_paths))
        taken = {mount.container_path for mount in found}
        if "/etc/hosts" not in taken:
            found.append(Mount("/etc/hosts", str(self._hosts_file(pod, ips))))
        path = spec.get("terminationMessagePath")
        if path and path not in taken:
            message = self._root / "containers" / spec["name"] / str(attempt)
            message.parent.mkdir(parents=True, exist_ok=True)
            message.touch(0o666)
            message.chmod(0o666)
            found.append(Mount(path, str(message)))
        return tuple(found)

    def _hosts_file(self, pod: Object, ips: Sequence[str]) -> Path:
        assert self._root is not None
        node_hosts = ""
        if pod["spec"].get("hostNetwork"):
            node_hosts = Path("/etc/hosts").read_text(encoding="utf-8")
        path = self._root / "etc-hosts"
        text = podspec.etc_hosts(pod, ips, self._shop.node.cluster_domain, node_hosts)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
        return path

    async def remove_log(self, container: Container) -> None:
        if self._root is not None and container.log_path:
            await self._shop.threads.run(Path(container.log_path).unlink, missing_ok=True)
            await self._shop.threads.run(loglinks.tidy, self._shop.node.log_root, self._current())

    # ---- the end

    async def free(self) -> None:
        """Nothing runs any more: give the volumes back. Logs and dead containers stay until the object is gone."""
        if self._volumes is not None:
            await self._volumes.tear_down()
        self._volumes_ready.clear()
        self._shop.take_back(uid_of(self._current()))

    async def remove(self, runtime: PodRuntime) -> None:
        """Every trace of the pod on this node."""
        shop, pod = self._shop, self._current()
        shop.watched.hold(uid_of(pod), ())
        shop.images.forget(uid_of(pod))
        shop.tokens.forget(uid_of(pod))
        for sandbox in runtime.sandboxes:
            await shop.runtime.remove_sandbox(sandbox.id)
        if shop.room is not None:
            cgroup = podspec.cgroup_parent(pod, shop.node.cgroup_root)
            logs = podspec.log_directory(pod, shop.node.log_root)
            await shop.threads.run(self._remove_directories, cgroup, logs)

    def _remove_directories(self, cgroup: str, logs: str) -> None:
        cgroups.remove(cgroup)
        shutil.rmtree(logs, ignore_errors=True)
        loglinks.tidy(self._shop.node.log_root, self._current())
        if self._root is not None:
            mounts.clear(self._root)  # what lives elsewhere must not be behind it when it is deleted
            shutil.rmtree(self._root, ignore_errors=True)
