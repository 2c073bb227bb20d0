"""Rates and quantities, as clients of metrics.k8s.io see them."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.resourcemetrics import usage
from timonel.resourcemetrics.usage import Look, Point, Rate

NOW = 1_000_000.0


def point(cpu: float, *, memory: int = 5 << 20, started: float = NOW - 100, rate: int | None = None) -> Point:
    """`cpu` in seconds."""
    return Point(NOW, started, int(cpu * usage.NANO), memory, rate)


@pytest.mark.parametrize(
    ("latest", "before", "between", "nano_cores", "window"),
    [
        (point(3, rate=7), point(1), 2.0, 7, 10.0),  # what the agent says itself
        (point(3), point(1), 4.0, usage.NANO // 2, 4.0),  # two looks
        (point(50), None, 0.0, usage.NANO // 2, 100.0),  # one look: since it started
        (point(1, started=NOW - 2), point(90), 10.0, usage.NANO // 2, 2.0),  # it has been replaced in between
        (point(1, started=NOW), None, 0.0, 0, 0.0),  # it has just begun
        (point(1), point(1), 5.0, 0, 5.0),
    ],
)
def test_a_rate_is_the_difference_of_two_looks(
    latest: Point, before: Point | None, between: float, nano_cores: int, window: float
) -> None:
    found = usage.rate(latest, before, between)

    assert (found.nano_cores, found.window) == (nano_cores, window)
    assert found.memory == 5 << 20


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (Rate(0, 0, NOW, 1), {"cpu": "0", "memory": "0"}),
        (Rate(1234, 1023, NOW, 1), {"cpu": "1234n", "memory": "1023"}),
        (Rate(2 * usage.NANO, 3 << 20, NOW, 1), {"cpu": "2000000000n", "memory": "3072Ki"}),
    ],
)
def test_quantities_are_nanocores_and_kibibytes(rate: Rate, text: dict[str, str]) -> None:
    assert usage.quantities(rate) == text


def pod(*names: str, sidecars: tuple[str, ...] = (), ended: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "uid": "1"},
        "spec": {
            "initContainers": [{"name": "once"}, *({"name": s, "restartPolicy": "Always"} for s in sidecars)],
            "containers": [{"name": n} for n in names],
        },
        "status": {"containerStatuses": [{"name": n, "state": {"terminated": {}}} for n in ended]},
    }


def look_at(*names: str) -> Look:
    return Look(point(9), {("shop", "web"): {name: point(1, rate=5) for name in names}})


@pytest.mark.parametrize(
    ("obj", "seen", "told"),
    [
        (pod("a", "b"), ("a", "b"), ["a", "b"]),
        (pod("a", "b"), ("a",), None),  # the other one has not been seen yet
        (pod("a", "b", ended=("b",)), ("a",), ["a"]),
        (pod("a", sidecars=("log",)), ("a", "log"), ["log", "a"]),
        (pod("a"), (), None),
        (pod("a", ended=("a",)), ("a",), None),
    ],
)
def test_a_pod_is_told_when_all_that_runs_in_it_has_been_seen(
    obj: dict[str, Any], seen: tuple[str, ...], told: list[str] | None
) -> None:
    found = usage.pod_metrics(obj, look_at(*seen), None, 0.0)

    assert (None if found is None else [c["name"] for c in found["containers"]]) == told
    if found is not None:
        assert found["metadata"] == {
            "name": "web",
            "namespace": "shop",
            "labels": {"app": "web"},
            "creationTimestamp": "1970-01-12T13:46:40Z",
        }


@pytest.mark.parametrize(
    "broken", [{}, {"node": {}}, {"node": {"cpu": {"time": ""}, "memory": {}}}, {"node": 1}]
)
def test_what_is_no_summary_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        usage.look(broken)
