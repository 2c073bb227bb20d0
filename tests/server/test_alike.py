"""Bodies that are alike but for the name are completed once, and nobody can tell."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from timonel.objects.meta import Object
from timonel.server.alike import LONGEST, REMEMBERED, Alike

Tree = dict[str, Any]


class Completion:
    """Counts what it is asked."""

    def __init__(self, *warnings: str) -> None:
        self.warnings = warnings
        self.asked = 0

    def of(self, alike: Alike, tree: Tree) -> tuple[Object, list[str]]:
        given: list[str] = []

        def complete() -> Object:
            self.asked += 1
            given.extend(self.warnings)
            return {**copy.deepcopy(tree), "spec": {"replicas": 1}}

        return alike.completed(tree, given, complete), given


def tree(name: str, **labels: str) -> Tree:
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}}


def test_another_name_is_not_completed_again_and_is_given_back() -> None:
    alike, completion = Alike(), Completion()

    first, _ = completion.of(alike, tree("a", app="web"))
    second, _ = completion.of(alike, tree("b", app="web"))

    assert completion.asked == 1
    assert second == {
        "kind": "Pod",
        "metadata": {"name": "b", "labels": {"app": "web"}},
        "spec": {"replicas": 1},
    }
    assert list(second["metadata"]) == list(first["metadata"])


def test_what_is_given_out_can_be_changed_without_harm() -> None:
    alike, completion = Alike(), Completion()
    completion.of(alike, tree("a"))

    second, _ = completion.of(alike, tree("b"))
    second["spec"]["replicas"] = 7
    third, _ = completion.of(alike, tree("c"))

    assert third["spec"] == {"replicas": 1}


@pytest.mark.parametrize(
    "other",
    [
        tree("a", app="other"),
        {"metadata": {"labels": {}, "name": "a"}, "kind": "Pod"},  # the order of members is kept
        {"kind": "Pod", "metadata": {"generateName": "a-", "labels": {}}},
        {"kind": "Pod", "metadata": {"name": "", "labels": {}}},
        {"kind": "Pod", "metadata": {"name": 5, "labels": {}}},
        {"kind": "Pod"},
        {"kind": "Pod", "metadata": None},
    ],
)
def test_anything_else_is_completed_anew(other: Tree) -> None:
    alike, completion = Alike(), Completion()
    completion.of(alike, tree("a"))

    completion.of(alike, other)

    assert completion.asked == 2


@pytest.mark.parametrize(
    "never",
    [
        {"kind": "Pod", "metadata": {"name": "a", "uid": "1"}},
        {"kind": "Pod", "metadata": {"name": "a"}, "spec": "x" * LONGEST},
        {"kind": "Pod", "metadata": {"name": "a"}, "spec": 1 << 70},
    ],
)
def test_what_has_been_stored_or_is_large_or_odd_is_never_remembered(never: Tree) -> None:
    alike, completion = Alike(), Completion()

    for _ in range(2):
        completion.of(alike, never)

    assert completion.asked == 2


def test_a_warning_is_given_each_time() -> None:
    alike, completion = Alike(), Completion("beware")

    given = [completion.of(alike, tree(name))[1] for name in ("a", "b")]

    assert given == [["beware"], ["beware"]]


def test_memory_is_bounded() -> None:
    alike, completion = Alike(), Completion()
    for number in range(REMEMBERED + 1):
        completion.of(alike, tree("a", number=str(number)))

    completion.of(alike, tree("a", number="0"))

    assert completion.asked == REMEMBERED + 2
