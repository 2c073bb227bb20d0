"""What refused clients are told to wait: doubled while many are refused, less by a second when few are.

Upstream: apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go.
"""

from __future__ import annotations

from collections import deque

LONGEST = 32


class RetryAfter:
    """Of one priority level. `dropped` is told of every refusal, with the second in which it happened."""

    def __init__(self) -> None:
        self.seconds = 1
        self._second = 0
        self._count = 0
        self._changed = 0
        self._history: deque[tuple[int, int]] = deque()  # second, refusals in it

    def dropped(self, second: int) -> None:
        if second == self._second:
            self._count += 1
            return
        self._history.append((self._second, self._count))
        while self._history and second - self._history[0][0] > min(2 * self.seconds, LONGEST):
            self._history.popleft()
        self._second, self._count = second, 1
        self._reconsider(second)

    def _reconsider(self, now: int) -> None:
        recent = sum(n for second, n in self._history if now - second <= self.seconds and second < now)
        if now - self._changed >= self.seconds and recent >= 3 * self.seconds:
            self.seconds = min(2 * self.seconds, LONGEST)
            self._changed = now
        elif recent < self.seconds and self.seconds > 1:
            self.seconds -= 1
