"""The container runtime as the node agent sees it: two services and the values that they exchange.

`Containers` and `Images` are CRI's RuntimeService and ImageService, with our own records in place of protobuf messages,
so that nothing above this folder imports gRPC. Implementations: `containerd.Containerd` (real containers) and
`simulated.SimulatedRuntime` (none). Both pass `tests/node/contract.py`. Times are seconds since the epoch,
0 for "not yet". Every method raises `errors.RuntimeFailure` or one of its kinds.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from timonel.records import dataclass


class NamespaceMode(enum.StrEnum):
    """Whose namespace a process joins."""

    POD = "pod"
    CONTAINER = "container"
    NODE = "node"
    TARGET = "target"


class SandboxState(enum.StrEnum):
    READY = "ready"
    NOT_READY = "not-ready"


class ContainerState(enum.StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Namespaces:
    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.CONTAINER
    ipc: NamespaceMode = NamespaceMode.POD
    target: str = ""  # the container to join when pid is TARGET


@dataclass(frozen=True, slots=True)
class Seccomp:
    """`type` is RuntimeDefault, Unconfined or Localhost; `path` is absolute and only for Localhost."""

    type: str = "Unconfined"
    path: str = ""


@dataclass(frozen=True, slots=True)
class Dns:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortMapping:
    container_port: int
    host_port: int
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    name: str
    uid: str
    namespace: str
    attempt: int
    hostname: str  # must be empty when the network namespace is the node's
    log_directory: str
    dns: Dns | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    namespaces: Namespaces = Namespaces()
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    seccomp: Seccomp = Seccomp()


@dataclass(frozen=True, slots=True)
class Mount:
    container_path: str
    host_path: str
    readonly: bool = False
    propagation: str = "None"  # None, HostToContainer, Bidirectional


@dataclass(frozen=True, slots=True)
class Device:
    container_path: str
    host_path: str
    permissions: str = "mrw"


@dataclass(frozen=True, slots=True)
class Resources:
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    memory_limit: int = 0
    oom_score_adj: int = 0
    cpuset: str = ""  # the processors it may use; empty: all
    hugepages: tuple[tuple[str, int], ...] = ()  # (2MB, bytes)


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    name: str
    attempt: int
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    envs: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    cdi_devices: tuple[str, ...] = ()  # vendor.example/class=name, which the runtime itself looks up
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""  # relative to the sandbox's log directory
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = Resources()
    namespaces: Namespaces = Namespaces()
    run_as_user: int | None = None
    run_as_username: str = ""
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    readonly_rootfs: bool = False
    no_new_privs: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    seccomp: Seccomp = Seccomp()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`ips` is filled by `sandbox_status` only, and empty again once the sandbox is stopped."""

    id: str
    name: str
    uid: str
    namespace: str
    attempt: int
    state: SandboxState
    created_at: float
    ips: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Container:
    """`list_containers` fills neither times but `created_at`, nor exit code, reason, message and mounts."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    image: str = ""
    image_ref: str = ""
    created_at: float = 0
    started_at: float = 0
    finished_at: float = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    log_path: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size: int = 0
    uid: int | None = None  # who the image's processes run as; `username` when it is a name
    username: str = ""


@dataclass(frozen=True, slots=True)
class Auth:
    username: str = ""
    password: str = ""
    auth: str = ""
    server: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True, slots=True)
class Condition:
    """RuntimeReady or NetworkReady."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}://{self.version}"


@dataclass(frozen=True, slots=True)
class Stats:
    container_id: str
    labels: Mapping[str, str]
    time: float
    cpu_nanoseconds: int
    memory_usage: int
    memory_working_set: int
    memory_rss: int
    disk_used: int
    nano_cores: int | None = None  # the present rate, where it is known


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to a container or a sandbox (`id`): look at it again.

    `kind` is `exit` or `oom`; `lost` (with no id) after the stream broke: everything may have changed.
    """

    kind: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Streams:
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


class Containers(Protocol):
    async def version(self) -> Version: ...

    async def conditions(self) -> Sequence[Condition]: ...

    async def run_sandbox(self, config: SandboxConfig, handler: str = "") -> str:
        """Start a sandbox; its id."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what runs in it and free its addresses. One that does not exist is no error."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove it with its containers, by force if it still runs. One that does not exist is no error."""

    async def sandbox_status(self, sandbox_id: str) -> Sandbox: ...

    async def list_sandboxes(self, labels: Mapping[str, str] | None = None) -> Sequence[Sandbox]: ...

    async def create_container(
        self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig
    ) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, timeout: float) -> None:
        """TERM, then KILL after `timeout` seconds. One that does not exist is no error."""

    async def remove_container(self, container_id: str) -> None:
        """By force if it still runs. One that does not exist is no error."""

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        """What it may use from now on; 0 leaves as it is."""

    async def list_containers(self, labels: Mapping[str, str] | None = None) -> Sequence[Container]: ...

    async def container_status(self, container_id: str) -> Container: ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: float = 0) -> ExecResult:
        """Run a command to its end; DeadlineExceeded after `timeout` seconds (0: no limit)."""

    async def exec_url(self, container_id: str, command: Sequence[str], streams: Streams) -> str: ...

    async def attach_url(self, container_id: str, streams: Streams) -> str: ...

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str: ...

    async def reopen_log(self, container_id: str) -> None: ...

    async def log_text(self, container_id: str) -> bytes | None:
        """The whole log in CRI's format, if the runtime keeps it itself; None when it is in the file `log_path`."""

    async def stats(self) -> Sequence[Stats]: ...

    def events(self) -> AsyncGenerator[RuntimeEvent, None]:
        """What happens from now on. The first event is `lost`, once the subscription stands.

        Whoever stops listening before the end closes it (`aclose`).
        """


class Images(Protocol):
    async def pull_image(self, image: str, auth: Auth | None = None) -> str:
        """The image's reference (id)."""

    async def image_status(self, image: str) -> Image | None: ...

    async def list_images(self) -> Sequence[Image]: ...

    async def remove_image(self, image: str) -> None: ...

    async def mount_image(self, image: str, path: str) -> None:
        """Show the files of an image that is there, at a directory, read-only. NotSupported where that cannot be."""

    async def unmount_image(self, path: str) -> None: ...


class Runtime(Containers, Images, Protocol):
    """Both services of one runtime. The one who made it calls `close`."""

    async def close(self) -> None: ...
