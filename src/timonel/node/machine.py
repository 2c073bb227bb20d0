"""Reads what the machine is: processors, memory, disk, identifiers. The result is a plain value for `nodestatus`."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from timonel.node.cpus import CpuPool
from timonel.node.cri.runtime import Dns
from timonel.node.ledger import Ledger
from timonel.node.nodestatus import Machine
from timonel.node.podspec import parse_resolv_conf

HUGE_PAGES = Path("/sys/kernel/mm/hugepages")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def read(node: str, directory: Path) -> Machine:
    """`directory` is on the file system whose space counts."""
    memory = _memory()
    disk = os.statvfs(directory)
    name = os.uname()
    digest = hashlib.md5(node.encode(), usedforsecurity=False).hexdigest()
    machine_id = _text("/etc/machine-id", "") or digest
    pids = int(_text("/proc/sys/kernel/pid_max", "32768"))
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        disk=disk.f_blocks * disk.f_frsize,
        disk_available=disk.f_bavail * disk.f_frsize,
        pids=pids,
        pids_used=int(_text("/proc/loadavg", "0 0 0 1/1").split()[3].partition("/")[2]),
        machine_id=machine_id,
        system_uuid=_text("/sys/class/dmi/id/product_uuid", machine_id),
        boot_id=_text("/proc/sys/kernel/random/boot_id", ""),
        kernel=name.release,
        os_image=_os_image(),
        architecture=_ARCHITECTURES.get(name.machine, name.machine),
        huge_pages=huge_pages(),
    )


def huge_pages(root: Path = HUGE_PAGES) -> dict[str, int]:
    """Bytes that are set aside for each size of page that the kernel knows (2Mi, 1Gi)."""
    found = dict[str, int]()
    for place in sorted(root.glob("hugepages-*kB")):
        kibi = int(place.name.removeprefix("hugepages-").removesuffix("kB"))
        size = next(
            (f"{kibi >> shift}{unit}" for shift, unit in ((20, "Gi"), (10, "Mi")) if kibi >> shift),
            f"{kibi}Ki",
        )
        found[size] = int(_text(str(place / "nr_hugepages"), "0")) * kibi * 1024
    return found or {"1Gi": 0, "2Mi": 0}


def cpu_pool(reserved: frozenset[int], state: Path) -> CpuPool:
    """The processors of this machine; the first one is reserved if none is named. What an earlier agent gave is in
    the file `state`."""
    online = sorted(os.sched_getaffinity(0))
    cores = {}
    for cpu in online:
        topology = f"/sys/devices/system/cpu/cpu{cpu}/topology/core_id"
        package = _text(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", "0")
        core = _text(topology, str(cpu))
        cores[cpu] = int(package) * 100_000 + int(core)
    ledger = Ledger(state)
    pool = CpuPool(online, reserved or frozenset(online[:1]), cores, ledger.write)
    for (uid, name), text in ledger.read().items():
        with contextlib.suppress(ValueError):
            pool.restore(uid, name, str(text))
    return pool


def host_dns() -> Dns:
    return parse_resolv_conf(_text("/etc/resolv.conf", ""))


def _text(path: str, default: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return default


def _memory() -> dict[str, int]:
    found = dict[str, int]()
    for line in _text("/proc/meminfo", "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def _os_image() -> str:
    for line in _text("/etc/os-release", "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"
