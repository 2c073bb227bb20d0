"""A registry with one image, for tests of pulls: it may want a password, and may stall in the middle of a layer."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from timonel.node import oci

TYPES = {"manifests": "application/vnd.oci.image.manifest.v1+json", "blobs": "application/octet-stream"}


class SmallRegistry:
    """`password` is the one of the user `user`; `stalls` sends only the first bytes of what it is asked for."""

    def __init__(self, name: str, *, password: str = "", stalls: bool = False) -> None:
        self.name, self.password, self.stalls = name, password, stalls
        self.port = 0
        self.stalled = asyncio.Event()
        program = Path("/bin/busybox").read_bytes()
        entries = [
            oci.Entry("bin", "d"),
            oci.Entry("bin/busybox", data=program),
            *(oci.Entry(f"bin/{name}", "l", data=b"busybox") for name in ("sh", "sleep")),
            oci.Entry("of", data=name.encode()),  # makes each registry's layer one of its own
        ]
        files = oci.layout(f"docker.io/library/{name}:1", [oci.layer(entries)], {"Env": [oci.PATH_ENV]})
        self.index = json.loads(files["index.json"])["manifests"][0]["digest"]
        self.blobs = {
            f"sha256:{Path(path).name}": data for path, data in files.items() if path.startswith("blobs/")
        }

    @property
    def image(self) -> str:
        return f"127.0.0.1:{self.port}/{self.name}:1"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                if not await self._answer(writer, method, path, head):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str, head: str) -> bool:
        if self.password and self._credentials() not in head:
            challenge = 'WWW-Authenticate: Basic realm="small"\r\n'
            writer.write(f"HTTP/1.1 401 Unauthorized\r\n{challenge}Content-Length: 0\r\n\r\n".encode())
            return True
        kind, _, reference = path.rpartition("/")
        kind = kind.rpartition("/")[2]
        digest = reference if reference in self.blobs else self.index
        if kind not in TYPES:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            return True
        data = self.blobs[digest]
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {TYPES[kind]}\r\nDocker-Content-Digest: {digest}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
        )
        if method == "HEAD":
            return True
        is_layer = len(data) > 100_000
        writer.write(data[: len(data) // 2] if is_layer and self.stalls else data)
        await writer.drain()
        if is_layer and self.stalls:
            self.stalled.set()
            await asyncio.sleep(3600)
        return True

    def _credentials(self) -> str:
        return base64.b64encode(f"user:{self.password}".encode()).decode()
