"""What `/metrics` says of the queues of controllers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from timonel.aio.clock import VirtualClock
from timonel.aio.workqueue import WorkQueue
from timonel.distro.figures import queues
from timonel.server.metrics.text import rendered


async def test_queues_show_what_waits_and_what_is_worked_on() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock, measured=True)
    running: Any = cast(Any, SimpleNamespace(controllers=[SimpleNamespace(name="job", queue=queue)]))
    queue.add("a")
    queue.add("b")
    await clock.advance(0.5)
    async with queue.take():
        await clock.advance(2)
        text = rendered(queues(lambda: running)()).decode()

    for line in (
        'workqueue_depth{name="job"} 1',
        'workqueue_queue_duration_seconds_bucket{name="job",le="1"} 1',
        'workqueue_queue_duration_seconds_sum{name="job"} 0.5',
        'workqueue_longest_running_processor_seconds{name="job"} 2',
        'workqueue_unfinished_work_seconds{name="job"} 2',
    ):
        assert line in text
    assert "name=" not in rendered(queues(lambda: None)()).decode()
