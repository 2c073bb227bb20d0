from __future__ import annotations

import asyncio

from timonel.aio.clock import VirtualClock
from timonel.client.events import BURST, EVENTS, Correlator, EventRecorder
from timonel.client.fake import MemoryTransport
from timonel.objects.meta import Object


def event(message: str, number: int = 0) -> Object:
    return {
        "metadata": {"name": f"web.{number}", "namespace": "shop"},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web"},
        "source": {"component": "maker"},
        "type": "Normal",
        "reason": "Made",
        "message": message,
        "firstTimestamp": f"t{number}",
    }


def test_a_repeated_event_is_counted_on_the_first() -> None:
    correlator = Correlator()
    correlator.correlate(event("same"), 0)

    second = correlator.correlate(event("same", 1), 1)

    assert second is not None
    assert (second["count"], second["metadata"]["name"], second["firstTimestamp"]) == (2, "web.0", "t0")


def test_many_that_differ_only_in_the_message_are_merged() -> None:
    correlator = Correlator()
    found = [correlator.correlate(event(f"m{n}", n), n) for n in range(12)]

    messages = [e["message"] for e in found if e is not None]
    assert messages[8:11] == [
        "m8",
        "(combined from similar events): m9",
        "(combined from similar events): m10",
    ]
    assert found[-1] is not None
    assert found[-1]["count"] == 3


def test_a_flood_about_one_object_is_cut_off_and_refills() -> None:
    correlator = Correlator()
    passed = [correlator.correlate(event("same", n), 0) for n in range(BURST + 10)]

    assert sum(e is not None for e in passed) == BURST
    assert correlator.correlate(event("same"), 299) is None
    assert correlator.correlate(event("same"), 301) is not None


async def test_events_of_one_instant_have_names_of_their_own() -> None:
    clock = VirtualClock()
    transport = MemoryTransport(clock)
    recorder = EventRecorder(transport, clock, "kubelet", host="n1")
    pod = {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"initContainers": [{"name": "first"}]}}

    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.run(asyncio.Event()))
        recorder.record(pod, "Normal", "Started", "Container started", container="first")
        recorder.record(pod, "Normal", "Started", "Container started", container="main")
        await clock.advance(0)
        task.cancel()

    found = (await transport.list(EVENTS, "shop")).items
    assert [e["involvedObject"]["fieldPath"] for e in found] == [
        "spec.initContainers{first}",
        "spec.containers{main}",
    ]


async def test_recorders_do_not_take_each_others_names_at_the_same_moment() -> None:
    clock = VirtualClock()
    names: list[str] = []
    for component in ("kubelet", "default-scheduler", "job-controller"):
        recorder = EventRecorder(MemoryTransport(clock), clock, component)
        for _ in range(3):
            recorder.record({"metadata": {"name": "web", "namespace": "shop"}}, "Normal", "Said", "so")
            names.append((await recorder._queue.get())["metadata"]["name"])

    assert len(set(names)) == 9
    assert names[:3] == sorted(names[:3])
