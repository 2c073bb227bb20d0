"""A custom object of twenty fields, through everything but CEL: an order of magnitude, for machines of any speed."""

from __future__ import annotations

import time

import orjson
import pytest

from timonel.machinery.structural import Structural

TEXT, COUNT = {"type": "string"}, {"type": "integer"}
SPEC = {
    "type": "object",
    "required": ["color"],
    "properties": {
        "replicas": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 10, "default": 1},
        "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 1, "maxLength": 20},
        "a": TEXT,
        "b": {"type": "boolean"},
        "c": COUNT,
        "d": {"type": "number"},
        "e": {"type": "object", "properties": {"x": TEXT, "y": {"type": "string", "default": "z"}}},
        "f": {"type": "array", "items": TEXT},
        "labels": {"type": "object", "additionalProperties": TEXT},
        "when": {"type": "string", "format": "date-time"},
        "ports": {
            "type": "array",
            "maxItems": 5,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port"],
            "items": {
                "type": "object",
                "required": ["port"],
                "properties": {"port": COUNT, "size": {"x-kubernetes-int-or-string": True}},
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": SPEC,
        "status": {"type": "object", "properties": {"replicas": COUNT, "selector": TEXT}},
    },
}
OBJECT = {
    "apiVersion": "a.io/v1",
    "kind": "Thing",
    "metadata": {"name": "x"},
    "spec": {
        "replicas": 3, "color": "red", "name": "abc", "a": "x", "b": True, "c": 5, "d": 1.5, "e": {"x": "1"},
        "f": ["a", "b"], "ports": [{"port": 1, "size": "x"}, {"port": 2, "size": 3}], "labels": {"a": "b", "c": "d"},
        "when": "2026-01-01T00:00:00Z",
    },
    "status": {"replicas": 3, "selector": "a=b"},
}  # fmt: skip


@pytest.mark.looptime(False)
def test_an_object_costs_microseconds() -> None:
    structural, raw = Structural(SCHEMA), orjson.dumps(OBJECT)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(50):
            obj = orjson.loads(raw)
            assert structural.prune(obj) == []
            structural.default(obj)
            assert list(structural.validate(obj)) == []
        best = min(best, (time.perf_counter() - began) / 50)

    assert best < 150e-6  # about 20e-6 on the machine of docs/design/custom-resources.md
