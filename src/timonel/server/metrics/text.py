"""Families of samples, and the text that Prometheus reads. Pure.

Upstream: component-base/metrics, https://prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from timonel.aio.histogram import Histogram
from timonel.records import dataclass

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
ALPHA, BETA, STABLE = "ALPHA", "BETA", "STABLE"

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    kind: str
    help: str
    samples: Iterable[Sample] = ()
    histograms: Iterable[tuple[Labels, Histogram]] = ()
    stability: str = ALPHA


@dataclass(slots=True)
class Counts:
    """A counter with labels, for what happens seldom enough that a dict may be asked."""

    names: tuple[str, ...]
    values: dict[tuple[str, ...], float] = field(default_factory=dict)

    def add(self, *labels: str, by: float = 1) -> None:
        self.values[labels] = self.values.get(labels, 0) + by

    def samples(self) -> Iterator[Sample]:
        for labels, value in self.values.items():
            yield tuple(zip(self.names, labels, strict=True)), value


def labels(**pairs: str) -> Labels:
    return tuple(pairs.items())


def one(value: float) -> tuple[Sample, ...]:
    return (((), value),)


def of(pairs: Mapping[str, float], label: str) -> Iterator[Sample]:
    return ((((label, key),), value) for key, value in pairs.items())


def rendered(families: Iterable[Family]) -> bytes:
    """Sorted by name, as upstream's; families without samples are left out."""
    parts = []
    for family in sorted(families, key=lambda f: f.name):
        lines = list(_lines(family))
        if lines:
            parts.append(f"# HELP {family.name} [{family.stability}] {_help(family.help)}\n")
            parts.append(f"# TYPE {family.name} {family.kind}\n")
            parts += lines
    return "".join(parts).encode()


def _lines(family: Family) -> Iterator[str]:
    for pairs, value in family.samples:
        yield f"{family.name}{_braces(pairs)} {_number(value)}\n"
    for pairs, histogram in family.histograms:
        running = 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            running += count
            yield f"{family.name}_bucket{_braces((*pairs, ('le', _number(bound))))} {running}\n"
        yield f"{family.name}_sum{_braces(pairs)} {_number(histogram.sum)}\n"
        yield f"{family.name}_count{_braces(pairs)} {running}\n"


def _braces(pairs: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    if value != value:
        return "NaN"
    whole = int(value)
    return str(whole) if whole == value and abs(whole) < 2**53 else repr(float(value))
