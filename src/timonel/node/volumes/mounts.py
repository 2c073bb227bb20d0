"""mount(2) and umount(2): tmpfs for what must not reach the disk, binds for parts of volumes.

Needs root and the runtime's mount namespace.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
MNT_DETACH = 2
TABLE = "/proc/self/mounts"
_ESCAPED = re.compile(r"\\([0-7]{3})")
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 0x1
_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def _check(result: int, path: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def mount_tmpfs(path: Path, size: int = 0) -> None:
    """`size` in bytes; 0 is the kernel's default, half of the memory."""
    options = f"size={size}" if size else ""
    _check(_libc.mount(b"tmpfs", bytes(path), b"tmpfs", 0, options.encode()), path)


def mount_hugepages(path: Path, size: str = "") -> None:
    """`size` of a page as Kubernetes writes it (2Mi, 1Gi); empty is the machine's default."""
    options = f"pagesize={size.removesuffix('i')}" if size else ""
    _check(_libc.mount(b"nodev", bytes(path), b"hugetlbfs", 0, options.encode()), path)


def bind(opened: int, place: Path, *, shared: bool = False) -> None:
    """What a descriptor stands for, at another place too, with what is mounted below it. Unless it is to be `shared`,
    what happens to the mounts there does not show where they come from."""
    _check(_libc.mount(b"/proc/self/fd/%d" % opened, bytes(place), None, MS_BIND | MS_REC, None), place)
    if not shared:
        _detach(place)


def _detach(place: Path) -> None:
    _check(_libc.mount(None, bytes(place), None, MS_SLAVE | MS_REC, None), place)


def freeze(place: Path) -> None:
    """A mount and all below it are read-only from now on, at this place."""
    attributes = _Attributes(MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    found = _libc.syscall(MOUNT_SETATTR, AT_FDCWD, bytes(place), AT_RECURSIVE, ctypes.byref(attributes), size)
    _check(found, place)


def unmount(path: Path) -> None:
    """Also while something still uses it: it goes when the last user does."""
    _check(_libc.umount2(bytes(path), MNT_DETACH), path)


def clear(root: Path) -> None:
    """Unmount a place and all below it, and nothing elsewhere: a mount that others share is cut off first, or what is
    mounted below it would go at its source, too."""
    found = mounts_below(root, with_itself=True)
    for path in reversed(found):
        _detach(path)
    for path in found:
        unmount(path)


def is_mounted(path: Path) -> bool:
    return os.path.ismount(path)


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))


def mounts_below(root: Path, *, with_itself: bool = False) -> list[Path]:
    """Deepest first."""
    prefix = f"{root}/"
    itself = str(root) if with_itself else ""
    with open(TABLE, encoding="utf-8") as table:
        targets = (_ESCAPED.sub(_character, line.split(" ", 2)[1]) for line in table)
        found = [Path(target) for target in targets if target.startswith(prefix) or target == itself]
    return sorted(found, key=lambda p: len(p.parts), reverse=True)
