"""A row of the table: what was measured, what it should have been, and what a bare answer of the same size does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.figure import Figure, shown


@dataclass(frozen=True, slots=True)
class Result:
    """`bare` has the unit of the first figure; milliseconds and MB are 0 where they say nothing."""

    name: str
    figures: Sequence[Figure]
    bare: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    processor: float = 0.0  # seconds that the server computed for each request
    resident: float = 0.0  # MB of the server
    command: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        return all(figure.ratio >= 1 for figure in self.figures)

    def tree(self) -> dict[str, Any]:
        return {**asdict(self), "figures": [{**asdict(f), "ratio": f.ratio} for f in self.figures]}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: `--quick` takes a tenth of the objects and watchers, and less time."""

    quick: bool = False

    @property
    def seconds(self) -> float:
        return 2.0 if self.quick else 6.0

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 3

    def of(self, count: int) -> int:
        return count // 10 if self.quick else count


@dataclass(frozen=True, slots=True)
class Row:
    """`skip` says why it cannot run here, if it cannot."""

    name: str
    measure: Callable[[Scale], Sequence[Result]]
    skip: Callable[[], str] = field(default=lambda: "")


HEAD = ("row", "figure", "target", "here", "ratio", "bare", "p50 ms", "p99 ms", "µs CPU", "MB", "note")


def table(results: Sequence[Result]) -> str:
    rows: list[tuple[str, ...]] = [HEAD]
    for result in results:
        for first, figure in zip((True, *(False,) * 9), result.figures, strict=False):
            rows.append(
                (
                    result.name if first else "",
                    figure.name,
                    ("≥ " if figure.more_is_better else "≤ ") + shown(figure.target, figure.unit),
                    shown(figure.value, figure.unit),
                    f"{figure.ratio:.2f}" + ("" if figure.ratio >= 1 else " !"),
                    shown(result.bare, figure.unit) if first and result.bare else "",
                    f"{result.p50:.2f}" if first and result.p50 else "",
                    f"{result.p99:.2f}" if first and result.p99 else "",
                    f"{result.processor * 1e6:,.0f}" if first and result.processor else "",
                    f"{result.resident:,.0f}" if first and result.resident else "",
                    result.note if first else "",
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD) - 1)]
    lines = [
        "  ".join((*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=True)), row[-1])) for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def commands(results: Sequence[Result]) -> str:
    return "\n".join(f"{result.name}: {result.command}" for result in results if result.command)
