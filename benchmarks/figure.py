"""What a benchmark says: one or more figures, each beside its target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`target` is to be reached from below where more is better, else not to be exceeded."""

    name: str
    target: float
    unit: str
    value: float
    note: str = ""
    more_is_better: bool = False

    @property
    def ratio(self) -> float:
        """How many times better than the target; below 1 it is missed."""
        if not self.value:
            return 0.0 if self.more_is_better else float("inf")
        return self.value / self.target if self.more_is_better else self.target / self.value


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`skip` says why it cannot run here, if it cannot."""

    name: str
    measure: Callable[[], Sequence[Figure]]
    skip: Callable[[], str] = lambda: ""


def shown(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 2 if value < 10 else 1
    return f"{value:,.{digits}f} {unit}"


def table(figures: Sequence[Figure]) -> str:
    head = ("figure", "target", "here", "ratio", "")
    rows = [
        (
            f.name,
            ("≥ " if f.more_is_better else "≤ ") + shown(f.target, f.unit),
            shown(f.value, f.unit),
            f"{f.ratio:.2f}" + ("" if f.ratio >= 1 else " !"),
            f.note,
        )
        for f in figures
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:<{widths[3]}}  {row[4]}"
        for row in (head, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths[:4]))
    return "\n".join(line.rstrip() for line in lines)
