"""A CSI driver for tests: registers like a real one, and keeps what it was asked. Its volumes are directories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from timonel.node.plugins.pb import csi_pb2 as csi
from timonel.node.plugins.pb import registration_pb2 as registration

Call = tuple[str, dict[str, Any]]


class FakeDriver:
    """`mount(target)` and `unmount(target)` are what publishing and its end do to the machine."""

    def __init__(
        self,
        name: str,
        *,
        mount: Callable[[Path], None],
        unmount: Callable[[Path], None],
        capabilities: tuple[int, ...] = (1,),
    ) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.failures: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.registered: list[tuple[bool, str]] = []
        self.is_told = asyncio.Event()
        self._mount, self._unmount = mount, unmount
        self._capabilities = capabilities

    def offer(self, *capabilities: int) -> None:
        self._capabilities = capabilities

    def methods(self) -> list[str]:
        return [name for name, _ in self.calls]

    @asynccontextmanager
    async def serving(self, registry: Path) -> AsyncIterator[None]:
        """Both services on one socket in the registry's directory, which exists."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._node(), self._registration(registry)))
        path = registry / f"{self.name}.sock"
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)
            path.unlink(missing_ok=True)

    def _registration(self, registry: Path) -> Any:
        async def info(request: Any, context: Any) -> Any:
            endpoint = str(registry / f"{self.name}.sock")
            return registration.PluginInfo(
                type="CSIPlugin", name=self.name, endpoint=endpoint, supported_versions=["1.0.0"]
            )

        async def told(request: Any, context: Any) -> Any:
            self.registered.append((request.plugin_registered, request.error))
            self.is_told.set()
            return registration.RegistrationStatusResponse()

        return grpc.method_handlers_generic_handler(
            "pluginregistration.Registration",
            {
                "GetInfo": _unary(info, registration.InfoRequest),
                "NotifyRegistrationStatus": _unary(told, registration.RegistrationStatus),
            },
        )

    def _node(self) -> Any:
        async def info(request: Any, context: Any) -> Any:
            topology = csi.Topology(segments={"topology.example.com/zone": "z1"})
            return csi.NodeGetInfoResponse(
                node_id=f"{self.name}-node", max_volumes_per_node=7, accessible_topology=topology
            )

        async def capabilities(request: Any, context: Any) -> Any:
            rpcs = [csi.NodeServiceCapability.RPC(type=c) for c in self._capabilities]
            return csi.NodeGetCapabilitiesResponse(
                capabilities=[csi.NodeServiceCapability(rpc=rpc) for rpc in rpcs]
            )

        def recorded(method: str, answer: Any, act: Callable[[Any], None]) -> Any:
            async def handle(request: Any, context: Any) -> Any:
                fields = {field.name: value for field, value in request.ListFields()}
                self.calls.append((method, fields))
                if method in self.failures:
                    await context.abort(*self.failures[method])
                act(request)
                return answer

            return handle

        def nothing(request: Any) -> None:
            return

        def publish(request: Any) -> None:
            self._mount(Path(request.target_path))

        def unpublish(request: Any) -> None:
            self._unmount(Path(request.target_path))

        steps = {
            "NodeExpandVolume": (csi.NodeExpandVolumeResponse(capacity_bytes=2 << 30), nothing),
            "NodeStageVolume": (csi.NodeStageVolumeResponse(), nothing),
            "NodeUnstageVolume": (csi.NodeUnstageVolumeResponse(), nothing),
            "NodePublishVolume": (csi.NodePublishVolumeResponse(), publish),
            "NodeUnpublishVolume": (csi.NodeUnpublishVolumeResponse(), unpublish),
        }
        handlers = {
            name: _unary(recorded(name, answer, act), getattr(csi, f"{name}Request"))
            for name, (answer, act) in steps.items()
        }
        handlers["NodeGetInfo"] = _unary(info, csi.NodeGetInfoRequest)
        handlers["NodeGetCapabilities"] = _unary(capabilities, csi.NodeGetCapabilitiesRequest)
        return grpc.method_handlers_generic_handler("csi.v1.Node", handlers)


def _unary(handler: Any, request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        handler,
        request_deserializer=request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
