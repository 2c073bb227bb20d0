"""What runs first inside the namespaces of a box: makes its mounts its own, takes the node's name, then waits for ever.

Runs with the bare interpreter (-I -S) and imports only the standard library: it is on the way of every start.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import sys

MS_NODEV, MS_NOSUID = 4, 2
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 0x1000, 0x4000, 1 << 18, 1 << 20

# A stub resolver on the machine's loopback is out of reach from a box; systemd keeps the real list beside it.
RESOLV_CONF, BEHIND_STUB = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
KUBELET = (("/var/lib/kubelet", ""), ("/var/log/pods", "logs"), ("/var/log/containers", "log-links"))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target}: {os.strerror(number)}")


def resolvers() -> str:
    """The text of the machine's resolv.conf, with resolvers that a box can reach where there are such."""
    for file in (BEHIND_STUB, RESOLV_CONF):
        try:
            with open(file) as found:
                return found.read()
        except OSError:
            continue
    return ""


def show_as_kubelet(folder: str) -> None:
    """The node's folder where a kubelet's is looked for: drivers, plugins and collectors of logs name these paths."""
    for place, part in KUBELET:
        source = os.path.join(folder, part)
        try:
            os.makedirs(source, exist_ok=True)
            os.makedirs(place, exist_ok=True)
            mount(source, place, "", MS_BIND)
        except OSError as e:  # such plugins cannot be used then; all else works
            print(f"{place} is not this node's: {e}", file=sys.stderr)


def main(name: str, ready: int, folder: str) -> None:
    """`ready` is a pipe that gets one byte when the box can be entered."""
    # A copy of the machine's mounts that no longer follows it: first cut off, then shared among the containers.
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("none", "/", "", MS_REC | MS_SHARED)
    text = resolvers()
    # Sockets of shims lie in /run/containerd, the same path for every instance: each box needs its own.
    mount("tmpfs", "/run", "tmpfs", MS_NODEV | MS_NOSUID, "mode=755,size=256m")
    with open("/run/timonel-resolv.conf", "w") as file:
        file.write(text)
    if os.path.exists(RESOLV_CONF):  # not where it is a link into the /run that is hidden now
        mount("/run/timonel-resolv.conf", os.path.realpath(RESOLV_CONF), "", MS_BIND)
    show_as_kubelet(folder)
    socket.sethostname(name)
    catatonit = shutil.which("catatonit") or "/usr/bin/catatonit"
    os.write(ready, b"1")
    os.close(ready)
    os.execv(catatonit, [catatonit, "-P"])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
