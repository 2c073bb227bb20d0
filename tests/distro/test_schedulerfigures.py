"""What `/metrics` says of the scheduler."""

from __future__ import annotations

import asyncio

from tests.scheduler.test_cycle import node, pod
from tests.scheduler.test_shell import INDEX, NODES, PODS
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.fake import MemoryTransport
from timonel.distro.schedulerfigures import scheduling
from timonel.objects.meta import Key
from timonel.scheduler.shell import Scheduler
from timonel.server.metrics.text import rendered


async def test_attempts_queues_victims_and_times_are_shown() -> None:
    cluster = MemoryTransport(SystemClock())
    scheduler = Scheduler(cluster, index=INDEX, clock=SystemClock())
    page = scheduling(lambda: scheduler)
    await cluster.create(NODES, node("n1", cpu="2"))
    async with running(scheduler):
        await cluster.create(PODS, pod("small", cpu="2"))
        await asyncio.sleep(1)
        await cluster.create(PODS, pod("big", cpu="3"))
        await cluster.create(PODS, pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
        await asyncio.sleep(1)
        await cluster.create(PODS, pod("urgent", cpu="2", priority=9))
        await asyncio.sleep(5)
        text = rendered(page()).decode()

    for line in (
        'scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"} 2',
        'scheduler_schedule_attempts_total{result="unschedulable",profile="default-scheduler"} 3',
        'scheduler_scheduling_attempt_duration_seconds_count{result="scheduled",profile="default-scheduler"} 2',
        "scheduler_scheduling_algorithm_duration_seconds_count 5",
        'scheduler_pending_pods{queue="active"} 0',
        'scheduler_pending_pods{queue="unschedulable"} 1',
        'scheduler_pending_pods{queue="gated"} 1',
        'scheduler_queue_incoming_pods_total{queue="active",event="UnscheduledPodAdd"} 3',
        'scheduler_queue_incoming_pods_total{queue="unschedulable",event="ScheduleAttemptFailure"} 3',
        'scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 1',
        "scheduler_preemption_attempts_total 1",
        'scheduler_preemption_victims_bucket{le="1"} 1',
        'scheduler_pod_scheduling_sli_duration_seconds_count{attempts="1"} 1',
        'scheduler_pod_scheduling_sli_duration_seconds_count{attempts="2"} 1',
        "scheduler_pod_scheduling_attempts_count 2",
        'scheduler_cache_size{type="nodes"} 1',
        'scheduler_cache_size{type="pods"} 1',
        'scheduler_goroutines{operation="binding"} 0',
    ):
        assert line in text
    for point in ("PreFilter", "Filter", "PostFilter", "Reserve", "PreBind", "Bind"):
        assert (
            f'scheduler_framework_extension_point_duration_seconds_count{{extension_point="{point}"' in text
        )


async def test_one_that_has_ended_shows_what_it_did_and_nothing_that_waits() -> None:
    cluster = MemoryTransport(SystemClock())
    scheduler = Scheduler(cluster, index=INDEX, clock=SystemClock())
    async with running(scheduler):
        await cluster.create(PODS, pod())
        await asyncio.sleep(1)
        assert (await cluster.get(PODS, Key("shop", "p")))["status"]["conditions"]
    text = rendered(scheduling(lambda: scheduler)()).decode()

    assert 'result="unschedulable"' in text
    assert "scheduler_pending_pods{" not in text
    assert "scheduler_pending_pods{" not in rendered(scheduling(lambda: None)()).decode()
