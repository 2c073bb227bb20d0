"""Server processes to be mistreated: started as users start them, spoken to over HTTPS, killed, starved of disk."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "a-token-of-the-admin"
JSON = "application/json"
PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


def timonel(
    *arguments: str, env: dict[str, str] | None = None, timeout: float = 50
) -> subprocess.CompletedProcess[str]:
    """The command as users type it; what it prints as one text in `stderr`."""
    return subprocess.run(
        [sys.executable, "-m", "timonel", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def version(self) -> int:
        return int(self.body["metadata"]["resourceVersion"])


class Connection:
    """One kept-alive connection. Any error of the socket is an OSError or HTTPException of the caller's."""

    def __init__(self, port: int, authority: Path, timeout: float = 10, *, token: str = TOKEN) -> None:
        self._token = token
        context = ssl.create_default_context(cafile=str(authority))
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def open(
        self, method: str, path: str, body: bytes | None = None, content_type: str = JSON
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        self._connection.request(method, path, body, headers)
        return self._connection.getresponse()

    def send(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Answer:
        """`body` is bytes, or a tree to be sent as JSON."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        answer = self.open(method, path, raw, content_type)
        text = answer.read()
        headers = {k.lower(): v for k, v in answer.headers.items()}
        is_json = headers.get("content-type", JSON).startswith(
            JSON
        )  # what is said on behalf of others may be text
        return Answer(answer.status, json.loads(text) if is_json else text.decode(), headers)


class ServerProcess:
    """A cluster in a folder of its own."""

    def __init__(
        self,
        data_dir: Path,
        *,
        name: str = "faulty",
        components: str = "api",
        store: str = "",
        options: tuple[str, ...] = (),
    ) -> None:
        """`store` is where etcd is; empty: a file. `options` are more of `timonel up`."""
        self._options = options
        self.data_dir, self.name, self._components, self._store = data_dir, name, components, store
        self.folder = data_dir / name

    def up(self) -> None:
        done = timonel(
            "up", *self.where, "--runtime", "simulated", "--components", self._components,
            "--token", TOKEN, *(() if (self.folder / "cluster.json").exists() else ("--port", "0")),
            *(("--etcd-servers", self._store) if self._store else ()), *self._options,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    @property
    def where(self) -> tuple[str, ...]:
        return ("--name", self.name, "--data-dir", str(self.data_dir))

    @property
    def port(self) -> int:
        port: int = json.loads((self.folder / "cluster.json").read_text())["port"]
        return port

    @property
    def pid(self) -> int:
        return int((self.folder / "server.pid").read_text().split()[0])

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def connect(self, timeout: float = 10, *, token: str = TOKEN) -> Connection:
        return Connection(self.port, self.folder / "pki" / "ca.crt", timeout, token=token)

    def send(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Answer:
        with self.connect() as connection:
            return connection.send(method, path, body, content_type)

    def kill(self) -> None:
        """kill -9, and wait until the process is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _is_alive(pid), "the end of the server")

    def share_keys(self, other: ServerProcess) -> None:
        """Be another server of the same cluster: before the first start."""
        shutil.copytree(other.folder / "pki", self.folder / "pki")

    def down(self) -> None:
        timonel("down", *self.where)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


@contextmanager
def running(data_dir: Path, **settings: Any) -> Iterator[ServerProcess]:
    server = ServerProcess(data_dir, **settings)
    server.up()
    try:
        yield server
    finally:
        server.down()


def wait_for(condition: Any, what: str, seconds: float = 20) -> Any:
    """The first true value of `condition()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
