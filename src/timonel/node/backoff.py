"""Growing delays between attempts, as plain values: for restarts of containers and for pulls of images.

Upstream: client-go/util/flowcontrol/backoff.go. The first failure is retried at once; each further one waits twice as
long as the one before, up to a limit; after a long quiet time counting starts again.
"""

from __future__ import annotations

from timonel.records import dataclass

INITIAL = 10.0
LIMIT = 300.0
BEHIND = 1.0  # seconds that two readings of the same clock may differ
RESET = 2 * LIMIT  # quiet for this long: forgotten


@dataclass(frozen=True, slots=True)
class Backoff:
    delay: float
    updated: float  # when it last grew


def advance(entry: Backoff | None, event: float, now: float) -> Backoff:
    """The entry after another attempt, which followed a failure at `event`."""
    if entry is None or event - entry.updated > RESET:
        return Backoff(INITIAL, now)
    return Backoff(min(entry.delay * 2, LIMIT), now)


def waits_until(entry: Backoff | None, event: float, now: float) -> float | None:
    """When the next attempt may be made after a failure at `event`; None if now."""
    if entry is None or event - entry.updated > RESET:
        return None
    if event > now + BEHIND:  # the clock was set back since: what is left to wait cannot be told
        return None
    due = event + entry.delay
    return due if due > now else None


def spoken(seconds: float) -> str:
    """A whole number of seconds as Go prints a Duration: 10s, 2m40s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
