"""What this machine can do: the checks behind `timonel doctor`, and behind `--runtime auto`.

Each check names its remedy. A check that fails stops real containers unless it is only advice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path

from timonel.records import dataclass

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("ptp", "portmap", "host-local", "loopback")
INOTIFY_INSTANCES, INOTIFY_WATCHES = 512, 65_536

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "catatonit": "catatonit",
    "mount": "mount",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`needed` is False for advice: real containers work without it."""

    check: str
    ok: bool
    detail: str = ""
    remedy: str = ""
    needed: bool = True


def findings() -> list[Finding]:
    return [finding for check in CHECKS for finding in check()]


def missing_for_containers() -> list[Finding]:
    """What keeps this machine from running real containers; empty where it can."""
    return [f for f in findings() if f.needed and not f.ok]


def cni_folder() -> Path | None:
    return next((f for f in CNI_FOLDERS if all((f / plugin).exists() for plugin in CNI_PLUGINS)), None)


def _root() -> Iterator[Finding]:
    yield Finding(
        "root",
        os.geteuid() == 0,
        detail=f"running as uid {os.geteuid()}",
        remedy="real containers need root: run as root, or use --runtime simulated",
    )


def _programs() -> Iterator[Finding]:
    for program, package in PACKAGES.items():
        path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
        yield Finding(
            program, path is not None, detail=path or "not found", remedy=f"apt-get install {package}"
        )


def _cni() -> Iterator[Finding]:
    folder = cni_folder()
    yield Finding(
        "CNI plugins",
        folder is not None,
        detail=str(folder or f"{', '.join(CNI_PLUGINS)} not found in {' or '.join(map(str, CNI_FOLDERS))}"),
        remedy="apt-get install containernetworking-plugins",
    )


def _python_packages() -> Iterator[Finding]:
    absent = [m for m in ("grpc", "google.protobuf", "dns", "pyroute2") if _is_absent(m)]
    yield Finding(
        "Python packages",
        not absent,
        detail=f"missing: {', '.join(absent)}" if absent else "grpcio, protobuf, dnspython, pyroute2",
        remedy="pip install 'timonel[node]'",
    )


def _is_absent(module: str) -> bool:
    try:
        return util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def _nftables() -> Iterator[Finding]:
    if os.geteuid() != 0 or shutil.which("nft") is None:
        return
    test = "table ip timonel-doctor { chain c { type nat hook postrouting priority srcnat; masquerade; }; }\n"
    done = subprocess.run(["nft", "-c", "-f", "-"], input=test.encode(), capture_output=True, check=False)
    yield Finding(
        "nftables in the kernel",
        done.returncode == 0,
        detail="nat and masquerade" if done.returncode == 0 else done.stderr.decode().strip()[:200],
        remedy="a kernel with CONFIG_NF_TABLES, NFT_NAT and NFT_MASQ is needed",
    )


def _cgroups() -> Iterator[Finding]:
    v2 = Path("/sys/fs/cgroup/cgroup.controllers")
    v1 = Path("/sys/fs/cgroup/memory")
    found = "version 2" if v2.exists() else "version 1" if v1.exists() else ""
    yield Finding(
        "cgroups",
        bool(found),
        detail=found or "no memory controller in /sys/fs/cgroup",
        remedy="mount the cgroup file system (in a container: run it privileged)",
    )


def _filesystems() -> Iterator[Finding]:
    known = Path("/proc/filesystems").read_text()
    yield Finding(
        "overlay file system",
        "\toverlay\n" in known,
        detail="in the kernel" if "\toverlay\n" in known else "not in /proc/filesystems",
        remedy="modprobe overlay",
    )


def _inotify() -> Iterator[Finding]:
    for name, wanted in (("max_user_instances", INOTIFY_INSTANCES), ("max_user_watches", INOTIFY_WATCHES)):
        value = int(Path(f"/proc/sys/fs/inotify/{name}").read_text())
        yield Finding(
            f"inotify {name}",
            value >= wanted,
            detail=f"{value}, {wanted} or more is recommended",
            remedy=f"sysctl -w fs.inotify.{name}={wanted}",
            needed=False,
        )


def _kubectl() -> Iterator[Finding]:
    path = shutil.which("kubectl")
    yield Finding(
        "kubectl",
        path is not None,
        detail=path or "not found",
        remedy="apt-get install kubernetes-client (or any other kubectl)",
        needed=False,
    )


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _root, _programs, _cni, _python_packages, _nftables, _cgroups, _filesystems, _inotify, _kubectl,
)  # fmt: skip
