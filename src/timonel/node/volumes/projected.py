"""A volume of several sources in one directory, among them tokens of the pod's service account.

Upstream: pkg/volume/projected/projected.go, pkg/kubelet/token (a token is replaced when
80 % of its life is over).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timonel.node.volumes import config_map, downward_api, secret
from timonel.node.volumes.source import Context, File, Files, VolumeError, first
from timonel.records import dataclass

DEFAULT_MODE = 0o644
KNOWN = frozenset(("configMap", "secret", "downwardAPI", "serviceAccountToken"))
TOKEN_SECONDS = 3600
RENEW_AT = 0.8  # of a token's life
RENEW_AT_LATEST = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Written:
    files: Files
    renew_at: float | None = None  # when the first token wants replacing


async def files(context: Context, source: Mapping[str, Any]) -> Written:
    mode = first(source.get("defaultMode"), DEFAULT_MODE)
    found: Files = {}
    renewals = list[float]()
    for part in source.get("sources") or ():
        unknown = sorted(part.keys() - KNOWN)
        if unknown:
            raise VolumeError(f"projected source {unknown[0]} is not supported on this node")
        if (ref := part.get("configMap")) is not None:
            found |= config_map.files(context, ref, mode)
        if (ref := part.get("secret")) is not None:
            found |= secret.files(context, ref, mode)
        if (ref := part.get("downwardAPI")) is not None:
            found |= downward_api.files(context, ref, mode)
        if (ref := part.get("serviceAccountToken")) is not None:
            token, expiry = await context.token(
                ref.get("audience", ""), ref.get("expirationSeconds") or TOKEN_SECONDS
            )
            life = expiry - context.now
            renewals.append(context.now + min(life * RENEW_AT, RENEW_AT_LATEST))
            found[ref["path"]] = _token_file(context, token, mode)
    return Written(found, min(renewals, default=None))


def _token_file(context: Context, token: str, mode: int) -> File:
    """Nobody but the pod's user and group may read a token, where they are known."""
    if context.fs_group is not None or context.fs_user is not None:
        return File(token.encode(), 0o600, context.fs_user)
    return File(token.encode(), mode)
