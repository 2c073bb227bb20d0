"""A node's box: network, mount, UTS, IPC and PID namespaces of its own, on a bridge of the cluster's own.

The machine stays as it was but for what is named after the cluster: the bridge, one veth per node, one nftables table
(masquerading for the bridge's subnet), two routes. `teardown` takes all of it away again.

The first process of a box only waits and reaps (`catatonit -P`): the agent and its containerd are children that may be
killed and started again while the containers go on. Killing that first process is a power failure of the node.

Facts behind the order of things: docs/design/node.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from timonel.distro import processes
from timonel.distro.config import ClusterConfig, NetworkConfig, Paths
from timonel.records import dataclass

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
SUBNETS = ipaddress.IPv4Network("172.30.0.0/16")
POD_RANGES = [ipaddress.IPv4Network(f"10.{second}.0.0/16") for second in (*range(244, 256), *range(200, 244))]


class BoxError(Exception):
    """A box cannot be made; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Box:
    """One node's place in the cluster's network. `number` counts from 1 and never changes."""

    name: str
    number: int
    address: str
    pod_cidr: str
    interface: str


def plan(config: ClusterConfig, name: str, number: int) -> Box:
    subnet = ipaddress.ip_network(config.network.subnet)
    pods = list(ipaddress.ip_network(config.cluster_cidr).subnets(new_prefix=24))
    return Box(
        name=name,
        number=number,
        address=str(subnet[number + 1]),
        pod_cidr=str(pods[number - 1]),
        interface=f"{config.network.bridge}n{number}",
    )


def choose_network(cluster: str, reserved: Iterable[str] = ()) -> NetworkConfig:
    """A bridge name and a free subnet for a new cluster; `reserved` are those of clusters that do not run now."""
    digest = hashlib.sha256(cluster.encode()).digest()
    taken = [*_taken_networks(), *map(ipaddress.IPv4Network, reserved)]
    subnets = list(SUBNETS.subnets(new_prefix=24))
    for step in range(len(subnets)):
        subnet = subnets[(digest[0] + step) % len(subnets)]
        if not any(subnet.overlaps(other) for other in taken):
            return NetworkConfig(f"tmn{digest.hex()[:6]}", str(subnet), str(subnet[1]))
    raise BoxError(f"no free subnet in {SUBNETS}; remove a cluster (timonel down --delete)")


def choose_pod_range(reserved: Iterable[str] = ()) -> str:
    """A range for the pods of a new cluster that no route of this machine leads into, nor is reserved."""
    taken = [*_taken_networks(), *_routed_networks(), *map(ipaddress.IPv4Network, reserved)]
    for wanted in POD_RANGES:
        if not any(wanted.overlaps(other) for other in taken):
            return str(wanted)
    raise BoxError(f"no free range for pods from {POD_RANGES[0]} to {POD_RANGES[-1]}; remove a cluster")


def _routed_networks() -> list[ipaddress.IPv4Network]:
    routes = json.loads(_output(["ip", "-json", "-4", "route", "show"]) or "[]")
    return [
        ipaddress.IPv4Network(r["dst"], strict=False) for r in routes if r.get("dst", "default") != "default"
    ]


def salvaged_network(cluster: str) -> NetworkConfig:
    """What can be told of the network of a cluster whose settings are lost: enough to take it away."""
    bridge = f"tmn{hashlib.sha256(cluster.encode()).digest().hex()[:6]}"
    if not Path(f"/sys/class/net/{bridge}").exists():
        return NetworkConfig()
    subnet = next(SUBNETS.subnets(new_prefix=24))
    return NetworkConfig(bridge, str(subnet), str(subnet[1]))


def _taken_networks() -> list[ipaddress.IPv4Network]:
    found = []
    for link in json.loads(_output(["ip", "-json", "-4", "address", "show"]) or "[]"):
        for address in link.get("addr_info", []):
            found.append(ipaddress.IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False))
    return found


# ---- the machine's side


