"""Why rows are refused, as numbers: what filters have said of a row is kept until somebody looks at it again.

Many rows are refused for the same reasons, so that adding up what is wrong with all nodes is counting numbers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.scheduler.framework import Diagnosis, Refusal
from timonel.scheduler.nodes import Ints, Mask

Reason = tuple[str, bool]  # and whether removing pods could help
Said = tuple[str, tuple[Reason, ...]]  # by one plugin


class Refusals:
    """`numbers` has 0 for a row that nobody refuses."""

    def __init__(self, count: int) -> None:
        self.numbers: Ints = np.zeros(count, dtype=np.int64)
        self._said: list[Said] = [("", ())]
        self._known: dict[tuple[int, str, Reason], int] = {}
        self._hopeless: Mask = np.zeros(1, dtype=np.bool_)

    def forget(self, rows: Ints) -> None:
        self.numbers[rows] = 0

    def note(self, plugin: str, rows: Ints, refusals: Iterable[Refusal]) -> Ints:
        """Takes down what a filter says of rows that none has refused before; the rows that it lets pass."""
        left: Mask | None = None
        for refusal in refusals:
            if not refusal.mask.any():
                continue
            left = ~refusal.mask if left is None else left & ~refusal.mask
            at = rows[refusal.mask]
            before = self.numbers[at]
            for number in np.unique(before).tolist() if len(at) > 1 else before.tolist():
                self.numbers[at[before == number]] = self._with(number, plugin, refusal)
        return rows if left is None else rows[left]

    def _with(self, number: int, plugin: str, refusal: Refusal) -> int:
        reason = (refusal.reason, refusal.resolvable)
        found = self._known.get((number, plugin, reason))
        if found is None:
            found = self._known[number, plugin, reason] = len(self._said)
            reasons = (*self._said[number][1], reason)
            self._said.append((plugin, reasons))
            self._hopeless = np.append(self._hopeless, not all(resolvable for _, resolvable in reasons))
        return found

    def tell(self, diagnosis: Diagnosis, rows: Ints) -> Ints:
        """Adds to `diagnosis` what is known of rows; those that nobody refuses."""
        is_all = len(rows) == len(self.numbers)
        numbers = self.numbers if is_all else self.numbers[rows]
        for number, count in enumerate(np.bincount(numbers).tolist()):
            if not count or not number:
                continue
            plugin, reasons = self._said[number]
            diagnosis.plugins.add(plugin)
            for reason, _ in reasons:
                diagnosis.reasons[reason] += count
        if is_all:
            diagnosis.unresolvable |= self._hopeless[numbers]
        else:
            diagnosis.unresolvable[rows] |= self._hopeless[numbers]
        free: Ints = rows[numbers == 0]
        return free
