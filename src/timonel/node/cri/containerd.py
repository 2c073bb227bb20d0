"""The runtime interface over containerd's CRI plugin (any CRI v1 runtime, but for the event stream).

One gRPC channel over a UNIX socket. Stopping or removing what does not exist is made idempotent here, since containerd
1.6 answers NOT_FOUND. This module imports gRPC (about 60 ms): import it only when a real runtime is wanted.
"""

from __future__ import annotations

import asyncio
import math
import re
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from timonel.aio.clock import Clock
from timonel.node.cri import errors, events, messages
from timonel.node.cri.pb import cri_pb2 as pb
from timonel.node.cri.runtime import (
    Auth,
    Condition,
    Container,
    ContainerConfig,
    ExecResult,
    Image,
    Resources,
    RuntimeEvent,
    Sandbox,
    SandboxConfig,
    Stats,
    Streams,
    Version,
)
from timonel.node.measures import Measures

CALL_TIMEOUT = 120.0  # upstream's runtime-request-timeout is 2 m
PULL_TIMEOUT = 3600.0
_OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.default_authority", "localhost"),
    # the default first reconnect waits a second: far too long after a restart of containerd
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


# Where upstream's name of an operation is not the method's in snake case.
_OPERATIONS = {
    "RunPodSandbox": "run_podsandbox",
    "StopPodSandbox": "stop_podsandbox",
    "RemovePodSandbox": "remove_podsandbox",
    "PodSandboxStatus": "podsandbox_status",
    "ListPodSandbox": "list_podsandbox",
    "UpdateContainerResources": "update_container",
}


def operation_type(method: str) -> str:
    return _OPERATIONS.get(method) or re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


