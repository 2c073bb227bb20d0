"""How long nodes may remember Secrets and ConfigMaps."""

from __future__ import annotations

import pytest

from tests.controllers.world import World
from timonel.controllers.ttl import ANNOTATION, MOMENT, TTL, wanted
from timonel.objects.meta import Object, annotations_of


@pytest.mark.parametrize(
    ("nodes", "current", "seconds"),
    [
        (1, None, 0),
        (100, None, 0),
        (101, None, 15),
        (101, "0", 15),
        (95, "15", 15),
        (89, "15", 0),
        (500, "15", 15),
        (501, "15", 30),
        (450, "30", 30),
        (1000, None, 30),
        (1001, "30", 60),
        (1900, "60", 60),
        (1900, "300", 300),
        (2001, "60", 300),
        (5000, None, 300),
        (3, "300", 0),
        (3, "nonsense", 0),
        (3, "00", 0),
    ],
)
def test_the_boundaries_are_upstreams(nodes: int, current: str | None, seconds: int) -> None:
    assert wanted(nodes, current) == seconds


def node(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {}}


def test_nodes_are_told_once_they_are_counted_and_again_when_there_are_more() -> None:
    world = World(("nodes", node("n0")))
    world.settle(TTL)
    first = annotations_of(world.list("nodes")[0])

    world.time += MOMENT
    world.settle(TTL)
    told = annotations_of(world.list("nodes")[0])
    for number in range(1, 102):
        world.add("nodes", node(f"n{number}"))
    world.time += MOMENT
    world.settle(TTL)

    assert (first, told) == ({}, {ANNOTATION: "0"})
    assert {annotations_of(each)[ANNOTATION] for each in world.list("nodes")} == {"15"}
