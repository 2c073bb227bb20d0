"""Writes container images with the standard library: OCI layouts, and tar archives that `ctr images import` reads.

Used for the pause image, which every sandbox needs and which no registry has to provide. Images come out the same byte
for byte from the same input.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timonel.records import dataclass

PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EPOCH = "2020-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory (`kind` "d") or symbolic link ("l": `data` is its target) of a layer."""

    name: str
    kind: str = "f"
    mode: int = 0o755
    data: bytes = b""


def layer(entries: Iterable[Entry]) -> bytes:
    """An uncompressed tar."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.mode = entry.mode
            if entry.kind == "d":
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif entry.kind == "l":
                info.type = tarfile.SYMTYPE
                info.linkname = entry.data.decode()
                tar.addfile(info)
            else:
                info.size = len(entry.data)
                tar.addfile(info, io.BytesIO(entry.data))
    return raw.getvalue()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def layout(
    reference: str, layers: Iterable[bytes], config: Mapping[str, Any], arch: str = "amd64", *, level: int = 6
) -> dict[str, bytes]:
    """Path -> content of an OCI layout with one image of that full name. `config` is the image's (Env, Cmd, …);
    `level` is gzip's."""
    raws = list(layers)
    packed = [gzip.compress(raw, level, mtime=0) for raw in raws]
    image = {
        "architecture": arch,
        "os": "linux",
        "created": EPOCH,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [_digest(raw) for raw in raws]},
        "history": [{"created": EPOCH, "created_by": "timonel"} for _ in raws],
    }
    image_blob = json.dumps(image).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", image_blob),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob) for blob in packed],
    }
    manifest_blob = json.dumps(manifest).encode()
    top = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest_blob)
    top["annotations"] = {
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
        "io.containerd.image.name": reference,
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(),
    }
    for blob in (image_blob, manifest_blob, *packed):
        files[f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}"] = blob
    return files


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def archive(files: Mapping[str, bytes]) -> bytes:
    """The layout as one tar."""
    return layer(Entry(name, mode=0o644, data=data) for name, data in files.items())


def pause_image(reference: str, init: Path, arch: str = "amd64") -> bytes:
    """An archive whose only file is a static init that waits (`-P`) and reaps what the pod's processes leave behind."""
    files = [Entry("catatonit", data=init.read_bytes())]
    return archive(
        layout(reference, [layer(files)], {"Env": [PATH_ENV], "Entrypoint": ["/catatonit", "-P"]}, arch)
    )
