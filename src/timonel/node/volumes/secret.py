"""A volume of a Secret's keys, on a tmpfs. Upstream: pkg/volume/secret/secret.go."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from timonel.node.volumes.source import Context, Files, VolumeError, first, pick_items

DEFAULT_MODE = 0o644


def files(context: Context, source: Mapping[str, Any], default_mode: int | None = None) -> Files:
    """`source` is a SecretVolumeSource (secretName) or a projected one (name)."""
    name = source.get("secretName") or source["name"]
    secret = context.sources.secrets.get(name)
    if secret is None:
        if source.get("optional"):
            return {}
        raise VolumeError(f'secret "{name}" not found')
    available = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
    mode = first(source.get("defaultMode"), default_mode, DEFAULT_MODE)
    return pick_items(available, source, mode, lambda key: f"references non-existent secret key: {key}")
