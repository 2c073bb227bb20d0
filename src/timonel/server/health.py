"""/healthz, /livez and /readyz: named checks, all of them or one by one.

A check says what is wrong, or nothing; it may take a moment to find out. `/readyz` has checks of its own: that the
caches are filled, and that the server is not about to stop.

Upstream: apiserver/pkg/server/healthz/healthz.go, apiserver/pkg/server/healthz.go.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field

from timonel.machinery.field import quote
from timonel.records import dataclass
from timonel.server.chain.info import Info
from timonel.server.exchange import TEXT, Request, Response
from timonel.server.metrics.text import COUNTER, GAUGE, STABLE, Counts, Family
from timonel.server.paths import NO_SNIFF, Paths
from timonel.server.request import User

Check = Callable[[], str | Awaitable[str]]  # empty: healthy; else what is wrong

PROBES = ("healthz", "livez", "readyz")
# What of a server must have begun, by the names of upstream's hooks, which people and tests look for.
FILLED, MADE, RUNNING = "caches are filled", "first objects are there", "background work has begun"
HOOKS = {
    "start-apiserver": RUNNING,
    "start-kube-apiserver-admission-initializer": FILLED,
    "generic-apiserver-start-informers": FILLED,
    "priority-and-fairness-config-consumer": FILLED,
    "priority-and-fairness-config-producer": MADE,
    "start-apiextensions-informers": FILLED,
    "start-apiextensions-controllers": RUNNING,
    "crd-informer-synced": FILLED,
    "start-system-namespaces-controller": RUNNING,
    "bootstrap-controller": MADE,
    "rbac/bootstrap-roles": MADE,
    "scheduling/bootstrap-system-priority-classes": MADE,
    "start-cluster-authentication-info-controller": MADE,
    "start-kube-aggregator-informers": FILLED,
    "apiservice-registration-controller": RUNNING,
    "apiservice-status-available-controller": RUNNING,
    "kube-apiserver-autoregistration": RUNNING,
    "apiservice-openapi-controller": RUNNING,
}


async def outcome(check: Check) -> str:
    try:
        found = check()
        return await found if inspect.isawaitable(found) else found
    except Exception as error:  # a check that fails is a failed check
        return repr(error)


def hooks(passed: set[str]) -> dict[str, Check]:
    """A check for each hook; `passed` grows as the server starts."""

    def begun(stage: str) -> Check:
        return lambda: "" if stage in passed else "not finished"

    found = {f"poststarthook/{name}": begun(stage) for name, stage in HOOKS.items()}
    return {**found, "autoregister-completion": begun(RUNNING)}


@dataclass(slots=True)
class Results:
    """What the checks said last, and how often, for `/metrics/slis`."""

    last: dict[tuple[str, str], bool] = field(default_factory=dict)
    counts: Counts = field(default_factory=lambda: Counts(("name", "type", "status")))

    def note(self, check: str, probe: str, *, healthy: bool) -> None:
        self.last[check, probe] = healthy
        self.counts.add(check, probe, "success" if healthy else "error")

    def families(self) -> tuple[Family, ...]:
        return (
            Family(
                "kubernetes_healthcheck",
                GAUGE,
                "This metric records the result of a single healthcheck.",
                [
                    ((("name", name), ("type", probe)), float(healthy))
                    for (name, probe), healthy in self.last.items()
                ],
                stability=STABLE,
            ),
            Family(
                "kubernetes_healthchecks_total",
                COUNTER,
                "This metric records the results of all healthcheck.",
                self.counts.samples(),
                stability=STABLE,
            ),
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """One of PROBES, with its checks in order."""

    name: str
    checks: Mapping[str, Check]
    results: Results

    def add_to(self, paths: Paths) -> None:
        paths.add(f"/{self.name}", self.all)
        for check in self.checks:
            paths.add(f"/{self.name}/{check}", self.one)

    async def run(self, name: str) -> str:
        problem = await outcome(self.checks[name])
        self.results.note(name, self.name, healthy=not problem)
        return problem

    async def all(self, request: Request, info: Info, user: User) -> Response:
        excluded = {name for given in info.query.get("exclude", ()) for name in given.split(",") if name}
        lines, failed = [], False
        for name in self.checks:
            if name in excluded:
                excluded.discard(name)
                lines.append(f"[+]{name} excluded: ok")
                continue
            problem = await self.run(name)
            failed = failed or bool(problem)
            lines.append(f"[-]{name} failed: reason withheld" if problem else f"[+]{name} ok")
        if excluded:
            listed = ", ".join(quote(name) for name in sorted(excluded))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
        if failed:
            return _text(500, "\n".join([*lines, f"{self.name} check failed", ""]))
        if "verbose" in info.query:
            return _text(200, "\n".join([*lines, f"{self.name} check passed", ""]))
        return _text(200, "ok")

    async def one(self, request: Request, info: Info, user: User) -> Response:
        problem = await self.run(info.path.rstrip("/").split("/", 2)[2])
        if problem:
            return _text(500, f"internal server error: {problem}\n")
        return _text(200, "ok")


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), TEXT, (NO_SNIFF,))


def probes(checks: Mapping[str, Check], ready: Mapping[str, Check], results: Results) -> list[Probe]:
    """All three: `checks` for each, `ready` for /readyz besides."""
    return [
        Probe(name, {**checks, **ready} if name == "readyz" else dict(checks), results) for name in PROBES
    ]
