"""The domains of a topology key, and a number kept for each: what spreading and affinity between pods count in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from timonel.records import dataclass
from timonel.scheduler.nodes import MISSING, Ints, Nodes

FEW = 8  # rows up to which a loop is faster than arrays


@dataclass(slots=True)
class Domains:
    column: Ints  # the number of the domain that each node is in
    counts: Ints  # by that number; the last one belongs to nodes in no domain and stays 0

    @classmethod
    def of(cls, nodes: Nodes, key: str) -> Domains:
        found = nodes.labels(key)
        return cls(found.column, np.zeros(len(found.numbers) + 1, dtype=np.int64))

    def add(self, rows: Mapping[int, int], factor: int = 1) -> None:
        """`rows`: how often to count a node."""
        if len(rows) <= FEW:
            for row, amount in rows.items():
                domain = self.column[row]
                if domain != MISSING:
                    self.counts[domain] += factor * amount
            return
        numbers = np.fromiter(rows, np.int64, len(rows))
        np.add.at(self.counts, self.column[numbers], factor * np.fromiter(rows.values(), np.int64, len(rows)))
        self.counts[MISSING] = 0

    def at(self, rows: Ints) -> Ints:
        """The numbers of the domains of these nodes; 0 for a node in none."""
        found: Ints = self.counts[self.column[rows]]
        return found
