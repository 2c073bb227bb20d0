"""What the other parts of a cluster's process add to `/metrics` of its API server: the queues of its controllers.

Upstream: component-base/metrics/prometheus/workqueue/metrics.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.control.runtime import Controllers
from timonel.server.metrics.text import COUNTER, GAUGE, Family, of


def queues(current: Callable[[], Controllers | None]) -> Callable[[], Iterator[Family]]:
    """`current` are the controllers that run in this process, if any do."""

    def families() -> Iterator[Family]:
        running = current()
        found = {each.name: each.queue for each in running.controllers} if running is not None else {}
        for name, kind, text, values in (
            ("adds_total", COUNTER, "Total number of adds handled by workqueue",
             {key: queue.adds for key, queue in found.items()}),
            ("retries_total", COUNTER, "Total number of retries handled by workqueue",
             {key: queue.retries for key, queue in found.items()}),
            ("depth", GAUGE, "Current depth of workqueue", {key: len(queue) for key, queue in found.items()}),
            ("running", GAUGE, "Number of keys that are being worked on",
             {key: queue.at_work for key, queue in found.items()}),
        ):  # fmt: skip
            yield Family(f"workqueue_{name}", kind, text, of(values, "name"))

    return families
