"""/openapi/v2 and /openapi/v3: the published schema of what is served, for kubectl explain and client-side validation."""

from __future__ import annotations

from timonel.server.paths import Paths
from timonel.server.registry import Registry


def add_to(paths: Paths, registry: Registry) -> None:
    return None
