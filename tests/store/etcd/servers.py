"""Real etcd servers for tests: Debian's `etcd-server`, each in a folder and on ports of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

START_WAIT = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EtcdServer:
    """One member. `stop` and `start` keep its data."""

    def __init__(
        self, folder: Path, *options: str, scheme: str = "http", peer: str = "http://127.0.0.1:0"
    ) -> None:
        program = shutil.which("etcd")
        if program is None:
            raise RuntimeError("etcd is not on the PATH: as root, apt-get install etcd-server")
        self._program = program
        self._options = options
        self._peer = peer
        self.folder = folder
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        with (self.folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program, "--data-dir", str(self.folder / "data"),
                    "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                    "--listen-peer-urls", self._peer,
                    "--heartbeat-interval", "20", "--election-timeout", "200",
                    *self._options,
                ],
                stdout=log, stderr=log, cwd=self.folder, env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"},
            )  # fmt: skip
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it serves, which the members of a cluster do only together."""
        assert self._process is not None
        deadline = time.monotonic() + START_WAIT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if b"ready to serve client requests" in (self.folder / "etcd.log").read_bytes()[self._begin :]:
                return
            time.sleep(0.02)
        raise RuntimeError(f"etcd did not start: {(self.folder / 'etcd.log').read_text()[-2000:]}")

    @property
    def _begin(self) -> int:
        """Where in the log the newest start begins."""
        return max(0, (self.folder / "etcd.log").read_bytes().rfind(b"etcd Version"))

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """It is there and answers nothing, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self.kill()


@contextlib.contextmanager
def etcd(folder: Path, *options: str, scheme: str = "http") -> Iterator[EtcdServer]:
    folder.mkdir(parents=True, exist_ok=True)
    server = EtcdServer(folder, *options, scheme=scheme)
    server.start()
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def cluster_of_three(folder: Path) -> Iterator[list[EtcdServer]]:
    peers = {f"m{n}": f"http://127.0.0.1:{free_port()}" for n in range(3)}
    members = []
    for name, peer in peers.items():
        (folder / name).mkdir(parents=True)
        options = (
            "--name", name, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", ",".join(f"{n}={url}" for n, url in peers.items()),
        )  # fmt: skip
        members.append(EtcdServer(folder / name, *options, peer=peer))
    try:
        for member in members:
            member.start(wait=False)
        for member in members:
            member.wait()
        yield members
    finally:
        for member in members:
            member.close()
