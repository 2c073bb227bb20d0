"""The managers of an object: `metadata.managedFields` decoded, and written again in upstream's order.

`Managed` maps a `Manager` (who, by which operation, in which version, through which subresource) to what it owns and
when it last said so. Values: every change returns a new one.

Upstream: apimachinery/pkg/util/managedfields/internal/{managedfields,capmanagers}.go.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from timonel.machinery.apply import sets
from timonel.machinery.apply.sets import Set, SetError
from timonel.records import dataclass

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
REMEMBERED = 256  # sets of a type; then all of them are forgotten
LONGEST = 16 * 1024  # bytes of one that is worth it


class Manager(NamedTuple):
    name: str
    operation: str
    api_version: str  # empty for Apply: an applier is one manager in all versions
    subresource: str = ""

    def __str__(self) -> str:
        """As conflicts name it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@dataclass(frozen=True, slots=True)
class Owned:
    fields: Set
    api_version: str
    time: str = ""  # RFC 3339, empty when unknown
    wire: dict[str, Any] | None = None  # the entry this was read from, as long as nothing has changed

    def changed(self, **changes: Any) -> Owned:
        return replace(self, wire=None, **changes)


Managed = dict[Manager, Owned]


class ManagedFieldsError(ValueError):
    """managedFields that cannot be read."""


class Memory:
    """What `fieldsV1` came to and came from: the same ones are read and written again and again.

    Sets and trees are shared with whoever gets them, and nobody changes them.
    """

    def __init__(self) -> None:
        self._sets: dict[bytes, Set] = {}
        self._trees: dict[bytes, dict[str, Any]] = {}

    def set_of(self, tree: Any) -> Set:
        """Raises SetError."""
        try:
            text = orjson.dumps(tree)
        except TypeError:  # a client's, which is no FieldsV1 for sure
            return sets.from_wire(tree)
        found = self._sets.get(text)
        if found is None:
            found = sets.from_wire(tree)
            _remember(self._sets, text, found)
        return found

    def tree_of(self, fields: Set) -> dict[str, Any]:
        text = orjson.dumps(fields)
        found = self._trees.get(text)
        if found is None:
            found = sets.to_wire(fields)
            _remember(self._trees, text, found)
        return found


def _remember(memory: dict[bytes, dict[str, Any]], text: bytes, found: dict[str, Any]) -> None:
    if len(text) <= LONGEST:
        if len(memory) >= REMEMBERED:
            memory.clear()
        memory[text] = found


def decode(entries: Iterable[Any], memory: Memory | None = None) -> Managed:
    """Raises ManagedFieldsError."""
    found: Managed = {}
    read = sets.from_wire if memory is None else memory.set_of
    for i, entry in enumerate(entries):
        operation, version = entry.get("operation", ""), entry.get("apiVersion", "")
        if operation not in (APPLY, UPDATE):
            raise ManagedFieldsError("operation must be `Apply` or `Update`")
        if not version:
            raise ManagedFieldsError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            given = entry.get("fieldsType", "")
            what = f'invalid fieldsType "{given}" in' if given else "missing fieldsType in"
            raise ManagedFieldsError(f"{what} managed fields entry {i}")
        try:
            fields = read(entry.get("fieldsV1") or {})
        except SetError as e:
            raise ManagedFieldsError(str(e)) from e
        named = version if operation == UPDATE else ""
        manager = Manager(entry.get("manager", ""), operation, named, entry.get("subresource", ""))
        found[manager] = Owned(fields, version, entry.get("time") or "", entry)
    return found


def encode(managed: Managed, memory: Memory) -> list[dict[str, Any]]:
    entries = sorted(
        managed.items(),
        key=lambda item: (
            item[0].operation,
            item[1].time,
            item[0].name,
            item[1].api_version,
            item[0].subresource,
        ),
    )
    return [_entry(manager, owned, memory) for manager, owned in entries]


def _entry(manager: Manager, owned: Owned, memory: Memory) -> dict[str, Any]:
    if owned.wire is not None:
        return owned.wire
    return entry(manager, owned.api_version, owned.time, memory.tree_of(owned.fields))


def entry(manager: Manager, api_version: str, when: str, fields: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": api_version,
        "time": when,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        "subresource": manager.subresource,
    }
    return {key: value for key, value in found.items() if value != ""}


def is_reset(entries: list[Any] | None) -> bool:
    """`[]` and `[{}]` ask for all managers to be forgotten."""
    return entries is not None and (not entries or (len(entries) == 1 and not entries[0]))


def time_of(now: float) -> str:
    return _formatted(int(now))


@lru_cache(64)  # many things happen within a second
def _formatted(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def put(managed: Managed, manager: Manager, owned: Owned) -> Managed:
    """A manager that owns nothing is no manager."""
    if owned.fields:
        return {**managed, manager: owned}
    return {m: o for m, o in managed.items() if m != manager}


def cap(managed: Managed) -> Managed:
    """At most ten managers by update: the oldest are merged into one bucket per version."""
    updaters = [m for m in managed if m.operation == UPDATE]
    if len(updaters) <= MAX_UPDATERS:
        return managed
    found = dict(managed)
    updaters.sort(key=lambda m: (managed[m].time, m))
    left = len(updaters)
    first_of: dict[str, Manager] = {}
    for manager in updaters:
        if left <= MAX_UPDATERS:
            break
        owned = found[manager]
        version = owned.api_version
        if version not in first_of:
            first_of[version] = manager
            continue
        bucket = Manager(ANCIENT, UPDATE, version)
        if bucket not in found:
            found[bucket] = found.pop(first_of[version])
        if manager != bucket:
            merged = sets.union(owned.fields, found[bucket].fields)
            found[bucket] = found[bucket].changed(fields=merged, time=owned.time)
            del found[manager]
        left -= 1
    return found
