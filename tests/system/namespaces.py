"""A node with pods and a client outside, as network namespaces with cables: where rules meet real packets.

client 192.168.77.2 ── node 192.168.77.1 ─┬─ pod a 10.244.0.2
       fd77::2             fd77::1         ├─ pod b 10.244.0.3
                                           └─ pod c 10.244.0.4
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from timonel.netfilter.elements import Changes
from timonel.netfilter.kernel import NftError
from timonel.netfilter.messages import send, transaction
from timonel.netfilter.watch import TableWatch, listen

PODS = {"a": "10.244.0.2", "b": "10.244.0.3", "c": "10.244.0.4"}
NODE, CLIENT = "192.168.77.1", "192.168.77.2"
NODE6, CLIENT6 = "fd77::1", "fd77::2"
CLONE_NEWNET = 0x40000000

SERVER = """
import socket, sys, threading
name, family, kind, address, port = sys.argv[1], *sys.argv[2:6]
s = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET,
                  socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((address, int(port)))
if kind == "tcp":
    s.listen(64)
print("up", flush=True)
while True:
    if kind == "udp":
        data, peer = s.recvfrom(100)
        s.sendto(f"{name} {peer[0]}".encode(), peer)
    else:
        c, peer = s.accept()
        c.sendall(f"{name} {peer[0]}".encode()); c.close()
"""

CLIENT_PROGRAM = """
import json, socket, sys
kind, address, port, times, source_port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
found = []
for _ in range(times):
    s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    s.settimeout(0.4)
    try:
        if source_port:
            s.bind(("", source_port))
        s.connect((address, port))
        if kind == "udp":
            s.send(b"x")
        found.append(s.recv(100).decode())
    except TimeoutError:
        found.append("timeout")
    except OSError as exc:
        found.append("refused" if exc.errno in (111, 113) else str(exc))
    s.close()
print(json.dumps(found))
"""


class World:
    """The namespaces of one test module. `prefix` keeps them apart from others."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._processes: list[subprocess.Popen[str]] = []

    def name(self, part: str) -> str:
        return f"{self.prefix}-{part}"

    def run(self, part: str, command: Sequence[str], text: str = "") -> str:
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.name(part)}", "--", *command],
            input=text, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise NftError(done.stdout + done.stderr)
        return done.stdout

    def build(self) -> None:
        for part in ("node", "client", *PODS):
            subprocess.run(["ip", "netns", "add", self.name(part)], check=True)
            self.run(part, ["ip", "link", "set", "lo", "up"])
        self._cable("client", "lan", f"{CLIENT}/24", f"{NODE}/24", f"{CLIENT6}/64", f"{NODE6}/64")
        self.run("client", ["ip", "route", "add", "default", "via", NODE])
        self.run("client", ["ip", "-6", "route", "add", "default", "via", NODE6])
        self.run("node", ["ip", "route", "add", "default", "via", CLIENT])
        self.run("node", ["ip", "-6", "route", "add", "default", "via", CLIENT6])
        for n, (pod, address) in enumerate(PODS.items()):
            six = f"fd00::{n + 2}"
            self._cable(pod, f"veth{pod}", f"{address}/32", "169.254.1.1/32", f"{six}/128", "fe80::1/64")
            inside = ["169.254.1.1 dev eth0 scope link", "default via 169.254.1.1"]
            for route in inside:
                self.run(pod, ["ip", "route", "add", *route.split()])
            self.run(pod, ["ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0"])
            self.run("node", ["ip", "route", "add", address, "dev", f"veth{pod}"])
            self.run("node", ["ip", "-6", "route", "add", six, "dev", f"veth{pod}"])
        for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.run("node", ["sysctl", "-qw", f"{setting}=1"])

    def _cable(self, part: str, link: str, inner: str, outer: str, inner6: str, outer6: str) -> None:
        peer = ["peer", "name", "eth0", "netns", self.name(part)]
        self.run("node", ["ip", "link", "add", link, "type", "veth", *peer])
        for where, device, address in (
            (part, "eth0", inner), ("node", link, outer), (part, "eth0", inner6), ("node", link, outer6),
        ):  # fmt: skip
            nodad = ["nodad"] if ":" in address else []
            self.run(where, ["ip", "address", "add", address, "dev", device, *nodad])
        self.run(part, ["ip", "link", "set", "eth0", "up"])
        self.run("node", ["ip", "link", "set", link, "up"])

    def serve(self, part: str, address: str, port: int, kind: str = "tcp") -> None:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name(part)}", sys.executable, "-S", "-c", SERVER,
             part, "6" if ":" in address else "4", kind, address, str(port)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

    def ask(
        self, part: str, address: str, port: int, *, kind: str = "tcp", times: int = 1, source_port: int = 0
    ) -> list[str]:
        """What servers say: their name and the address they see; or refused, or timeout."""
        arguments = [kind, address, str(port), str(times), str(source_port)]
        found: list[str] = json.loads(
            self.run(part, [sys.executable, "-S", "-c", CLIENT_PROGRAM, *arguments])
        )
        return found

    def inside(self, part: str, work: Callable[[], object]) -> object:
        """Run `work` in a thread that has entered a namespace."""
        result: list[object] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                with Path(f"/run/netns/{self.name(part)}").open() as file:
                    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                result.append(work())
            except BaseException as exc:
                errors.append(exc)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return result[0]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        for part in ("node", "client", *PODS):
            subprocess.run(["ip", "netns", "delete", self.name(part)], check=False, capture_output=True)


class NodeKernel:
    """`proxy.shell.Rules` for the node's namespace."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._watches: list[TableWatch] = []

    def watch(self, table: str, gone: Callable[[], None]) -> None:
        channel = self._world.inside("node", listen)
        assert isinstance(channel, socket.socket)
        self._watches.append(TableWatch(channel, table, gone))

    async def rules(self, text: str) -> None:
        self._world.run("node", ["nft", "-f", "-"], text)

    async def elements(self, table: str, changes: Changes) -> None:
        try:
            self._world.inside("node", lambda: send(transaction(table, changes)))
        except OSError as exc:
            raise NftError(str(exc)) from exc

    async def blocking(self, work: Callable[[], int]) -> int:
        return int(str(self._world.inside("node", work)))

    def close(self) -> None:
        for watch in self._watches:
            watch.close()


@contextmanager
def world(prefix: str) -> Iterator[World]:
    before = traces()
    made = World(prefix)
    try:
        made.build()
        yield made
    finally:
        made.close()
    assert traces() == before, "something was left on the machine"


def traces() -> tuple[str, ...]:
    """Links, routes, rules and namespaces of the machine itself."""
    commands = (["ip", "-brief", "link"], ["ip", "route"], ["nft", "list", "tables"])
    found = [subprocess.run(c, capture_output=True, text=True, check=True).stdout for c in commands]
    links = "\n".join(line.split()[0] for line in found[0].splitlines() if "tnt" in line)
    names = sorted(p.name for p in Path("/run/netns").glob("tnt*"))
    return (
        links,
        "\n".join(x for x in found[1].splitlines() if "192.168.77" in x),
        found[2].count("tnt") * "x",
        *names,
    )