def make_network(config: ClusterConfig) -> None:
    """The bridge with the machine's address on it, and masquerading towards the outside. Does what is missing."""
    network = config.network
    if not Path(f"/sys/class/net/{network.bridge}").exists():
        bits = ipaddress.ip_network(network.subnet).prefixlen
        _ip(
            [
                f"link add {network.bridge} type bridge",
                f"address add {network.gateway}/{bits} dev {network.bridge}",
                f"link set {network.bridge} up",
            ]
        )
    ours = _state_file(config)
    if IP_FORWARD.read_text().strip() != "1" or (ours.parent.is_dir() and any(ours.parent.iterdir())):
        # It was off before the first cluster: each that needs it leaves a mark, the last to go switches it off again.
        ours.parent.mkdir(parents=True, exist_ok=True)
        ours.touch()
        IP_FORWARD.write_text("1")
    _nft(_machine_rules(config))


def _machine_rules(config: ClusterConfig) -> str:
    table, network = f"ip {_table(config)}", config.network
    return f"""\
table {table} {{}}
delete table {table}
table {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network.subnet} oifname != "{network.bridge}" masquerade
  }}
}}
"""


def remove_network(config: ClusterConfig) -> None:
    network = config.network
    if not network.bridge:
        return
    for table in (_table(config), services_table(config)):
        for family in ("ip", "ip6"):
            _nft(f"table {family} {table} {{}}\ndelete table {family} {table}\n")
    _nft(f"table inet {policies_table(config)} {{}}\ndelete table inet {policies_table(config)}\n")
    _delete_link(network.bridge)
    ours = _state_file(config)
    if ours.exists():
        ours.unlink()
        if not any(ours.parent.iterdir()):
            IP_FORWARD.write_text("0")


def _state_file(config: ClusterConfig) -> Path:
    return Path("/run/timonel/forwarding") / config.network.bridge


def _table(config: ClusterConfig) -> str:
    return f"timonel-{config.network.bridge}"


def services_table(config: ClusterConfig) -> str:
    """Where a node outside a box routes Services, on the machine itself."""
    return f"timonel-{config.network.bridge}-services"


def policies_table(config: ClusterConfig) -> str:
    """Where a node outside a box enforces NetworkPolicies, likewise."""
    return f"timonel-{config.network.bridge}-policies"


# ---- a box


def ensure(config: ClusterConfig, paths: Paths, box: Box) -> processes.Process:
    """The first process of the box, started if it is not running, with the node's network joined to the bridge."""
    pid_file = paths.node(box.name) / "box.pid"
    running = processes.find(pid_file)
    if running is not None:
        return running
    for program in ("unshare", "nsenter", "ip", "nft", "catatonit"):
        if shutil.which(program) is None:
            raise BoxError(f"{program} is not installed; `timonel doctor` says which packages are missing")
    _delete_link(box.interface)
    ready, told = os.pipe()
    try:
        child = processes.spawn(
            [
                "unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--propagation", "unchanged",
                "--mount-proc", sys.executable, "-I", "-S", str(Path(__file__).with_name("boxinit.py")),
                box.name, str(told), str(paths.node(box.name)),
            ],
            log=paths.node(box.name) / "box.log",
            pass_fds=(told,),
        )  # fmt: skip
    finally:
        os.close(told)
    with os.fdopen(ready, "rb") as pipe:
        if not pipe.read(1):
            last = processes.last_lines(paths.node(box.name) / "box.log", 3)
            raise BoxError(f"the namespaces of node {box.name} cannot be made: {last}")
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    first = int(children[0])  # process 1 of the new PID namespace
    process = processes.record(pid_file, first)
    try:
        _join(config, box, first)
    except BaseException:  # a box without a network must not be found again as one that runs
        process.send(signal.SIGKILL)
        raise
    return process


