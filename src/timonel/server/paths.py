"""Everything that is no resource: health, version, discovery, OpenAPI, metrics, and the list of it all at `/`.

Other parts register what they serve with `Paths.add` (tokens their keys, the node proxy its logs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from timonel.machinery import errors
from timonel.server import responses
from timonel.server.chain.info import Info
from timonel.server.exchange import TEXT, Request, Response
from timonel.server.request import User

Answer = Callable[[Request, Info, User], Awaitable[Response]]
NO_SNIFF = (b"X-Content-Type-Options", b"nosniff")

VERSION: dict[str, Any] = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "python",
    "platform": "linux/amd64",
}


class Paths:
    """Exact paths, and prefixes that end with a slash; the longest prefix wins."""

    def __init__(self) -> None:
        self._exact: dict[str, Answer] = {}
        self._prefixes: dict[str, Answer] = {}

    def add(self, path: str, answer: Answer) -> None:
        if path.endswith("/") and path != "/":
            self._prefixes[path] = answer
        else:
            self._exact[path] = answer

    def listed(self) -> list[str]:
        return sorted(self._exact)

    def pattern(self, path: str) -> str:
        """What stands for the path in metrics: itself, the prefix that answers it, or nothing where none does."""
        if path in self._exact:
            return path
        return max((p for p in self._prefixes if path.startswith(p)), key=len, default="")

    async def answer(self, request: Request, info: Info, user: User) -> Response:
        path = info.path
        found = self._exact.get(path) or self._exact.get(path.rstrip("/"))
        if found is None:
            prefixes = [p for p in self._prefixes if path.startswith(p)]
            if not prefixes:
                return responses.NOT_FOUND_PAGE
            found = self._prefixes[max(prefixes, key=len)]
        return await found(request, info, user)


def fixed(tree: Any) -> Answer:
    body = orjson.dumps(tree)

    async def answer(request: Request, info: Info, user: User) -> Response:
        return Response(200, body)

    return answer


Check = Callable[[], str]  # empty: healthy; else what is wrong


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """/healthz, /livez or /readyz: named checks. Upstream: apiserver/pkg/server/healthz/healthz.go."""

    name: str
    checks: dict[str, Check]

    def add_to(self, paths: Paths) -> None:
        paths.add(f"/{self.name}", self.all)
        for check in self.checks:
            paths.add(f"/{self.name}/{check}", self.one)

    async def all(self, request: Request, info: Info, user: User) -> Response:
        excluded = set(info.query.get("exclude", ()))
        lines, failed = [], False
        for name, check in self.checks.items():
            if name in excluded:
                excluded.discard(name)
                lines.append(f"[+]{name} excluded: ok")
                continue
            problem = check()
            failed = failed or bool(problem)
            lines.append(f"[-]{name} failed: reason withheld" if problem else f"[+]{name} ok")
        if excluded:
            listed = ", ".join(f'"{name}"' for name in sorted(excluded))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
        if failed:
            text = "\n".join([*lines, f"{self.name} check failed", ""])
            return Response(500, text.encode(), TEXT, (NO_SNIFF,))
        if "verbose" in info.query:
            text = "\n".join([*lines, f"{self.name} check passed", ""])
            return Response(200, text.encode(), TEXT, (NO_SNIFF,))
        return Response(200, b"ok", TEXT, (NO_SNIFF,))

    async def one(self, request: Request, info: Info, user: User) -> Response:
        problem = self.checks[info.path.rstrip("/").split("/", 2)[2]]()
        if problem:
            raise errors.InternalError(f"internal server error: {problem}")
        return Response(200, b"ok", TEXT, (NO_SNIFF,))
