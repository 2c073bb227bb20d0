"""A volume of a ConfigMap's keys. Upstream: pkg/volume/configmap/configmap.go."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from timonel.node.volumes.source import Context, Files, VolumeError, first, pick_items

DEFAULT_MODE = 0o644


def files(context: Context, source: Mapping[str, Any], default_mode: int | None = None) -> Files:
    name = source["name"]
    config_map = context.sources.config_maps.get(name)
    if config_map is None:
        if source.get("optional"):
            return {}
        raise VolumeError(f'configmap "{name}" not found')
    available = {key: str(value).encode() for key, value in (config_map.get("data") or {}).items()}
    available |= {k: base64.b64decode(v) for k, v in (config_map.get("binaryData") or {}).items()}
    mode = first(source.get("defaultMode"), default_mode, DEFAULT_MODE)
    return pick_items(
        available, source, mode, lambda key: f"configmap references non-existent config key: {key}"
    )
