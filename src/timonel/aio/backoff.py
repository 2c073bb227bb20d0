"""How long to wait after so many failures in a row. Pure.

Whoever fails for days has failed thousands of times, and a float's exponent is no larger than 1023: so doubling stops
long before, where any longest wait has been reached.
"""

from __future__ import annotations

MOST_DOUBLINGS = 64


def doubled(first: float, failures: int, longest: float) -> float:
    """Seconds to wait: `first` after the first failure, twice as long after each further one, never over `longest`."""
    return min(first * 2.0 ** min(max(failures - 1, 0), MOST_DOUBLINGS), longest)
