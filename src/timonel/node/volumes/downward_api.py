"""A volume of the pod's own fields and resources. Upstream: pkg/volume/downwardapi/downwardapi.go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timonel.node.environment import ConfigError, field_value, resource_value
from timonel.node.volumes.source import Context, File, Files, VolumeError, first

DEFAULT_MODE = 0o644


def files(context: Context, source: Mapping[str, Any], default_mode: int | None = None) -> Files:
    mode = first(source.get("defaultMode"), default_mode, DEFAULT_MODE)
    found: Files = {}
    for item in source.get("items") or ():
        try:
            text = _text(context, item)
        except ConfigError as e:
            raise VolumeError(str(e)) from e
        found[item["path"]] = File(text.encode(), first(item.get("mode"), mode))
    return found


def _text(context: Context, item: Mapping[str, Any]) -> str:
    if (ref := item.get("fieldRef")) is not None:
        return field_value(context.pod, ref["fieldPath"], context.sources)
    return resource_value(context.pod, item["resourceFieldRef"], context.sources.allocatable)
