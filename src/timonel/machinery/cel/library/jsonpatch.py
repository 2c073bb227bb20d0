"""`JSONPatch{op: …, path: …, value: …}` and `jsonpatch.escapeKey`, for mutating admission policies.

Upstream: apiserver/pkg/cel/library/jsonpatch.go, cel/mutation/jsonpatch.go.
"""

from __future__ import annotations

from timonel.machinery.cel.functions import Overload, overload
from timonel.machinery.cel.types import DYN, STRING, object

JSON_PATCH = object("JSONPatch", {"op": STRING, "path": STRING, "from": STRING, "value": DYN})
TYPES = (JSON_PATCH,)


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


FUNCTIONS: tuple[Overload, ...] = (
    overload("string_jsonpatch_escapeKey", "jsonpatch.escapeKey", (STRING,), STRING, _escape),
)
