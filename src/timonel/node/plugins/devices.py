"""Devices that plugins advertise (v1beta1): counted in the node's capacity, chosen for pods, put into containers.

A plugin registers on our socket in `device-plugins` and is then listened to. Which devices a container has is kept in a
file from its pod's admission on, and written on the container (annotation), so that a restarted agent knows.
Upstream: pkg/kubelet/cm/devicemanager.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timonel.aio.clock import Clock
from timonel.node import podresources
from timonel.node.cri.runtime import Device, Mount, Version
from timonel.node.ledger import Ledger
from timonel.node.plugins.registry import Refused
from timonel.node.plugins.rpc import Plugin, PluginFailed
from timonel.objects.meta import Object, uid_of
from timonel.records import dataclass

logger = logging.getLogger(__name__)

VERSION = "v1beta1"
HEALTHY = "Healthy"
DEVICES = "timonel.dev/devices"  # annotation of a container: resource -> ids
NAMES, CHECKPOINT = "resources.json", "allocations.json"
FORGET = 300.0  # seconds after which the resource of a plugin that is gone is no capacity any more

Chosen = dict[str, list[str]]  # resource -> device ids


class NotEnough(Exception):
    """Devices were promised that are not there; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Gear:
    """What a container gets with its devices."""

    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    devices: tuple[Device, ...]
    annotations: Mapping[str, str]
    cdi_devices: tuple[str, ...] = ()  # which the runtime knows by their names


NO_GEAR = Gear({}, (), (), {})


class Devices:
    """Of one resource."""

    def __init__(self, plugin: Plugin | None) -> None:
        self.plugin = plugin
        self.healthy: dict[str, bool] = {}
        self.prefers = self.wants_start = False
        self.gone_at: float | None = None


