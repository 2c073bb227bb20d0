from __future__ import annotations

import copy
from typing import Any

import pytest

from timonel.machinery.patch.json import PatchFailed, PatchMalformed, json_patch

DOCUMENT = {"data": {"k": "v", "a/b": 1, "t~u": 2}, "list": [1, 2, 3]}


@pytest.mark.parametrize(
    ("operation", "where", "expected"),
    [
        ({"op": "add", "path": "/data/x", "value": None}, "data", {"k": "v", "a/b": 1, "t~u": 2, "x": None}),
        ({"op": "replace", "path": "/data/k", "value": "w"}, "data", {"k": "w", "a/b": 1, "t~u": 2}),
        ({"op": "replace", "path": "/data/n", "value": 1}, "data", {"k": "v", "a/b": 1, "t~u": 2, "n": 1}),
        ({"op": "remove", "path": "/data/a~1b"}, "data", {"k": "v", "t~u": 2}),
        ({"op": "move", "from": "/data/t~0u", "path": "/data/k"}, "data", {"k": 2, "a/b": 1}),
        ({"op": "copy", "from": "/data/absent", "path": "/data/y"}, "data", {**DOCUMENT["data"], "y": None}),  # type: ignore[dict-item]
        ({"op": "add", "path": "/list/1", "value": 9}, "list", [1, 9, 2, 3]),
        ({"op": "add", "path": "/list/-", "value": 9}, "list", [1, 2, 3, 9]),
        ({"op": "remove", "path": "/list/-1"}, "list", [1, 2]),
        ({"op": "test", "path": "/list", "value": [1, 2, 3]}, "list", [1, 2, 3]),
    ],
)
def test_operations(operation: dict[str, Any], where: str, expected: Any) -> None:
    before = copy.deepcopy(DOCUMENT)

    assert json_patch(DOCUMENT, [operation])[where] == expected
    assert before == DOCUMENT


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/k", "value": "nope"},
        {"op": "test", "path": "/list/0", "value": True},
        {"op": "remove", "path": "/data/absent"},
        {"op": "add", "path": "/absent/deep", "value": 1},
        {"op": "add", "path": "/list/4", "value": 1},
        {"op": "move", "from": "/data/absent", "path": "/data/y"},
        {"op": "frobnicate", "path": "/data/k", "value": 1},
        {"op": "add", "value": 1},
        {"op": "add", "path": "data", "value": 1},
    ],
)
def test_operations_that_do_not_fit(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchFailed):
        json_patch(DOCUMENT, [operation])


def test_an_object_is_no_json_patch() -> None:
    with pytest.raises(PatchMalformed):
        json_patch(DOCUMENT, {"op": "add"})


def test_copies_cannot_double_a_document_without_end() -> None:
    copies = [{"op": "copy", "from": "/data", "path": f"/data/k{n}"} for n in range(30)]
    document = {"data": {"x": "a" * 10_000}}

    with pytest.raises(PatchFailed, match="accumulated size increase of copy"):
        json_patch(document, copies)
    assert len(json_patch(document, copies[:5])["data"]) == 6
