"""An etcd of this machine's package, alone, durable, for the length of a block."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.clusters import folder

PATIENCE = 20.0  # seconds


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def etcd() -> Iterator[Sequence[str]]:
    """The options of `timonel up` that make it use this etcd."""
    client, peer = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
    with folder() as data_dir:
        command = [
            "etcd", "--data-dir", str(data_dir / "etcd"), "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}", "--log-level", "error",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait(client)
                yield ("--etcd-servers", client)
            finally:
                process.terminate()


def _wait(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                if b"true" in answer.read():
                    return
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > until:
            raise TimeoutError("etcd is not healthy")
        time.sleep(0.1)
