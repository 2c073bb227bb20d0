"""Starting and stopping a cluster from outside of it: what `timonel up` and `timonel down` do.

`up` prepares the folder (settings, keys), starts the server in the background and follows what it reports on a pipe:
one JSON line a step, `{"event": "done", "step": "api", "text": …}`, until `{"event": "ready"}`, but no longer than
`START_WAIT`. The server itself keeps the nodes of this machine running (`nodes`).
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from timonel.aio.clock import Clock, WallClock
from timonel.distro import box, host, processes
from timonel.distro import config as settings
from timonel.distro.config import ClusterConfig, ConfigError, EtcdConfig, NetworkConfig, Paths
from timonel.records import dataclass

STOP_GRACE = 20.0  # seconds
SOCKET_PATH_LIMIT = 107  # bytes, of an AF_UNIX address
START_WAIT = 60.0
SIMULATED_PODS = "100.64.0.0/10"
# What the threads of the store read, the loop lets go of: with an arena for each thread nothing would use it again.
ALLOCATION = {"MALLOC_ARENA_MAX": "1"}
STEPS = {"api": "the API server", "control": "controllers and scheduler", "node": "the node"}

Report = Callable[[dict[str, Any]], None]


class LaunchError(Exception):
    """The cluster could not be started; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PortTaken(LaunchError):
    """Somebody else took the port after it was found to be free."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for; None means: as it was, or the default for a new cluster."""

    runtime: str | None = None
    components: tuple[str, ...] | None = None
    port: int | None = None
    legacy_apis: bool | None = None
    token: str | None = None
    container_runtime_endpoint: str | None = None
    store: str | None = None
    etcd: EtcdConfig | None = None
    apiserver_args: dict[str, str] | None = None
    kubelet_args: dict[str, str] | None = None
    nodes: int | None = None
    scheduler_config: str | None = None
    stages: str | None = None
    clock: str | None = None


@contextmanager
def alone(paths: Paths) -> Iterator[None]:
    """Only one `timonel up` of a cluster at a time. Raises LaunchError."""
    is_new = not paths.root.exists()
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with processes.locked(paths.up_lock):
            yield
    except processes.Held as exc:
        raise LaunchError(
            f"cluster {paths.root.name} is being started by another `timonel up`",
            "Wait for that one; `timonel status` shows what runs.",
        ) from exc
    finally:
        if is_new and not paths.settings.exists():  # it has come to nothing
            with suppress(OSError):
                paths.up_lock.unlink()
                paths.root.rmdir()


def prepare(paths: Paths, name: str, wishes: Wishes) -> ClusterConfig:
    """The settings to start with, saved. Raises ConfigError, LaunchError."""
    known = settings.load(paths)
    config = known or ClusterConfig(name=name, runtime="auto")
    config = settings.with_changes(
        config,
        components=wishes.components,
        port=wishes.port,
        legacy_apis=wishes.legacy_apis,
        token=wishes.token,
        container_runtime_endpoint=wishes.container_runtime_endpoint,
        store=wishes.store,
        etcd=wishes.etcd,
        apiserver_args=wishes.apiserver_args,
        kubelet_args=wishes.kubelet_args,
        nodes=wishes.nodes,
        scheduler_config=wishes.scheduler_config,
        stages=wishes.stages,
        clock=wishes.clock,
    )
    if config.store == "etcd" and not config.etcd.servers:
        raise ConfigError("it is not said where etcd is", "Say it: --store etcd://HOST:2379")
    config = replace(config, runtime=_runtime(wishes.runtime, config))
    _check_simulated(config)
    if config.runtime == "containerd" and "node" in config.components:
        _check_length(paths, config)
        if not config.network.bridge:
            others = list(_neighbours(paths))
            subnets = [o.network.subnet for o in others if o.network.subnet]
            config = replace(config, network=box.choose_network(str(paths.root), subnets))
            if known is None:
                pods = [o.cluster_cidr for o in others if o.network.subnet]
                config = replace(config, cluster_cidr=box.choose_pod_range(pods))
    elif known is None:
        config = replace(config, network=NetworkConfig())
        if "node" in config.components:  # enough ranges for as many nodes as may be simulated
            config = replace(config, cluster_cidr=SIMULATED_PODS)
    if not config.port:  # asked for a free one, or not asked: then the usual one if it is free
        preferred = (0,) if wishes.port == 0 else (settings.DEFAULT_PORT, 0)
        config = replace(config, port=_free_port(config.address, preferred))
    else:
        _check_port(config.address, config.port)
    settings.save(paths, config)
    return config


def _check_simulated(config: ClusterConfig) -> None:
    """What only clusters without real containers can have."""
    is_real = config.runtime == "containerd" and "node" in config.components
    if is_real and config.clock == "virtual":
        raise ConfigError(
            "real containers live in real time: they cannot have a virtual clock",
            "Simulate them: --runtime simulated --clock virtual",
        )
    if config.clock == "virtual" and config.store == "etcd":
        raise ConfigError("a virtual clock is one server's: it cannot share etcd with others")


def _check_length(paths: Paths, config: ClusterConfig) -> None:
    """A socket's path has no room for a deep folder."""
    longest = paths.node(f"{config.name}-{config.nodes}") / "containerd" / "c.sock.ttrpc"
    if len(str(longest).encode()) > SOCKET_PATH_LIMIT and not config.container_runtime_endpoint:
        room = SOCKET_PATH_LIMIT - (len(str(longest).encode()) - len(str(paths.root.parent).encode()))
        raise LaunchError(
            f"{paths.root.parent} is too long a path for the sockets below it",
            f"Choose a data directory of at most {room} bytes: --data-dir DIR",
        )


