"""What is counted of requests: one `Meter` for each kind of target, found once and then only added to.

Upstream: apiserver/pkg/endpoints/metrics/metrics.go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from timonel.aio.histogram import Histogram
from timonel.server.chain.info import Info
from timonel.server.metrics.text import COUNTER, GAUGE, HISTOGRAM, STABLE, Family, Labels, of

DURATIONS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
SIZES = tuple(1000.0 * 10**power for power in range(7))
SHORT, SMALL = DURATIONS[0], SIZES[0]  # what most are
VERBS = frozenset(
    ("APPLY", "CONNECT", "CREATE", "DELETE", "DELETECOLLECTION", "GET", "LIST", "PATCH", "POST", "PROXY", "PUT",
     "UPDATE", "WATCH", "WATCHLIST")
)  # fmt: skip
CONNECTING = frozenset(("attach", "exec", "proxy", "log", "portforward"))
_REPORTED = {"CREATE": "POST", "UPDATE": "PUT"}
_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE"))


class Meter:
    """Of requests with the same labels. `codes` by status."""

    __slots__ = ("codes", "dry", "durations", "labels", "long", "sizes", "sli")

    def __init__(self, labels: Labels, *, dry: str, sized: bool) -> None:
        self.labels = labels
        self.dry = dry
        self.codes: dict[int, int] = {}
        self.durations = Histogram(DURATIONS)
        self.sizes = Histogram(SIZES) if sized else None
        self.long = 0  # at work now, of those that last

    def add(self, code: int, duration: float, size: int) -> None:
        """`size` below 0: not known. Written out, since every request passes here."""
        try:
            self.codes[code] += 1
        except KeyError:
            self.codes[code] = 1
        durations = self.durations
        durations.sum += duration
        durations.counts[0 if duration <= SHORT else bisect_left(DURATIONS, duration)] += 1
        sizes = self.sizes
        if sizes is not None and size >= 0:
            sizes.sum += size
            sizes.counts[0 if size <= SMALL else bisect_left(SIZES, size)] += 1


def verb_of(info: Info) -> str:
    """As upstream's labels have it."""
    if not info.is_resource:
        return info.method if info.method in _METHODS else "other"
    if info.subresource in CONNECTING and info.subresource != "log":
        return "CONNECT"
    verb = info.verb.upper()
    verb = _REPORTED.get(verb, verb)
    return verb if verb in VERBS else "other"


def scope_of(info: Info) -> str:
    if not info.is_resource:
        return ""
    if info.name and info.verb not in ("list", "watch", "deletecollection"):
        return "resource"
    return "namespace" if info.namespace else "cluster"


class Requests:
    """All meters of a server. `known` says whether a resource is served: what is not has no labels of its own."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, ...], Meter] = {}
        self.mutating = 0  # at work now
        self.reading = 0
        self.dropped = {"mutating": 0, "readOnly": 0}
        self.terminated = 0

    def meter(self, info: Info, *, served: bool, subpath: str = "") -> Meter:
        """`subpath` stands for the path of a request without resource, where the server knows it."""
        verb = verb_of(info)
        dry = ",".join(sorted(info.query.get("dryRun", ()))) if info.query else ""
        if dry and dry != "All":
            dry = "invalid"
        if info.is_resource and served:
            parts = (verb, info.group, info.version, info.resource, info.subresource, scope_of(info), dry)
        elif info.is_resource:
            parts = (verb, "", "", "", "", scope_of(info), dry)
        else:
            parts = (verb, "", "", "", subpath, "", dry)
        found = self._meters.get(parts)
        if found is None:
            names = ("verb", "group", "version", "resource", "subresource", "scope")
            labels = (*zip(names, parts, strict=False), ("component", "apiserver"))
            found = Meter(labels, dry=dry, sized=verb not in ("WATCH", "CONNECT"))
            self._meters[parts] = found
        return found

    def families(self) -> Iterator[Family]:
        meters = [m for m in self._meters.values() if m.codes]
        yield Family(
            "apiserver_request_total",
            COUNTER,
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, "
            "component, and HTTP response code.",
            [
                ((*m.labels, ("code", str(code)), ("dry_run", m.dry)), count)
                for m in meters
                for code, count in m.codes.items()
            ],
            stability=STABLE,
        )
        lasting = ("WATCH", "CONNECT")
        short = [m for m in meters if m.labels[0][1] not in lasting]
        yield Family(
            "apiserver_request_duration_seconds",
            HISTOGRAM,
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
            "subresource, scope and component.",
            histograms=[((*m.labels, ("dry_run", m.dry)), m.durations) for m in short],
            stability=STABLE,
        )
        yield Family(
            "apiserver_request_sli_duration_seconds",
            HISTOGRAM,
            "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in "
            "seconds for each verb, group, version, resource, subresource, scope and component.",
            histograms=[(m.labels, m.durations) for m in short],
        )
        yield Family(
            "apiserver_response_sizes",
            HISTOGRAM,
            "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and "
            "component.",
            histograms=[(m.labels, m.sizes) for m in meters if m.sizes is not None],
            stability=STABLE,
        )
        yield Family(
            "apiserver_longrunning_requests",
            GAUGE,
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope "
            "and component. Not all requests are tracked this way.",
            [(m.labels, m.long) for m in self._meters.values() if m.long or m.labels[0][1] in lasting],
            stability=STABLE,
        )
        yield Family(
            "apiserver_current_inflight_requests",
            GAUGE,
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last "
            "second.",
            [
                ((("request_kind", "mutating"),), self.mutating),
                ((("request_kind", "readOnly"),), self.reading),
            ],
            stability=STABLE,
        )
        refused = sum(m.codes.get(401, 0) for m in meters)
        attempts = {"success": sum(sum(m.codes.values()) for m in meters) - refused, "failure": refused}
        yield Family(
            "authentication_attempts",
            COUNTER,
            "Counter of authenticated attempts.",
            of({result: count for result, count in attempts.items() if count}, "result"),
        )
        yield Family(
            "apiserver_dropped_requests_total",
            COUNTER,
            "Number of requests dropped with 'Try again later' response",
            [((("request_kind", kind),), count) for kind, count in self.dropped.items() if count],
        )
        yield Family(
            "apiserver_request_terminations_total",
            COUNTER,
            "Number of requests which apiserver terminated in self-defense.",
            [((("code", "504"), ("component", "apiserver")), self.terminated)] if self.terminated else (),
        )
