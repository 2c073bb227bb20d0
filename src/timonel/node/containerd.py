"""A containerd of the node's own: private root, state, socket, network and registry settings. The host's is
left alone.

`render_*` are pure (text out of a `Layout`); `ContainerdService` writes the files, starts the process, imports the
pause image and starts it again when it dies. Containers live on in their shims while it is away.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.node import oci
from timonel.node.cri.errors import RuntimeFailure
from timonel.records import dataclass

logger = logging.getLogger(__name__)

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
READY_WAIT = 30.0
RESTART_DELAY = 0.2
RESTART_LIMIT = 10.0
ORPHAN_TRIES = 100
SOCKET_PATH_LIMIT = 107
_IDLE_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.restart",
    "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
)  # fmt: skip


class RuntimeMissing(Exception):
    """A program that the node needs is not installed; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one node's containerd is. `mirrors`: registry -> URL that stands in for it."""

    directory: Path
    node: str
    ip: str
    pod_cidr: str
    cni_bin: str = "/usr/lib/cni"
    mtu: int = 1450
    pause_image: str = PAUSE_IMAGE
    mirrors: Mapping[str, str] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        return self.directory / "c.sock"

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def pid_file(self) -> Path:
        return self.directory / "containerd.pid"

    @property
    def log(self) -> Path:
        return self.directory / "containerd.log"


def render_config(layout: Layout) -> str:
    def quoted(value: object) -> str:
        return json.dumps(str(value), ensure_ascii=False)

    d = layout.directory
    disabled = ", ".join(json.dumps(name) for name in _IDLE_PLUGINS)
    return f"""version = 2
root = {quoted(d / "root")}
state = {quoted(d / "state")}
oom_score = 0
disabled_plugins = [{disabled}]
[grpc]
  address = {quoted(layout.socket)}
[plugins."io.containerd.internal.v1.opt"]
  path = {quoted(d / "opt")}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {quoted(layout.pause_image)}
  stream_server_address = {quoted(layout.ip)}
  stream_server_port = "0"
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = {quoted(d / "runc")}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {quoted(layout.cni_bin)}
    conf_dir = {quoted(d / "cni/net.d")}
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {quoted(d / "certs.d")}
"""