class DeviceManager:
    """Also a handler of the registry. The names of its resources are kept in a file, so that a restarted agent counts
    none of them until their plugins are back."""

    def __init__(self, directory: Path, clock: Clock, *, runtime: Version | None = None) -> None:
        self._knows_cdi = runtime is None or knows_cdi(runtime)
        self._directory = directory
        self._clock = clock
        self._resources: dict[str, Devices] = {}
        self._given: dict[tuple[str, str], Chosen] = {}  # (pod uid, container)
        self._asked: set[tuple[tuple[str, str], str]] = set()  # plugins that had their say about a container
        self._ledger = Ledger(directory / CHECKPOINT)
        self._group: asyncio.TaskGroup | None = None
        self._listeners: dict[str, asyncio.Task[None]] = {}

    def open(self) -> None:
        """Make the directory, and read which resources there were, and who has what."""
        self._directory.mkdir(0o750, parents=True, exist_ok=True)
        for name in _names(self._directory / NAMES):
            self._resources[name] = Devices(None)
            self._resources[name].gone_at = self._clock.now()
        self._given = {key: value for key, value in self._ledger.read().items() if _is_choice(value)}
        self._asked = {(key, name) for key, chosen in self._given.items() for name in chosen}

    async def run(self) -> None:
        """Serves the registration of plugins."""
        import grpc.aio

        from timonel.node.plugins.pb import devices_pb2 as pb

        async def register(request: Any, context: Any) -> Any:
            try:
                await self.take(
                    request.resource_name, str(self._directory / request.endpoint), (request.version,)
                )
            except (Refused, PluginFailed) as e:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(e))
            return pb.Empty()

        handler = grpc.unary_unary_rpc_method_handler(
            register,
            request_deserializer=pb.RegisterRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        server = grpc.aio.server()
        service = grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": handler})
        server.add_generic_rpc_handlers((service,))
        socket = self._directory / "kubelet.sock"
        socket.unlink(missing_ok=True)  # plugins take its coming for a restart, and register again
        server.add_insecure_port(f"unix:{socket}")
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await server.start()
                await asyncio.Event().wait()
        finally:
            await server.stop(None)
            for resource in self._resources.values():
                if resource.plugin is not None:
                    plugin, resource.plugin = resource.plugin, None
                    self._is_gone(resource)
                    await plugin.close()

    # ---- plugins

    async def take(self, name: str, endpoint: str, versions: tuple[str, ...]) -> None:
        if VERSION not in versions:
            raise Refused(f"requested API version {list(versions)} is not supported by kubelet. "
                          f"Supported version is {VERSION}")  # fmt: skip
        if "/" not in name or name.split("/", 1)[0].endswith("kubernetes.io"):
            raise Refused(f"the ResourceName {name!r} is invalid")
        from timonel.node.plugins.pb import devices_pb2 as pb

        plugin = Plugin(endpoint, "v1beta1.DevicePlugin")
        try:
            options = await plugin.call(
                "GetDevicePluginOptions", pb.Empty(), pb.DevicePluginOptions, timeout=10
            )
        except PluginFailed:
            await plugin.close()
            raise
        await self.drop(name)
        if name not in self._resources:
            self._resources[name] = Devices(None)
            (self._directory / NAMES).write_text(json.dumps(sorted(self._resources)))
        known = self._resources[name]
        known.plugin, known.gone_at = plugin, None
        known.prefers = options.get_preferred_allocation_available
        known.wants_start = options.pre_start_required
        assert self._group is not None
        self._listeners[name] = self._group.create_task(self._listen(name, plugin), name=f"devices {name}")

    async def drop(self, name: str) -> None:
        listener = self._listeners.pop(name, None)
        if listener is not None:
            listener.cancel()
        known = self._resources.get(name)
        if known is not None and known.plugin is not None:
            plugin, known.plugin = known.plugin, None
            self._is_gone(known)
            await plugin.close()

    def _is_gone(self, known: Devices) -> None:
        known.healthy = dict.fromkeys(known.healthy, False)
        known.gone_at = self._clock.now()

    async def _listen(self, name: str, plugin: Plugin) -> None:
        import grpc.aio

        from timonel.node.plugins.pb import devices_pb2 as pb

        known = self._resources[name]
        try:
            async for message in plugin.stream("ListAndWatch", pb.Empty(), pb.ListAndWatchResponse):
                known.healthy = {d.ID: d.health == HEALTHY for d in message.devices}
        except grpc.aio.AioRpcError as e:
            logger.info("A device plugin is gone", extra={"resource": name, "error": e.details()})
        if known.plugin is plugin:
            self._listeners.pop(name, None)
            known.plugin = None
            self._is_gone(known)
            await plugin.close()

    # ---- the node

    def counts(self) -> dict[str, tuple[int, int] | None]:
        """Resource -> how many there are, and how many of them are well; None: its plugin is gone for good."""
        now = self._clock.now()
        found = dict[str, tuple[int, int] | None]()
        for name, known in self._resources.items():
            is_forgotten = known.gone_at is not None and now - known.gone_at > FORGET
            found[name] = None if is_forgotten else (len(known.healthy), sum(known.healthy.values()))
        return found

    def known(self) -> dict[str, list[str]]:
        """Resource -> its devices that are well."""
        return {
            name: sorted(i for i, ok in known.healthy.items() if ok)
            for name, known in self._resources.items()
        }

    # ---- pods

    def assign(self, pod: Object) -> None:
        """Choose devices for all containers of a pod, or none. Raises NotEnough."""
        uid = uid_of(pod)
        before = dict(self._given)
        try:
            reusable = Chosen()
            for c in pod["spec"].get("initContainers") or ():
                self._choose(uid, c, reusable)
                if not podresources.is_sidecar(c):  # its devices are free again when the next ones start
                    for name, ids in self._given.get((uid, c["name"]), {}).items():
                        reusable[name] = list(dict.fromkeys([*reusable.get(name, []), *ids]))
            for c in pod["spec"]["containers"]:
                self._choose(uid, c, reusable)
                for name, ids in self._given.get((uid, c["name"]), {}).items():
                    reusable[name] = [i for i in reusable.get(name, []) if i not in ids]
        except NotEnough:
            self._given = before
            raise
        if self._given != before:
            self._ledger.write(self._given)

    def _choose(self, uid: str, container: Mapping[str, Any], reusable: Chosen) -> None:
        key = (uid, container["name"])
        if key in self._given:
            return
        chosen = Chosen()
        for name, count in podresources.own(container, "limits").items():
            known = self._resources.get(name)
            if known is None or not count:
                continue
            own = [i for i in reusable.get(name, []) if known.healthy.get(i)]
            taken = self._taken(name)
            free = own + [i for i, is_well in sorted(known.healthy.items()) if is_well and i not in taken]
            if len(free) < count:
                raise NotEnough(
                    f"Allocate failed due to requested number of devices unavailable for {name}. "
                    f"Requested: {count}, Available: {len(free)}, which is unexpected"
                )
            chosen[name] = free[:count]
        if chosen:
            self._given[key] = chosen

    def _taken(self, name: str) -> set[str]:
        return {i for chosen in self._given.values() for i in chosen.get(name, ())}

    def restore(self, uid: str, container: str, text: str) -> None:
        """A container that was found has these."""
        self._given.setdefault((uid, container), json.loads(text))

    def release(self, *uids: str) -> None:
        gone = [key for key in self._given if key[0] in uids]
        for key in gone:
            self._asked -= {(key, name) for name in self._given.pop(key)}
        if gone:
            self._ledger.write(self._given)

    def holders(self) -> set[str]:
        """Uids of the pods that have devices."""
        return {uid for uid, _ in self._given}

    def of(self, uid: str, container: str) -> Chosen:
        return self._given.get((uid, container), {})

    async def gear(self, uid: str, container: str) -> Gear:
        """What the plugins say that the container needs. Raises PluginFailed."""
        if not self.of(uid, container):
            return NO_GEAR
        from timonel.node.plugins.pb import devices_pb2 as pb

        chosen = await self._preferred((uid, container))
        env, mounts, devices, named = dict[str, str](), list[Mount](), list[Device](), list[str]()
        annotations = {DEVICES: json.dumps(chosen, sort_keys=True)}
        for name, ids in chosen.items():
            known = self._resources.get(name)
            if known is None or known.plugin is None:
                raise PluginFailed("Unavailable", f"the device plugin of {name} is not there")
            request = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=ids)])
            answer = await known.plugin.call("Allocate", request, pb.AllocateResponse)
            for part in answer.container_responses:
                env |= dict(part.envs)
                mounts += [Mount(m.container_path, m.host_path, m.read_only) for m in part.mounts]
                devices += [
                    Device(d.container_path, d.host_path, d.permissions or "mrw") for d in part.devices
                ]
                annotations |= dict(part.annotations)
                named += [d.name for d in part.cdi_devices if d.name not in named]
            if known.wants_start:
                start = pb.PreStartContainerRequest(devices_ids=ids)
                await known.plugin.call("PreStartContainer", start, pb.PreStartContainerResponse, timeout=30)
        if named and not self._knows_cdi:  # it would start the container without them
            raise PluginFailed(
                "Unimplemented", f"the container runtime has no CDI devices: {', '.join(named)}"
            )
        return Gear(env, tuple(mounts), tuple(devices), annotations, tuple(named))

    async def _preferred(self, key: tuple[str, str]) -> Chosen:
        """The container's devices: before its first start, its plugins may take others than ours, of those that are
        free."""
        from timonel.node.plugins.pb import devices_pb2 as pb

        for name, ids in list(self._given[key].items()):
            known = self._resources.get(name)
            if known is None or known.plugin is None or not known.prefers or (key, name) in self._asked:
                continue
            others = self._held(name, but=key) - set(ids)
            request = pb.PreferredAllocationRequest(
                container_requests=[
                    pb.ContainerPreferredAllocationRequest(
                        available_deviceIDs=[i for i, ok in known.healthy.items() if ok and i not in others],
                        must_include_deviceIDs=[i for i in ids if self._is_handed_down(key, name, i)],
                        allocation_size=len(ids),
                    )
                ]
            )
            answer = await known.plugin.call(
                "GetPreferredAllocation", request, pb.PreferredAllocationResponse
            )
            self._asked.add((key, name))
            wanted = [i for part in answer.container_responses for i in part.deviceIDs]
            free = {i for i, ok in known.healthy.items() if ok} - (self._held(name, but=key) - set(ids))
            if key in self._given and len(set(wanted)) == len(ids) and free.issuperset(wanted):
                self._given[key] = {**self._given[key], name: sorted(set(wanted))}
                self._ledger.write(self._given)
        return self._given.get(key, {})

    def _held(self, name: str, *, but: tuple[str, str]) -> set[str]:
        """What other containers have."""
        return {i for key, chosen in self._given.items() if key != but for i in chosen.get(name, ())}

    def _is_handed_down(self, key: tuple[str, str], name: str, device: str) -> bool:
        """An init container of the pod had it before."""
        return any(
            device in chosen.get(name, ())
            for other, chosen in self._given.items()
            if other[0] == key[0] and other != key
        )


def knows_cdi(runtime: Version) -> bool:
    """containerd does from 1.7 on; of others it is expected."""
    numbers = re.match(r"v?(\d+)\.(\d+)", runtime.version)
    if runtime.name != "containerd" or numbers is None:
        return True
    return (int(numbers[1]), int(numbers[2])) >= (1, 7)


def _is_choice(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(ids, list) for ids in value.values())


def _names(file: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(file.read_text())]
    except (OSError, ValueError):
        return []
