"""What the other parts of a cluster's process add to `/metrics` of its API server: the queues of its controllers.

Upstream: component-base/metrics/prometheus/workqueue/metrics.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.control.runtime import Controllers
from timonel.server.metrics.text import COUNTER, GAUGE, Family, of


def queues(controllers: Controllers) -> Callable[[], Iterator[Family]]:
    def families() -> Iterator[Family]:
        found = {each.name: each.queue for each in controllers.controllers}
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