def render_network(layout: Layout) -> str:
    """Routed point-to-point links (no bridge), host ports by portmap. The name is the node's: CNI caches by name."""
    ipam = {
        "type": "host-local",
        "dataDir": f"{layout.directory}/cni/ipam",
        "ranges": [[{"subnet": layout.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "mtu": layout.mtu, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": f"pods-{layout.node}", "plugins": plugins}, indent=1)


def render_hosts(url: str) -> str:
    """hosts.toml of a registry that another one stands in for. The table is required by containerd 1.6."""
    quoted = json.dumps(url, ensure_ascii=False)
    return f'server = {quoted}\n[host.{quoted}]\n  capabilities = ["pull", "resolve"]\n'


def write_mirrors(directory: Path, mirrors: Mapping[str, str]) -> None:
    """Read by containerd on every pull: no restart needed. `directory` is the layout's."""
    root = directory / "certs.d"
    root.mkdir(parents=True, exist_ok=True)
    for registry, url in mirrors.items():
        place = root / registry
        place.mkdir(exist_ok=True)
        (place / "hosts.toml").write_text(render_hosts(url))


def write_files(layout: Layout) -> None:
    d = layout.directory
    if len(str(layout.socket)) + len(".ttrpc") > SOCKET_PATH_LIMIT:
        raise RuntimeMissing(f"{layout.socket} is too long for a socket: choose a shorter data directory")
    for name in ("root", "state", "cni/net.d", "cni/ipam", "opt"):
        (d / name).mkdir(parents=True, exist_ok=True)
    d.chmod(0o711)
    layout.config.write_text(render_config(layout))
    network = d / "cni" / "net.d" / "10-pods.conflist"
    text = render_network(layout)
    if not network.exists() or network.read_text() != text:
        network.write_text(text)
    write_mirrors(d, layout.mirrors)


def find_program(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeMissing(f"{name} is not installed: apt-get install {package}")
    return found


async def import_archive(socket: Path, archive: bytes) -> None:
    """What `timonel image import` does: an OCI or Docker archive becomes images of the node."""
    ctr = find_program("ctr", "containerd")
    process = await asyncio.create_subprocess_exec(
        ctr, "--address", str(socket), "--namespace", "k8s.io", "images", "import", "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate(archive)
    if process.returncode != 0:
        raise RuntimeFailure(f"image import failed: {errors.decode('utf-8', 'replace').strip()}")


def enable_forwarding() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


class ContainerdService:
    """A lifecycle service: ready when the socket answers and the pause image is there."""

    name = "containerd"

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock

    async def run(self, ready: asyncio.Event) -> None:
        program = find_program("containerd", "containerd")
        find_program("runc", "runc")
        threads = Threads("containerd-files")
        try:
            await threads.run(write_files, self._layout)
            await threads.run(enable_forwarding)
            await self._end_orphan()
            await self._supervise(program, ready)
        finally:
            threads.close()

    async def _supervise(self, program: str, ready: asyncio.Event) -> None:
        delay = RESTART_DELAY
        while True:
            started = self._clock.monotonic()
            process = await self._start(program)
            try:
                await self._until_ready(process)
                if not ready.is_set():
                    await self._provide_pause_image()
                ready.set()
                await process.wait()
            finally:
                await self._stop(process)
            if self._clock.monotonic() - started > RESTART_LIMIT:
                delay = RESTART_DELAY
            if not ready.is_set():
                raise RuntimeMissing(f"containerd ended while starting: see {self._layout.log}")
            logger.warning("containerd ended, starting it again", extra={"code": process.returncode})
            await self._clock.sleep(delay)
            delay = min(delay * 2, RESTART_LIMIT)

    async def _start(self, program: str) -> asyncio.subprocess.Process:
        # a process group of its own: an interrupt of the agent's terminal is not for containerd
        with self._layout.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                program, "--config", str(self._layout.config), "--log-level", "warn",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._layout.pid_file.write_text(str(process.pid))
        return process

    async def _end_orphan(self) -> None:
        """A containerd that a killed agent left behind: it holds the data, and nobody would hear when it dies."""
        pid = _orphan(self._layout)
        if pid is None:
            return
        logger.info("Ending the containerd of an earlier agent", extra={"pid": pid})
        os.kill(pid, signal.SIGTERM)
        for _ in range(ORPHAN_TRIES):
            if _orphan(self._layout) is None:
                return
            await self._clock.sleep(0.05)
        os.kill(pid, signal.SIGKILL)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """TERM, then KILL. Shims and containers stay."""
        if process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = self._clock.monotonic() + READY_WAIT
        while process.returncode is None:
            if await _answers(self._layout.socket):
                return
            if self._clock.monotonic() > deadline:
                raise RuntimeMissing(f"containerd does not answer: see {self._layout.log}")
            await self._clock.sleep(0.01)

    async def _provide_pause_image(self) -> None:
        init = Path(find_program("catatonit", "catatonit"))
        marker = self._layout.directory / "pause-image"
        wanted = _pause_version(self._layout, init)
        if _text_of(marker) == wanted:
            return
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        await import_archive(self._layout.socket, oci.pause_image(self._layout.pause_image, init, arch))
        marker.write_text(wanted)


def _orphan(layout: Layout) -> int | None:
    """The process that runs with our configuration, if there is one already."""
    try:
        pid = int(layout.pid_file.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(layout.config).encode() in words else None


def _pause_version(layout: Layout, init: Path) -> str:
    found = init.stat()
    return f"{layout.pause_image} {found.st_size} {found.st_mtime_ns}"


def _text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def _answers(socket: Path) -> bool:
    """Whether the daemon listens; it accepts only once its plugins are loaded."""
    try:
        _, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.close()
    return True