def _neighbours(paths: Paths) -> Iterator[ClusterConfig]:
    """The other clusters of the data directory, running or not; damaged ones are left out."""
    for file in sorted(paths.root.parent.glob("*/cluster.json")):
        if file.parent != paths.root:
            with suppress(settings.ConfigError):
                found = settings.load(Paths(file.parent))
                if found is not None:
                    yield found


def _runtime(wanted: str | None, config: ClusterConfig) -> str:
    chosen = wanted or config.runtime
    if "node" not in config.components:
        return chosen if chosen in ("containerd", "simulated") else "simulated"
    if chosen == "simulated":
        return chosen
    missing = host.missing_for_containers()
    if not missing:
        return "containerd"
    if chosen == "containerd":
        first = missing[0]
        raise LaunchError(
            f"real containers cannot run here: {first.check}: {first.detail}",
            f"{first.remedy}. `timonel doctor` checks everything; --runtime simulated works without.",
        )
    return "simulated"


def _free_port(address: str, preferred: tuple[int, ...]) -> int:
    for port in preferred:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise LaunchError(f"no free port on {address}")


def _check_port(address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError as exc:
            raise LaunchError(f"port {port} needs root", "Choose one above 1023: --port 6443") from exc
        except OSError as exc:
            raise LaunchError(
                f"port {port} on {address} is taken by another process",
                "Choose another one: --port 0 takes a free one",
            ) from exc


def start(paths: Paths, config: ClusterConfig, report: Report, *, any_port: bool = False) -> ClusterConfig:
    """Start the server and wait until it is ready; the settings that it runs with. Raises LaunchError.

    With `any_port` it moves on when the port that was chosen has been taken meanwhile.
    """
    try:
        _start(paths, config, report)
        return config
    except PortTaken:
        if not any_port:
            raise
    config = replace(config, port=_free_port(config.address, (0,)))
    settings.save(paths, config)
    _start(paths, config, report)
    return config


def _start(paths: Paths, config: ClusterConfig, report: Report) -> None:
    ready, told = os.pipe()
    started_log = paths.log.stat().st_size if paths.log.exists() else 0
    try:
        child = processes.spawn(
            [
                sys.executable, "-m", "timonel", "server",
                "--name", config.name, "--data-dir", str(paths.root.parent), "--report-fd", str(told),
            ],
            log=paths.log,
            environment=ALLOCATION,
            pass_fds=(told,),
        )  # fmt: skip
    finally:
        os.close(told)
    waiting = [step for step in STEPS if _is_wanted(step, config)]
    try:
        for event in _events(ready, START_WAIT):
            if event["event"] == "ready":
                return
            if event["event"] == "error":
                _wait_for_end(child)
                kind = PortTaken if event.get("port_taken") else LaunchError
                raise kind(event["text"], event.get("hint", ""))
            if event.get("step") in waiting:
                waiting.remove(event["step"])
            report(event)
    except TimeoutError as exc:
        missing = " and ".join(STEPS[step] for step in waiting) or "the server"
        raise LaunchError(
            f"not ready after {START_WAIT:.0f} s: {missing}",
            f"It goes on starting: `timonel status --name {config.name}` shows whether it runs, `timonel down "
            f"--name {config.name}` ends it. The log: {paths.log}",
        ) from exc
    finally:
        os.close(ready)
    raise LaunchError(
        "the server ended before it was ready:\n" + _since(paths.log, started_log),
        f"The whole log: {paths.log}",
    )


def _wait_for_end(child: subprocess.Popen[bytes]) -> None:
    """A server that has said that it cannot go on ends by itself; it must not be taken for one that runs."""
    try:
        child.wait(STOP_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _is_wanted(step: str, config: ClusterConfig) -> bool:
    if step == "control":
        return "controllers" in config.components or "scheduler" in config.components
    return step in config.components


def _events(pipe: int, seconds: float) -> Iterator[dict[str, Any]]:
    """What comes on the pipe until its end. Raises TimeoutError where that takes too long."""
    clock = WallClock()
    deadline = clock.monotonic() + seconds
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left = deadline - clock.monotonic()
            if left <= 0 or not selector.select(left):
                raise TimeoutError
            chunk = os.read(pipe, 65_536)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield json.loads(line)


def _since(log: Path, position: int) -> str:
    with log.open("rb") as file:
        file.seek(position)
        return b"\n".join(file.read().splitlines()[-8:]).decode(errors="replace")


async def stop(paths: Paths, config: ClusterConfig, clock: Clock) -> bool:
    """End server and nodes, and give the machine its network back; whether anything ran."""
    server = processes.find(paths.pid)
    if server is not None:
        await processes.stop(server, clock, grace=STOP_GRACE)
    paths.pid.unlink(missing_ok=True)
    ran = server is not None
    for name in paths.nodes:
        ran |= await stop_node(paths, config, name, clock)
    if config.network.bridge:
        box.remove_network(config)
    return ran


async def stop_node(
    paths: Paths, config: ClusterConfig, name: str, clock: Clock, *, forget_off: bool = True
) -> bool:
    """End a node and its box; `forget_off`: one that was switched off runs again with its cluster."""
    agent = processes.find(paths.node(name) / "agent.pid")
    if agent is not None:
        await processes.stop(agent, clock, grace=STOP_GRACE)
    first = processes.find(paths.node(name) / "box.pid")
    if first is not None:
        box.kill(paths, name)
        while first.is_alive():
            await clock.sleep(processes.POLL)
    (paths.node(name) / "agent.pid").unlink(missing_ok=True)
    if config.network.bridge:
        number = name.rpartition("-")[2]
        if number.isdigit():
            box.forget(paths, box.plan(config, name, int(number)))
    if forget_off:
        paths.off(name).unlink(missing_ok=True)
    return agent is not None or first is not None
