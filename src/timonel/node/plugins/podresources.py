"""The PodResources API on a socket of the node: which devices and processors pods were given, for monitors of devices.

Upstream: pkg/kubelet/apis/podresources.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from timonel.node.cpus import CpuPool
from timonel.node.plugins.devices import DeviceManager
from timonel.node.podresources import is_sidecar
from timonel.objects.meta import Object, uid_of


class PodResources:
    """`pods` are those that hold resources now."""

    def __init__(
        self, socket: Path, devices: DeviceManager, cpus: CpuPool | None, pods: Callable[[], Iterable[Object]]
    ) -> None:
        self._socket = socket
        self._devices = devices
        self._cpus = cpus
        self._pods = pods

    async def run(self) -> None:
        import grpc.aio

        from timonel.node.plugins.pb import podresources_pb2 as pb

        async def listed(request: Any, context: Any) -> Any:
            return pb.ListPodResourcesResponse(pod_resources=[self._of(pod) for pod in self._pods()])

        async def allocatable(request: Any, context: Any) -> Any:
            devices = [
                pb.ContainerDevices(resource_name=name, device_ids=ids)
                for name, ids in sorted(self._devices.known().items())
            ]
            cpus = sorted(self._cpus.allocatable) if self._cpus is not None else []
            return pb.AllocatableResourcesResponse(devices=devices, cpu_ids=cpus)

        async def one(request: Any, context: Any) -> Any:
            for pod in self._pods():
                meta = pod["metadata"]
                if (meta["name"], meta["namespace"]) == (request.pod_name, request.pod_namespace):
                    return pb.GetPodResourcesResponse(pod_resources=self._of(pod))
            why = f"pod {request.pod_name} in namespace {request.pod_namespace} not found"
            return await context.abort(grpc.StatusCode.NOT_FOUND, why)

        def method(handler: Any, request: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                handler,
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )

        methods = {
            "List": method(listed, pb.ListPodResourcesRequest),
            "GetAllocatableResources": method(allocatable, pb.AllocatableResourcesRequest),
            "Get": method(one, pb.GetPodResourcesRequest),
        }
        server = grpc.aio.server()
        service = grpc.method_handlers_generic_handler("v1.PodResourcesLister", methods)
        server.add_generic_rpc_handlers((service,))
        self._socket.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{self._socket}")
        await server.start()
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop(None)

    def _of(self, pod: Object) -> Any:
        from timonel.node.plugins.pb import podresources_pb2 as pb

        meta, uid = pod["metadata"], uid_of(pod)
        containers = []
        sidecars = [c for c in pod["spec"].get("initContainers") or () if is_sidecar(c)]
        for c in (*sidecars, *pod["spec"]["containers"]):
            chosen = self._devices.of(uid, c["name"])
            own = self._cpus.of(uid, c["name"]) if self._cpus is not None else None
            devices = [pb.ContainerDevices(resource_name=n, device_ids=ids) for n, ids in chosen.items()]
            containers.append(
                pb.ContainerResources(name=c["name"], devices=devices, cpu_ids=sorted(own or ()))
            )
        return pb.PodResources(name=meta["name"], namespace=meta["namespace"], containers=containers)
