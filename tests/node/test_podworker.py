from __future__ import annotations

import pytest

from timonel.node.podworker import (
    TABLE,
    Changed,
    ContainersGone,
    ImpossibleEvent,
    Order,
    ResourcesFreed,
    State,
    Stop,
    Verb,
    Worker,
    step,
)


def test_a_life() -> None:
    worker, orders = Worker(), list[Order]()
    for event in (Changed(), Stop(30), Stop(60), Changed(), Stop(1), ContainersGone(), ResourcesFreed()):
        worker, new = step(worker, event)
        orders += new

    assert worker.state is State.FINISHED
    assert orders == [
        Order(Verb.SYNC),
        Order(Verb.KILL, 30),
        Order(Verb.TELL),
        Order(Verb.TELL),
        Order(Verb.KILL, 1),
        Order(Verb.FREE),
        Order(Verb.REPORT),
    ]


def test_a_pod_that_ended_is_reported_again_when_it_is_deleted() -> None:
    worker, orders = step(Worker(State.FINISHED), Stop(30))

    assert worker.state is State.FINISHED
    assert orders == (Order(Verb.REPORT),)


@pytest.mark.parametrize("state", list(State))
def test_news_and_stops_are_possible_in_every_state(state: State) -> None:
    assert (state, Changed) in TABLE
    assert (state, Stop) in TABLE


def test_an_event_without_a_row_is_a_bug() -> None:
    with pytest.raises(ImpossibleEvent, match="ResourcesFreed while Syncing"):
        step(Worker(), ResourcesFreed())
