"""Compares a kind's defaulting and validation with the answers recorded from upstream, without a server.

    python tests/apis/wire_harness.py 'pod-|deployment' [--show 5]

The recordings are `../shared/wire/manifests` beside the repository. What only a server adds (system metadata, defaults
of admission plugins, answers to bodies that cannot be decoded) is left out of the comparison.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from tests.recorded import beside
from timonel.apis.apiextensions import RESOURCES as APIEXTENSIONS
from timonel.apis.apps import RESOURCES as APPS
from timonel.apis.batch import RESOURCES as BATCH
from timonel.apis.core import RESOURCES as CORE
from timonel.apis.resource import ResourceType
from timonel.machinery import names
from timonel.machinery.codec import Codecs, DecodeError
from timonel.machinery.errors import Cause
from timonel.schema import store as schemas
from timonel.server import objectmeta

WIRE = beside("wire")
UID = "00000000-0000-4000-8000-000000000000"
# set by admission plugins, or by the server on every object
ADMITTED = ("serviceAccount", "serviceAccountName", "tolerations", "priority", "preemptionPolicy", "priorityClassName",
            "automountServiceAccountToken")  # fmt: skip


def wire_module() -> Any:
    spec = importlib.util.spec_from_file_location("wire", WIRE / "wire.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wire = wire_module()
types = {(t.api_version, t.kind): t for t in (*CORE, *APPS, *BATCH, *APIEXTENSIONS)}
schema = schemas.load()
codecs = Codecs(schema.type)


def without_admission(obj: Any) -> Any:
    """An object apart from what admission adds to pods."""
    obj = copy.deepcopy(obj)
    spec = obj.get("spec") or {}
    if obj.get("kind") == "Pod":
        for key in ADMITTED:
            spec.pop(key, None)
        spec["volumes"] = [v for v in spec.get("volumes") or [] if "kube-api-access" not in v.get("name", "")]
        for key in ("initContainers", "containers"):
            for container in spec.get(key) or ():
                mounts = container.get("volumeMounts") or []
                container["volumeMounts"] = [
                    m for m in mounts if "serviceaccount" not in m.get("mountPath", "")
                ]
    for key in ("uid", "creationTimestamp", "generation", "namespace", "managedFields"):
        obj.get("metadata", {}).pop(key, None)
    return settled(obj)


def settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: s for k, v in value.items() if (s := settled(v)) not in ([], None)}
    return [settled(v) for v in value] if isinstance(value, list) else value


def answer(rtype: ResourceType, sent: Any) -> tuple[int, Any, list[str]]:
    """Status, object or causes, warnings."""
    name = schema.name_of(rtype.group, rtype.version, rtype.kind)
    assert name is not None
    obj, unknown = codecs.codec(name).normalize(copy.deepcopy(sent))
    if unknown:
        return 400, unknown, []
    obj.setdefault("metadata", {})
    if rtype.namespaced:
        obj["metadata"].setdefault("namespace", "wire-manifests")
    rtype.default(obj)
    if rtype.kind == "Pod" and not obj["spec"].get("serviceAccountName"):
        obj["spec"]["serviceAccountName"] = "default"
    obj["metadata"].setdefault("uid", UID)
    if not obj["metadata"].get("name") and obj["metadata"].get("generateName"):
        obj["metadata"]["name"] = names.generate_name(obj["metadata"]["generateName"])
    obj["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
    rtype.prepare_create(obj)
    causes = list(rtype.validate(obj))
    metadata = list(objectmeta.validate(obj, rtype))
    if metadata or causes:
        return 422, [*metadata, *causes], []
    warnings = list(rtype.warnings(obj))
    rtype.canonicalize(obj)
    return 201, obj, warnings


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(cause: Cause) -> tuple[str, str, str]:
    return cause.type, cause.message.replace(UID, "UID"), cause.field


def cases(name: str) -> Iterator[tuple[str, Any, Any]]:
    """(label, what was sent, upstream's answer)."""
    recorded = dict(json.loads(gzip.decompress((WIRE / "manifests" / f"{name}.golden.json.gz").read_bytes())))
    spec = yaml.safe_load((WIRE / "manifests" / f"{name}.yaml").read_text())
    for change, value in wire.mutants(spec["object"], spec.get("items", 2)):
        whole = not change and value is None
        text = json.dumps(value, ensure_ascii=False)[:60]
        label = "/".join(map(str, change)) + ("" if whole else f" = {text}")
        if label in recorded:
            yield label, wire.mutate(spec["object"], change, value), recorded[label]


def problem(sent: Any, golden: Any) -> str | None:
    """Why our answer differs from upstream's; None where it does not."""
    wanted = golden["status"]
    rtype = types[(sent["apiVersion"], sent["kind"])]
    try:
        status, found, warnings = answer(rtype, sent)
    except DecodeError as error:
        return (
            None
            if wanted == 400
            else f"400 {error}, upstream {wanted}: {golden['body'].get('message', '')[:300]}"
        )
    if wanted in (400, 403):
        return None if wanted == 403 or status == 400 else f"{status}, upstream 400"
    if status != wanted:
        text = [shown(c) for c in found] if status == 422 else golden["body"].get("message", "")[:400]
        return f"{status}, upstream {wanted}: {text}"
    if status == 422:
        raw = json.dumps([shown(c) for c in found], ensure_ascii=False).encode()
        got = [tuple(c) for c in json.loads(wire.without_generated(raw, sent))]
        want = [
            (c["reason"], c.get("message", ""), c.get("field", ""))
            for c in golden["body"]["details"]["causes"]
        ]
        return None if got == want else f"causes\n          ours     {got}\n          upstream {want}"
    ours = wire.mask(json.loads(json.dumps(without_admission(found)).replace(UID, "UID")), "")
    theirs = without_admission(golden["body"])
    header = ", ".join(f"299 - {quoted(text)}" for text in warnings)
    if header != golden.get("warning", ""):
        return f"warnings\n          ours     {header}\n          upstream {golden.get('warning')}"
    difference: str | None = wire.difference(theirs, ours)
    return difference


def compare(name: str) -> tuple[int, int, list[str]]:
    """Answers as upstream's, answers in all, and what differs."""
    good, total, wrong = 0, 0, []
    for label, sent, golden in cases(name):
        total += 1
        found = problem(sent, golden)
        if found is None:
            good += 1
        else:
            wrong.append(f"    {label}\n        {found}")
    return good, total, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only")
    parser.add_argument("--show", type=int, default=3)
    arguments = parser.parse_args()
    good = total = 0
    for file in sorted((WIRE / "manifests").glob("*.yaml")):
        if not re.match(arguments.only, file.stem):
            continue
        right, all_, wrong = compare(file.stem)
        good, total = good + right, total + all_
        print(f"{file.stem}: {right} of {all_}")
        for line in wrong[: arguments.show]:
            print(line[:1500])
    print(f"{good} of {total}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
