"""The types, held against answers recorded from upstream: what a zero that was sent comes back as."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.recorded import beside, needs
from timonel.machinery.codec import Codecs, DecodeError
from timonel.schema import load

WIRE = beside("wire")
MANIFESTS = sorted(path.stem for path in (WIRE / "manifests").glob("*.yaml"))
SCHEMA = load()
CODECS = Codecs(SCHEMA.type)
ABSENT = object()

UNREADABLE = "…"  # how the recorder writes a refusal by the decoder
# A CRD's `status: []` is a list where the published type has an object without fields.
UNTYPED = {("crd-structural", "spec/versions/0/subresources/status = []")}


def wire() -> Any:
    spec = importlib.util.spec_from_file_location("recorded_wire", WIRE / "wire.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recorded_wire"] = module
    spec.loader.exec_module(module)
    return module


def cases(name: str) -> Iterator[tuple[str, list[Any], Any, dict[str, Any]]]:
    """(label, path of the change, what was sent, upstream's answer)"""
    module = wire()
    spec = yaml.safe_load((WIRE / "manifests" / f"{name}.yaml").read_text())
    answers = dict(json.loads(gzip.decompress((WIRE / "manifests" / f"{name}.golden.json.gz").read_bytes())))
    for change, value in module.mutants(spec["object"], spec.get("items", 2)):
        shown = "" if value is None and not change else f" = {json.dumps(value, ensure_ascii=False)[:60]}"
        label = "/".join(map(str, change)) + shown
        if label in answers:
            yield label, change, module.mutate(spec["object"], change, value), answers[label]


def at(tree: Any, path: list[Any]) -> Any:
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return ABSENT
    return tree


@needs(WIRE)
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_tree_is_decoded_as_upstream_decodes_it(name: str) -> None:
    wrong = []
    found_cases = list(cases(name))
    accepted = [(change, answer["body"]) for _, change, _, answer in found_cases if answer["status"] < 300]
    for label, change, sent, answer in found_cases:
        group, _, version = sent["apiVersion"].rpartition("/")
        type_name = SCHEMA.name_of(group, version, sent["kind"])
        assert type_name is not None
        message = answer["body"].get("message", "") if isinstance(answer["body"], dict) else ""
        try:
            found, problems = CODECS.codec(type_name).normalize(sent)
        except DecodeError as error:
            if answer["status"] != 400:
                wrong.append(f"{label}: refused ({error}), upstream says {answer['status']} {message}")
            continue
        if problems:
            if f"strict decoding error: {', '.join(problems)}" not in message:
                wrong.append(f"{label}: {problems}, upstream says {message}")
        elif answer["status"] == 400:
            if message == UNREADABLE and (name, label) not in UNTYPED:
                wrong.append(f"{label}: accepted, upstream says {message}")
        elif answer["status"] < 300:
            ours, theirs = at(found, change), at(answer["body"], change)
            # A zero that we keep and upstream drops is a pointer too many; one that it fills in is a default. What
            # is never answered is dropped by a later rule, as is what stands in something that is.
            dropped = theirs is ABSENT and at(answer["body"], change[:-1]) is not ABSENT
            if ours in ("", 0, False) and dropped and _is_answered(accepted, change):
                wrong.append(f"{label}: kept {ours!r}")

    assert wrong == []


def _is_answered(accepted: list[tuple[list[Any], Any]], path: list[Any]) -> bool:
    return any(change[: len(path)] != path and at(body, path) is not ABSENT for change, body in accepted)
