"""A device plugin for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from timonel.node.plugins.pb import devices_pb2 as pb

RESOURCE = "example.com/dongle"


class FakePlugin:
    """Its devices become variables, and a file at /dongles in the container."""

    def __init__(self, ids: tuple[str, ...], file: Path) -> None:
        self.states = dict.fromkeys(ids, "Healthy")
        self.allocated: list[list[str]] = []
        self.started: list[list[str]] = []
        self.prefers: list[str] = []  # what it would rather give, if anything
        self.wishes: list[Any] = []
        self.cdi: list[str] = []
        self._file = file
        self._changed = asyncio.Event()

    def say(self, **states: str) -> None:
        self.states |= states
        self._changed.set()

    @asynccontextmanager
    async def serving(self, directory: Path) -> AsyncIterator[None]:
        """On a socket in the directory, and registered."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._service(),))
        server.add_insecure_port(f"unix:{directory}/dongle.sock")
        await server.start()
        try:
            await self._register(directory)
            yield
        finally:
            await server.stop(None)

    async def _register(self, directory: Path) -> None:
        async with grpc.aio.insecure_channel(f"unix:{directory}/kubelet.sock") as channel:
            register = channel.unary_unary(
                "/v1beta1.Registration/Register",
                request_serializer=pb.RegisterRequest.SerializeToString,
                response_deserializer=pb.Empty.FromString,
            )
            await register(
                pb.RegisterRequest(version="v1beta1", endpoint="dongle.sock", resource_name=RESOURCE),
                wait_for_ready=True,
                timeout=10,
            )

    def _service(self) -> Any:
        async def options(request: Any, context: Any) -> Any:
            return pb.DevicePluginOptions(
                pre_start_required=True, get_preferred_allocation_available=bool(self.prefers)
            )

        async def listed(request: Any, context: Any) -> AsyncIterator[Any]:
            while True:
                devices = [pb.Device(ID=i, health=h) for i, h in self.states.items()]
                yield pb.ListAndWatchResponse(devices=devices)
                await self._changed.wait()
                self._changed.clear()

        async def allocate(request: Any, context: Any) -> Any:
            [wanted] = request.container_requests
            self.allocated.append(list(wanted.devices_ids))
            mount = pb.Mount(container_path="/dongles", host_path=str(self._file), read_only=True)
            spec = pb.DeviceSpec(container_path="/dev/dongle", host_path="/dev/zero", permissions="r")
            answer = pb.ContainerAllocateResponse(
                envs={"DONGLES": ",".join(wanted.devices_ids)},
                mounts=[mount],
                devices=[spec],
                cdi_devices=[pb.CDIDevice(name=name) for name in self.cdi],
            )
            return pb.AllocateResponse(container_responses=[answer])

        async def preferred(request: Any, context: Any) -> Any:
            [wanted] = request.container_requests
            self.wishes.append(wanted)
            answer = pb.ContainerPreferredAllocationResponse(deviceIDs=self.prefers[: wanted.allocation_size])
            return pb.PreferredAllocationResponse(container_responses=[answer])

        async def start(request: Any, context: Any) -> Any:
            self.started.append(list(request.devices_ids))
            return pb.PreStartContainerResponse()

        methods = {
            "GetDevicePluginOptions": _unary(options, pb.Empty),
            "Allocate": _unary(allocate, pb.AllocateRequest),
            "GetPreferredAllocation": _unary(preferred, pb.PreferredAllocationRequest),
            "PreStartContainer": _unary(start, pb.PreStartContainerRequest),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                listed, request_deserializer=pb.Empty.FromString, response_serializer=_bytes
            ),
        }
        return grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods)


def _bytes(message: Any) -> bytes:
    found: bytes = message.SerializeToString()
    return found


def _unary(handler: Callable[..., Any], request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        handler, request_deserializer=request.FromString, response_serializer=_bytes
    )
