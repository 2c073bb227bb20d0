"""/openapi/v2 and /openapi/v3: the published schema of what is served, for kubectl explain and client-side validation."""

from __future__ import annotations

from timonel.server.chain.info import Info
from timonel.server.http import Request, Response
from timonel.server.paths import Paths
from timonel.server.registry import Registry
from timonel.server.request import User


def add_to(paths: Paths, registry: Registry) -> None:
    paths.add("/openapi/v3/", unknown)


async def unknown(request: Request, info: Info, user: User) -> Response:
    return Response(404, b"", b"")
