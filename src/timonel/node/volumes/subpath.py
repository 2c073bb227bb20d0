"""The place in a volume that a volumeMount's subPath names, held so that nobody can exchange it meanwhile.

A container that writes to the volume could put a link where a directory was, between our look at it and the runtime's
mount of it. So the kernel opens the path below the volume and nowhere else (openat2, RESOLVE_BENEATH), what was opened
is mounted at a place of the pod's own that no container reaches, and the runtime is given that place. They go with
the pod's other volumes (`manager`).

Upstream: pkg/volume/util/subpath/subpath_linux.go.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from pathlib import Path, PurePath

from timonel.node.volumes import mounts
from timonel.node.volumes.source import VolumeError

OPENAT2 = 437  # the same on all architectures
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 0x02, 0x08
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class SubPaths:
    """What one pod's containers mount of their volumes' insides: `directory`/CONTAINER/NUMBER."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def hold(
        self,
        container: str,
        number: int,
        volume: Path,
        sub: str,
        *,
        read_only: bool = False,
        shared: bool = False,
    ) -> Path:
        """Mount a path of the volume at a place of its own, instead of what an earlier container had there.

        `read_only`: with everything that is mounted below it (recursiveReadOnly); `shared`: mounts made there show in
        the volume, too (mountPropagation)."""
        place = self._directory / container / str(number)
        opened = open_below(volume, sub)
        try:
            self._clear(place)
            place.parent.mkdir(0o711, parents=True, exist_ok=True)
            if stat.S_ISDIR(os.fstat(opened).st_mode):
                place.mkdir()
            else:
                place.touch()
            mounts.bind(opened, place, shared=shared)
            if read_only:
                mounts.freeze(place)
        finally:
            os.close(opened)
        return place

    def _clear(self, place: Path) -> None:
        mounts.clear(place)
        if place.is_dir():
            place.rmdir()
        else:
            place.unlink(missing_ok=True)


def open_below(volume: Path, sub: str, *, make: bool = True) -> int:
    """A descriptor of the path, made of directories where it is missing; links must not lead out of the volume."""
    base = os.open(volume.resolve(), os.O_PATH | os.O_CLOEXEC)
    try:
        if not sub:
            return os.dup(base)
        if make:
            _make(base, sub)
        return _open_beneath(base, sub)
    except FileNotFoundError as e:
        raise VolumeError(f'failed to prepare subPath for volumeMount: "{sub}" does not exist') from e
    except OSError as e:
        if e.errno == errno.EXDEV:
            raise VolumeError(f"subPath {sub} leads outside of its volume") from e
        raise VolumeError(f'failed to prepare subPath for volumeMount: "{sub}": {e.strerror}') from e
    finally:
        os.close(base)


def read_below(volume: Path, sub: str, limit: int) -> str | None:
    """The text of a file in a volume; None if there is none. Links must not lead out of the volume."""
    base = os.open(volume.resolve(), os.O_PATH | os.O_CLOEXEC)
    try:
        opened = _open_beneath(base, sub)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise VolumeError(f'"{sub}" cannot be read: {e.strerror}') from e
    finally:
        os.close(base)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise VolumeError(f'"{sub}" is no file of at most {limit} bytes')
        return Path(f"/proc/self/fd/{opened}").read_text(encoding="utf-8", errors="surrogateescape")
    finally:
        os.close(opened)


def _make(base: int, sub: str) -> None:
    """Each directory is made in one that is held open, so not in what a link was put for."""
    parts = PurePath(sub).parts
    mode = stat.S_IMODE(os.fstat(base).st_mode)  # as kubelet: what is made is as open as the volume itself
    here = os.dup(base)
    try:
        for count, part in enumerate(parts, 1):
            path = "/".join(parts[:count])
            try:
                found = _open_beneath(base, path)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=here)
                found = _open_beneath(base, path)
                os.chmod(f"/proc/self/fd/{found}", mode)
            os.close(here)
            here = found
    finally:
        os.close(here)


def _open_beneath(base: int, path: str) -> int:
    how = _How(os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    name = ctypes.c_char_p(os.fsencode(path))
    found: int = _libc.syscall(OPENAT2, base, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return found