def _join(config: ClusterConfig, box: Box, pid: int) -> None:
    bits = ipaddress.ip_network(config.network.subnet).prefixlen
    _ip(
        [
            f"link add {box.interface} type veth peer name eth0 netns {pid}",
            f"link set {box.interface} master {config.network.bridge} up",
            f"route replace {box.pod_cidr} via {box.address}",
        ]
    )
    _ip(
        [
            "link set lo up",
            f"address add {box.address}/{bits} dev eth0",
            "link set eth0 up",
            f"route add default via {config.network.gateway}",
            *(f"route add {other.pod_cidr} via {other.address}" for other in _others(config, box)),
        ],
        inside=pid,
    )
    for setting in (
        "net/ipv4/ip_forward",
        "net/bridge/bridge-nf-call-iptables",
        "net/ipv4/conf/all/route_localnet",
    ):
        command = ["nsenter", f"--net=/proc/{pid}/ns/net", "sysctl", "-qw", f"{setting.replace('/', '.')}=1"]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _others(config: ClusterConfig, box: Box) -> list[Box]:
    """The cluster's other boxes: their pods are reached over the bridge, not by way of the machine."""
    return [plan(config, "", n) for n in range(1, config.nodes + 1) if n != box.number]


def plug(box: Box, *, connected: bool) -> None:
    """The machine's end of a node's cable, up or down."""
    _ip([f"link set {box.interface} {'up' if connected else 'down'}"])
    if connected:  # a route through a link that was down may have gone
        _ip([f"route replace {box.pod_cidr} via {box.address}"])


def enter(pid: int, arguments: Sequence[str]) -> list[str]:
    """The command that runs `arguments` inside a box."""
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--", *arguments]


def start_inside(pid: int, arguments: Sequence[str], log: Path) -> int:
    """Start a program inside a box; its pid as the machine counts. nsenter waits beside it and passes no signals on."""
    ready, told = os.pipe()
    try:
        # the shell says that it is there, with the pid that the program will have
        script = 'echo > /proc/self/fd/"$0"; exec "$@"'
        child = processes.spawn(
            enter(pid, ["sh", "-c", script, str(told), *arguments]), log=log, pass_fds=(told,)
        )
    finally:
        os.close(told)
    with os.fdopen(ready, "rb") as pipe:
        if not pipe.read(1):
            raise BoxError(f"the box cannot be entered: {processes.last_lines(log, 1)}")
    return int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])


def kill(paths: Paths, name: str) -> None:
    """Power off: everything in the box ends at once, and with it its mounts."""
    process = processes.find(paths.node(name) / "box.pid")
    if process is not None:
        process.send(signal.SIGKILL)


def forget(paths: Paths, box: Box) -> None:
    """After the box is dead: its end of the cable, its route, its control groups."""
    _delete_link(box.interface)
    (paths.node(box.name) / "box.pid").unlink(missing_ok=True)
    remove_cgroups(f"kubepods-{box.name}")


def unmount_below(folder: Path) -> None:
    """What a node outside a box has left mounted; in a box, mounts end with it."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((m for m in mounted if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False, stderr=subprocess.DEVNULL)


def remove_cgroups(top: str) -> None:
    """The node's control groups in every hierarchy; those with processes left stay."""
    for hierarchy in Path("/sys/fs/cgroup").glob(f"**/{top}"):
        for folder, _, _ in os.walk(hierarchy, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


# ---- tools


def _delete_link(name: str) -> None:
    """It may go by itself while we look: the other end's namespace ends when the box does."""
    if Path(f"/sys/class/net/{name}").exists():
        try:
            _ip([f"link delete {name}"])
        except BoxError:
            if Path(f"/sys/class/net/{name}").exists():
                raise


def _ip(commands: Iterable[str], *, inside: int | None = None) -> None:
    prefix = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside is not None else []
    _run([*prefix, "ip", "-batch", "-"], "\n".join(commands) + "\n")


def _nft(text: str) -> None:
    _run(["nft", "-f", "-"], text)


def _run(arguments: Sequence[str], text: str) -> None:
    try:
        done = subprocess.run(list(arguments), input=text.encode(), capture_output=True, check=False)
    except FileNotFoundError as exc:
        raise BoxError(
            f"{exc.filename} is not installed; `timonel doctor` says which packages are missing"
        ) from exc
    if done.returncode:
        raise BoxError(f"{' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")


def _output(arguments: Sequence[str]) -> str:
    try:
        return subprocess.run(list(arguments), capture_output=True, check=True, text=True).stdout
    except FileNotFoundError as exc:
        raise BoxError(
            f"{exc.filename} is not installed; `timonel doctor` says which packages are missing"
        ) from exc
