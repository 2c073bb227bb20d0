"""Pure helpers over object metadata: the names every other module speaks in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

Object = dict[str, Any]

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00")


class Key(NamedTuple):
    """Namespace (empty for cluster-scoped objects) and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Object) -> Key:
    return Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def uid_of(obj: Object) -> str:
    found: str = obj["metadata"].get("uid", "")
    return found


def labels_of(obj: Object) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("labels") or {}
    return found


def annotations_of(obj: Object) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def protected(obj: Object, finalizer: str, *, in_use: bool) -> Object | None:
    """`obj` with a finalizer, or without it once it is deleted and not in use; None where it is so already."""
    finalizers: list[str] = obj["metadata"].get("finalizers") or []
    if not is_deleting(obj):
        changed = [*finalizers, finalizer] if finalizer not in finalizers else finalizers
    else:
        changed = finalizers if in_use else [f for f in finalizers if f != finalizer]
    if changed == finalizers:
        return None
    return {**obj, "metadata": {**obj["metadata"], "finalizers": changed}}


def is_deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference with `controller: true`, if any."""
    refs: list[dict[str, Any]] = obj["metadata"].get("ownerReferences") or []
    return next((ref for ref in refs if ref.get("controller")), None)


def is_controlled_by(obj: Object, owner: Object) -> bool:
    ref = controller_of(obj)
    return ref is not None and ref["uid"] == owner["metadata"]["uid"]


def controller_ref(owner: Object) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def format_time(seconds: float) -> str:
    """A metav1.Time: RFC 3339 in UTC, whole seconds."""
    return _formatted(int(seconds))


@lru_cache(64)  # many things happen within a second
def _formatted(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def format_micro_time(seconds: float) -> str:
    """A metav1.MicroTime: RFC 3339 in UTC with six decimals."""
    micros = round(seconds * 1_000_000)
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(micros // 1_000_000)) + f".{micros % 1_000_000:06d}Z"
    )


def parse_time(text: str | None) -> float | None:
    """Seconds since the epoch of a Time or MicroTime in UTC (`…Z`); None for an absent one."""
    if not text:
        return None
    if (
        len(text) < 19 or text[4] != "-" or text[7] != "-" or text[10] != "T"
    ):  # other forms of ISO 8601 are none here
        raise ValueError(f"time data {text!r} does not match RFC 3339")
    whole = int((datetime.fromisoformat(text[:19]) - _EPOCH).total_seconds())
    fraction = text[19:].rstrip("Z")
    return whole + (float(fraction) if fraction.startswith(".") else 0.0)


def nested(obj: Mapping[str, Any] | None, *path: str) -> Any:
    """The value at a path of keys, or None where any step is missing or null."""
    found: Any = obj
    for key in path:
        if not found:
            return None
        found = found.get(key)
    return found