class Containerd:
    """Made for one socket path; `close` ends the channel. `measures` counts the calls."""

    def __init__(self, socket: str, clock: Clock, measures: Measures | None = None) -> None:
        self._measures = measures or Measures()
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        self._clock = clock
        self._socket = socket
        self._methods: dict[str, Any] = {}

    async def close(self) -> None:
        await self._channel.close(None)

    async def _call(self, name: str, request: Any, *, timeout: float = CALL_TIMEOUT) -> Any:
        method = self._methods.get(name)
        if method is None:
            service = "ImageService" if "Image" in name else "RuntimeService"
            method = self._methods[name] = self._channel.unary_unary(
                f"/runtime.v1.{service}/{name}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=getattr(pb, f"{name}Response").FromString,
            )
        kind, since = operation_type(name), self._measures.watch()
        try:
            answer = await method(request, timeout=timeout)
            self._measures.operation(kind, since, failed=False)
            return answer
        except grpc.aio.AioRpcError as e:
            self._measures.operation(kind, since, failed=True)
            raise errors.from_status(e.code().name, e.details() or "") from e

    async def _call_if_exists(self, name: str, request: Any, *, timeout: float = CALL_TIMEOUT) -> None:
        try:
            await self._call(name, request, timeout=timeout)
        except errors.Missing:
            return

    # ---- runtime

    async def version(self) -> Version:
        m = await self._call("Version", pb.VersionRequest(), timeout=5)
        return Version(m.runtime_name, m.runtime_version)

    async def conditions(self) -> Sequence[Condition]:
        m = await self._call("Status", pb.StatusRequest(), timeout=5)
        return [Condition(c.type, c.status, c.reason, c.message) for c in m.status.conditions]

    async def log_text(self, container_id: str) -> bytes | None:
        return None

    async def stats(self) -> Sequence[Stats]:
        m = await self._call("ListContainerStats", pb.ListContainerStatsRequest())
        return [messages.stats_of(s) for s in m.stats]

    def events(self) -> AsyncGenerator[RuntimeEvent, None]:
        return events.subscribe(self._channel, self._clock)

    # ---- sandboxes

    async def run_sandbox(self, config: SandboxConfig, handler: str = "") -> str:
        request = pb.RunPodSandboxRequest(config=messages.sandbox_config(config), runtime_handler=handler)
        found: str = (await self._call("RunPodSandbox", request, timeout=2 * CALL_TIMEOUT)).pod_sandbox_id
        return found

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._call_if_exists("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._call_if_exists("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id))

    async def sandbox_status(self, sandbox_id: str) -> Sandbox:
        m = await self._call("PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id))
        return messages.sandbox_of(m.status)

    async def list_sandboxes(self, labels: Mapping[str, str] | None = None) -> Sequence[Sandbox]:
        request = pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(label_selector=labels or {}))
        return [messages.sandbox_of(m) for m in (await self._call("ListPodSandbox", request)).items]

    # ---- containers

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        request = pb.CreateContainerRequest(
            pod_sandbox_id=sandbox_id,
            config=messages.container_config(config),
            sandbox_config=messages.sandbox_config(sandbox),
        )
        found: str = (await self._call("CreateContainer", request)).container_id
        return found

    async def start_container(self, container_id: str) -> None:
        await self._call("StartContainer", pb.StartContainerRequest(container_id=container_id))

    async def stop_container(self, container_id: str, timeout: float) -> None:
        request = pb.StopContainerRequest(container_id=container_id, timeout=math.ceil(timeout))
        await self._call_if_exists("StopContainer", request, timeout=timeout + CALL_TIMEOUT)

    async def remove_container(self, container_id: str) -> None:
        await self._call_if_exists("RemoveContainer", pb.RemoveContainerRequest(container_id=container_id))

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        request = pb.UpdateContainerResourcesRequest(
            container_id=container_id, linux=messages.resources(resources)
        )
        await self._call("UpdateContainerResources", request)

    async def list_containers(self, labels: Mapping[str, str] | None = None) -> Sequence[Container]:
        request = pb.ListContainersRequest(filter=pb.ContainerFilter(label_selector=labels or {}))
        found = (await self._call("ListContainers", request)).containers
        return [messages.container_of_list(m) for m in found]

    async def container_status(self, container_id: str) -> Container:
        m = await self._call("ContainerStatus", pb.ContainerStatusRequest(container_id=container_id))
        return messages.container_of_status(m.status)

    async def reopen_log(self, container_id: str) -> None:
        await self._call("ReopenContainerLog", pb.ReopenContainerLogRequest(container_id=container_id))

    # ---- streams

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: float = 0) -> ExecResult:
        request = pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=math.ceil(timeout))
        limit = timeout + CALL_TIMEOUT if timeout else PULL_TIMEOUT
        m = await self._call("ExecSync", request, timeout=limit)
        return ExecResult(m.exit_code, m.stdout, m.stderr)

    async def exec_url(self, container_id: str, command: Sequence[str], streams: Streams) -> str:
        request = pb.ExecRequest(
            container_id=container_id,
            cmd=command,
            tty=streams.tty,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
        )
        found: str = (await self._call("Exec", request)).url
        return found

    async def attach_url(self, container_id: str, streams: Streams) -> str:
        request = pb.AttachRequest(
            container_id=container_id,
            tty=streams.tty,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
        )
        found: str = (await self._call("Attach", request)).url
        return found

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        request = pb.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports)
        found: str = (await self._call("PortForward", request)).url
        return found

    # ---- images

    async def pull_image(self, image: str, auth: Auth | None = None) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=image))
        if auth is not None:
            request.auth.CopyFrom(
                pb.AuthConfig(
                    username=auth.username,
                    password=auth.password,
                    auth=auth.auth,
                    server_address=auth.server,
                    identity_token=auth.identity_token,
                    registry_token=auth.registry_token,
                )
            )
        found: str = (await self._call("PullImage", request, timeout=PULL_TIMEOUT)).image_ref
        return found

    async def image_status(self, image: str) -> Image | None:
        m = await self._call("ImageStatus", pb.ImageStatusRequest(image=pb.ImageSpec(image=image)))
        return messages.image_of(m.image) if m.image.id else None

    async def list_images(self) -> Sequence[Image]:
        return [messages.image_of(m) for m in (await self._call("ListImages", pb.ListImagesRequest())).images]

    async def mount_image(self, image: str, path: str) -> None:
        # CRI can do it from containerd 2.1 on; containerd's own tool always could
        await self._tool("images", "mount", image, path)

    async def unmount_image(self, path: str) -> None:
        await self._tool("images", "unmount", "--rm", path)

    async def _tool(self, *arguments: str) -> None:
        if shutil.which("ctr") is None:
            raise errors.NotSupported("image volumes are not supported: this runtime is not containerd")
        process = await asyncio.create_subprocess_exec(
            "ctr", "--address", self._socket, "--namespace", "k8s.io", *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, text = await process.communicate()
        if process.returncode:
            raise errors.RuntimeFailure(text.decode("utf-8", "replace").strip())

    async def remove_image(self, image: str) -> None:
        await self._call("RemoveImage", pb.RemoveImageRequest(image=pb.ImageSpec(image=image)))
