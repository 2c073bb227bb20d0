"""Durations as Go writes them: 300ms, 1.5h, 2m30s. Upstream: Go's time.ParseDuration."""

from __future__ import annotations

import re

from timonel.machinery.field import quote

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
MOST = 2**63 / 1e9  # seconds that an int64 of nanoseconds holds


def parse(text: str) -> float:
    """In seconds. Raises ValueError."""
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text[1:] if text[:1] == "+" else text)
    if rest == "0":
        return 0.0
    position, total = 0, 0.0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            break
        total += float(part[1]) * UNITS[part[2]]
        position = part.end()
    if not rest or position < len(rest) or total >= MOST:
        raise ValueError(f"time: invalid duration {quote(text)}")
    return sign * total
