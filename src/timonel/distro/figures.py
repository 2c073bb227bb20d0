"""What the other parts of a cluster's process add to `/metrics` of its API server: the queues of its controllers.

Upstream: component-base/metrics/prometheus/workqueue/metrics.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.control.runtime import Controllers
from timonel.server.metrics.text import COUNTER, GAUGE, HISTOGRAM, Family, of


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
            ("unfinished_work_seconds", GAUGE, "Seconds of work that is under way and in no histogram yet",
             {key: sum(queue.unfinished()) for key, queue in found.items()}),
            ("longest_running_processor_seconds", GAUGE, "Seconds that the longest of that work takes by now",
             {key: max(queue.unfinished(), default=0.0) for key, queue in found.items()}),
            ("running", GAUGE, "Number of keys that are being worked on",
             {key: queue.at_work for key, queue in found.items()}),
        ):  # fmt: skip
            yield Family(f"workqueue_{name}", kind, text, of(values, "name"))
        for name, text, times in (
            ("queue_duration_seconds", "Seconds that keys wait until somebody works on them",
             {key: queue.waited for key, queue in found.items()}),
            ("work_duration_seconds", "Seconds that the work on keys takes",
             {key: queue.worked for key, queue in found.items()}),
        ):  # fmt: skip
            shown = [((("name", key),), each) for key, each in times.items()]
            yield Family(f"workqueue_{name}", HISTOGRAM, text, histograms=shown)

    return families
