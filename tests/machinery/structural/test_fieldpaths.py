from __future__ import annotations

import re

import pytest

from timonel.machinery.structural.fieldpaths import InvalidPath, resolve
from timonel.machinery.structural.schema import Schema

TEXT = {"type": "string"}
SCHEMA = Schema.of(
    {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"a": TEXT, "x.y": TEXT}},
            "map": {"type": "object", "additionalProperties": TEXT},
            "list": {"type": "array", "items": TEXT},
        },
    }
)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (".spec.a", ".spec.a"),
        (".spec['a']", ".spec.a"),
        (".spec['x.y']", ".spec.x.y"),
        (".map.key", ".map[key]"),
        (r".map['it\'s']", ".map[it's]"),
        ("", ""),
    ],
)
def test_a_path_names_fields_and_keys(path: str, said: str) -> None:
    assert resolve(path, SCHEMA)[0] == said


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("spec", "expected [ or . but got: spec"),
        (".spec.b", "does not refer to a valid field"),
        (".spec.a.b", "does not refer to a valid field"),
        (".list[0]", "expected single quoted string but got 0"),
        (".", "unexpected end of JSON path"),
        (".spec[", "unexpected end of JSON path"),
        (".spec['a'", "unexpected end of JSON path"),
        (".map['a'.b", "expected ] but got ."),
        (r".map['\q']", r"invalid string literal: invalid escape char \q"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_a_reason(path: str, why: str) -> None:
    with pytest.raises(InvalidPath, match=f"^{re.escape(why)}$"):
        resolve(path, SCHEMA)


def test_brackets_may_be_left_out_of_the_grammar() -> None:
    with pytest.raises(InvalidPath, match=r"^array notation is not allowed$"):
        resolve(".spec['a']", SCHEMA, brackets=False)
