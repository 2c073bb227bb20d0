"""A claim's volume: local and hostPath persistent volumes, which are directories of this node.

Upstream: pkg/volume/local, pkg/kubelet/volumemanager/populator (the checks of claim and volume).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timonel.node.references import claim_name
from timonel.node.volumes import host_path
from timonel.node.volumes.source import Context, VolumeError
from timonel.objects.ephemeral import whose_else
from timonel.objects.meta import Object


def set_up(context: Context, volume: Mapping[str, Any]) -> str:
    return _path(volume_of(context, volume))


def volume_of(context: Context, volume: Mapping[str, Any]) -> Object:
    """The PersistentVolume behind a claim."""
    name = claim_name(context.pod, volume)
    namespace = context.pod["metadata"]["namespace"]
    found = context.claims.get(name or "")
    if found is None:
        raise VolumeError(f'persistentvolumeclaim "{name}" not found or not bound to a volume yet')
    claim, pv = found
    if "ephemeral" in volume and (stranger := whose_else(claim, context.pod)):
        raise VolumeError(stranger)
    ref = pv["spec"].get("claimRef") or {}
    if ref.get("uid") != claim["metadata"]["uid"]:
        raise VolumeError(
            f"PVC {namespace}/{name} is not bound to PV {pv['metadata']['name']}: the volume belongs to another claim"
        )
    return pv


def _path(pv: Mapping[str, Any]) -> str:
    spec = pv["spec"]
    if (source := spec.get("hostPath")) is not None:
        return host_path.set_up(source)
    if (source := spec.get("local")) is not None:
        if not Path(source["path"]).exists():
            raise VolumeError(f'path "{source["path"]}" does not exist')
        return str(source["path"])
    raise VolumeError(
        f"no volume plugin matched PV {pv['metadata']['name']}: only csi, nfs, local and hostPath are known here"
    )
