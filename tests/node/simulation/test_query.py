from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.node.simulation.query import Unreadable, compiled

POD = {
    "metadata": {"labels": {"a.b/c": "x"}, "ownerReferences": [{"kind": "Job"}, {"kind": "Y"}]},
    "spec": {"replicas": 3},
    "status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False", "n": 2}],
    },
}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (".", [POD]),
        (".status.phase", ["Running"]),
        (".metadata.deletionTimestamp", []),
        (".nothing.at.all", []),
        ('.metadata.labels["a.b/c"]', ["x"]),
        ('.metadata.labels."a.b/c"', ["x"]),
        (".metadata.ownerReferences.[].kind", ["Job", "Y"]),
        (".metadata.ownerReferences[].kind", ["Job", "Y"]),
        (".metadata.ownerReferences[1].kind", ["Y"]),
        (".metadata.ownerReferences[7].kind", []),
        ('.status.conditions.[] | select( .type == "Ready" ) | .status', ["True"]),
        ('.status.conditions.[] | select( .type == "Ready" or .n > 1 ) | .status', ["True", "False"]),
        ('.status.conditions[] | select(.type != "Ready" and .status == "False").n', [2]),
        ('.metadata.name // "none"', ["none"]),
        (".spec.replicas >= 3", [True]),
        (".status.phase > 3", [False]),
        (".metadata.ownerReferences | length", [2]),
        (".spec.replicas | length", [3]),
        (".nothing | length", [0]),
        (".metadata.x?.y", []),
    ],
)
def test_keys_find_what_jq_finds(key: str, expected: list[Any]) -> None:
    assert list(compiled(key)(POD)) == expected


@pytest.mark.parametrize(
    "key", ["", "status", ".a |", ".a[", ".a[b]", "select(.a", '."', ".a ! .b", ".a .b c"]
)
def test_what_is_no_key_is_said(key: str) -> None:
    with pytest.raises(Unreadable, match="cannot read"):
        compiled(key)


@given(st.text(alphabet='.ab[]|()"= 01select/', max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values = compiled(text)
    except Unreadable:
        return
    list(values(POD))
