"""`/metrics` and `/metrics/slis`: whoever counts gives its families when the page is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from timonel.server.chain.info import Info
from timonel.server.exchange import Request, Response
from timonel.server.metrics.text import CONTENT_TYPE, Family, rendered
from timonel.server.paths import Paths
from timonel.server.request import User

Source = Callable[[], Iterable[Family]]


class Page:
    """Sources may be added for as long as the server runs."""

    def __init__(self, *sources: Source) -> None:
        self._sources = list(sources)

    def add(self, source: Source) -> None:
        self._sources.append(source)

    def add_to(self, paths: Paths, path: str) -> None:
        paths.add(path, self.answer)

    async def answer(self, request: Request, info: Info, user: User) -> Response:
        return Response(200, rendered(self.families()), CONTENT_TYPE)

    def families(self) -> list[Family]:
        return [family for source in self._sources for family in source()]
