"""Clusters to measure: each in a folder of its own, started and ended by the `timonel` command as users do it."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from timonel.aio.clock import SystemClock
from timonel.client import kubeconfig
from timonel.client.discovery import builtin
from timonel.client.https import HttpsTransport
from timonel.client.rest import Client
from timonel.distro import config as settings
from timonel.distro.config import COMPONENTS, ClusterConfig

NAME = "bench"
TOKEN = "benchmark-token"
CONTROL_PLANE = ("api", "controllers", "scheduler")
TIMEOUT = 60.0  # seconds that a command may take


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that is up. `seconds` is what `timonel up` took, from its start to its end."""

    data_dir: Path
    seconds: float

    @property
    def root(self) -> Path:
        return self.data_dir / NAME

    @property
    def server(self) -> int:
        """The process of the API server, controllers and scheduler."""
        return int((self.root / "server.pid").read_text().split()[0])

    @property
    def kubeconfig(self) -> Path:
        return self.root / "admin.kubeconfig"

    @property
    def port(self) -> int:
        return int(kubeconfig.load(str(self.kubeconfig)).endpoint().server.rpartition(":")[2])

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.root / "pki" / "ca.crt"))

    def client(self) -> tuple[Client, HttpsTransport]:
        transport = HttpsTransport(kubeconfig.load(str(self.kubeconfig)).endpoint(), SystemClock())
        return Client(transport, builtin()), transport


def timonel(*arguments: str) -> None:
    command = [sys.executable, "-m", "timonel", *arguments]
    done = subprocess.run(command, timeout=TIMEOUT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"timonel {arguments[0]}: {done.stderr.strip()}")


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="timonel-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def up(
    data_dir: Path,
    *,
    runtime: str = "simulated",
    components: Sequence[str] = COMPONENTS,
    nodes: int = 1,
    options: Sequence[str] = (),
) -> Iterator[Running]:
    """A cluster for the length of the block; its state stays in `data_dir` for the next one."""
    known = settings.paths_of(data_dir, NAME)
    port = () if known.settings.exists() else ("--port", "0")
    if nodes != 1:
        settings.save(known, ClusterConfig(name=NAME, runtime=runtime, nodes=nodes))
    where = ("--name", NAME, "--data-dir", str(data_dir))
    started = time.perf_counter()
    try:
        timonel(
            "up", *where, "--runtime", runtime, "--components", ",".join(components), "--token", TOKEN,
            *port, *options, "--quiet",
        )  # fmt: skip
        yield Running(data_dir, time.perf_counter() - started)
    finally:
        timonel("down", *where, "--yes")


def delete(data_dir: Path) -> None:
    """Also what a node with containers has left on the machine."""
    timonel("down", "--name", NAME, "--data-dir", str(data_dir), "--delete", "--yes")


@contextmanager
def fresh(
    *,
    runtime: str = "simulated",
    components: Sequence[str] = COMPONENTS,
    nodes: int = 1,
    options: Sequence[str] = (),
) -> Iterator[Running]:
    with folder() as data_dir:
        try:
            with up(
                data_dir, runtime=runtime, components=components, nodes=nodes, options=options
            ) as cluster:
                yield cluster
        finally:
            delete(data_dir)


# ---- what the kernel knows about processes


def resident(pid: int) -> float:
    """MB of memory that a process has for itself and with others."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(pid)


def cpu_seconds(pids: Sequence[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_seconds(pid: int) -> float:
    """As `cpu_seconds`, to the nanosecond: for what hardly computes at all."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def with_children(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def idle_wait(seconds: float) -> None:
    asyncio.run(asyncio.sleep(seconds))
