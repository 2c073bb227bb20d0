"""How much evaluation may cost: a limit for each call, and a budget that several share.

Upstream: apiserver/pkg/apis/cel/config.go.
"""

from __future__ import annotations

PER_CALL_LIMIT = 1_000_000
RUNTIME_BUDGET = 10_000_000
STATIC_LIMIT = 10_000_000
STATIC_LIMIT_OF_A_DEFINITION = 100_000_000
MATCH_CONDITIONS_BUDGET = 2_500_000


class Budget:
    """What is left to spend. `remaining` sinks below zero when the last evaluation overdrew it."""

    __slots__ = ("remaining",)

    def __init__(self, amount: int = RUNTIME_BUDGET) -> None:
        self.remaining = amount

    @property
    def exhausted(self) -> bool:
        return self.remaining < 0
