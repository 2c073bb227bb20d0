"""Who owns which field of an object: recorded on every write, asked on every apply.

`Fields` is one type in one version. `record_update` notes a write that was no apply; `apply` merges a configuration
into an object, takes away what its manager no longer mentions and nobody else owns, and raises `ApplyConflict` where
others own what it changes. Trees are in the served form and have passed the codec, except the configuration.

A write is noted before the strategy of the kind resets what it may not touch, so `ignored` tells what the endpoint
never writes: the status through the main resource, everything else through /status.

Upstream: apimachinery/pkg/util/managedfields/internal/*.go, structured-merge-diff/merge/update.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from timonel.machinery.apply import managers as managing
from timonel.machinery.apply import sets
from timonel.machinery.apply.atomics import atomics
from timonel.machinery.apply.managers import (
    APPLY,
    BEFORE_FIRST_APPLY,
    UPDATE,
    Managed,
    ManagedFieldsError,
    Manager,
    Owned,
)
from timonel.machinery.apply.sets import Path, Set
from timonel.machinery.apply.typed import Struct
from timonel.machinery.errors import BadRequest, Cause, Conflict

Object = dict[str, Any]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
MAX_ANNOTATIONS = 256 * 1024

# Never anybody's: what the server sets, and what an object is.
_UNOWNED_METADATA = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
    "resourceVersion",
)  # fmt: skip
_UNOWNED = sets.of_paths(
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(("f:metadata", f"f:{name}") for name in _UNOWNED_METADATA),
)
REMEMBERED = 64  # new objects of a type; then all of them are forgotten
LONGEST = 16 * 1024  # bytes of one that is worth it


class ApplyConflict(Conflict):
    """Others own fields that an apply would change."""

    def __init__(self, conflicts: list[tuple[Manager, Path]]) -> None:
        self.conflicts = conflicts
        causes = [Cause("FieldManagerConflict", f"conflict with {m}", sets.show(p)) for m, p in conflicts]
        super().__init__(_conflict_message(conflicts), causes=causes)


def _conflict_message(conflicts: list[tuple[Manager, Path]]) -> str:
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {manager}: {sets.show(path)}"
    by_manager: dict[str, list[str]] = {}
    for manager, path in conflicts:
        by_manager.setdefault(str(manager), []).append(f"- {sets.show(path)}")
    lines = [line for name in sorted(by_manager) for line in (f"conflicts with {name}:", *by_manager[name])]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


class Fields:
    def __init__(
        self,
        root: Struct,
        *,
        group: str,
        version: str,
        kind: str,
        new: Object,
        ignored: Mapping[str, Set] | None = None,
    ) -> None:
        """`new` is an object of the type with nothing set; `ignored` has sets by subresource (empty: none)."""
        self._root = root
        self._api_version = f"{group}/{version}" if group else version
        self._kind = kind
        self._gvk = f"{group}/{version}, Kind={kind}"
        self._new = new
        self._ignored = ignored or {}
        self._memory = managing.Memory()
        self._remembered: dict[bytes, Object] = {}  # fieldsV1 of new objects, by what they say

    def changes(self, old: Object, new: Object) -> tuple[Set, Set]:
        """The fields that were added or modified, and those that went."""
        changed: Set = {}
        removed: Set = {}
        self._root.compare(_unmanaged(old), _unmanaged(new), changed, removed)
        return sets.difference(changed, _UNOWNED), sets.difference(removed, _UNOWNED)

    # ---- updates

    def record_update(
        self, old: Object | None, new: Object, *, manager: str, now: float, subresource: str = ""
    ) -> None:
        """Set the managedFields of `new`, which `manager` made of `old` (None: created)."""
        metadata = new.setdefault("metadata", {})
        if old is None:
            metadata.pop("managedFields", None)
            if entry := self._created(new, manager, now, subresource):
                metadata["managedFields"] = [entry]
            return
        managed = self._starting_point(old, metadata, subresource)
        metadata.pop("managedFields", None)
        if managed:
            managed = self._noted(_unmanaged(old), new, managed, manager, now, subresource)
        if managed:
            metadata["managedFields"] = managing.encode(managed, self._memory)

    def _created(self, new: Object, manager: str, now: float, subresource: str) -> Object | None:
        """The only entry of a new object; None where its manager owns nothing.

        Objects are often made in numbers, alike in all but their names. What the last ones came to is remembered by
        their text, and their `fieldsV1`, which nobody changes, is shared.
        """
        told = {k: v for k, v in new["metadata"].items() if k not in _UNOWNED_METADATA}
        if "generateName" in told:
            told["generateName"] = True  # owned whatever it is
        shape = {k: _shape(v) if type(v) is dict else v for k, v in new.items()}
        text = orjson.dumps([subresource, {**shape, "metadata": told}])
        found = self._remembered.get(text)
        if found is None:
            managed = self._noted(self._new, new, {}, manager, now, subresource)
            found = next((sets.to_wire(owned.fields) for owned in managed.values()), {})
            if len(text) <= LONGEST:
                if len(self._remembered) >= REMEMBERED:
                    self._remembered.clear()
                self._remembered[text] = found
        me = Manager(manager, UPDATE, self._api_version, subresource)
        return managing.entry(me, self._api_version, managing.time_of(now), found) if found else None

    def _starting_point(self, old: Object, metadata: Object, subresource: str) -> Managed:
        """What the client sent back, if it makes sense; nobody unknowingly deletes what the server noted."""
        if not subresource:
            sent = metadata.get("managedFields")
            if managing.is_reset(sent):
                return {}
            try:
                if sent and (managed := managing.decode(sent, self._memory)):
                    return managed
            except ManagedFieldsError:
                pass
        try:
            return managing.decode(old["metadata"].get("managedFields") or (), self._memory)
        except ManagedFieldsError:
            return {}

    def _noted(
        self, old: Object, new: Object, managed: Managed, manager: str, now: float, subresource: str
    ) -> Managed:
        changed: Set = {}
        removed: Set = {}
        self._root.compare(old, new, changed, removed)
        ignored = self._ignored.get(subresource, sets.EMPTY)
        changed, removed = sets.without(changed, ignored), sets.without(removed, ignored)
        if not changed and not removed:
            return managed
        found = _disowned(managed, changed, removed)
        mine = sets.difference(changed, _UNOWNED)
        if mine:
            me = Manager(manager, UPDATE, self._api_version, subresource)
            before = found.get(me)
            fields = sets.union(mine, before.fields) if before else mine
            found[me] = Owned(fields, self._api_version, managing.time_of(now))
        return managing.cap(found)

    # ---- apply

    def apply(
        self,
        live: Object | None,
        config: Object,
        *,
        manager: str,
        force: bool,
        now: float,
        subresource: str = "",
    ) -> Object:
        """The new object, with its managedFields. Raises ApplyConflict, BadRequest."""
        self._check(config)
        current = live if live is not None else self._fresh()
        try:
            managed = managing.decode(current["metadata"].get("managedFields") or (), self._memory)
        except ManagedFieldsError as e:
            raise BadRequest(f"failed to decode managed fields: {e}") from e
        me = Manager(manager, APPLY, "", subresource)
        plain = _unmanaged(current)
        if live is not None and not managed:
            managed = self._noted(self._new, plain, {}, BEFORE_FIRST_APPLY, now, "")
        before = managed.get(me)
        merged, managed = self._applied(plain, config, managed, me, force)
        if me in managed:
            # As upstream: an apply that changes nothing leaves the time alone, even when it is the first.
            unchanged = before.time if before else ""
            when = unchanged if merged == plain else managing.time_of(now)
            fields = sets.difference(managed[me].fields, _UNOWNED)
            managed = managing.put(managed, me, managed[me].changed(fields=fields, time=when))
        if manager == KUBECTL and live is not None:
            _refresh_last_applied(merged, live, config)
        metadata = merged["metadata"]
        metadata.pop("managedFields", None)
        if managed:
            metadata["managedFields"] = managing.encode(managed, self._memory)
        return merged

    def merged(self, live: Object, config: Object) -> Object:
        """`live` with what `config` sets, nobody's ownership noted: what admission policies do.

        Raises ValueError for a configuration that is not of the type, or sets what is atomic.
        """
        problems = list(self._root.problems(config, ""))
        if problems:
            text = problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems])
            raise ValueError(f"failed to convert patch object to typed object: {text}")
        found = list(atomics(self._root, config))
        if found:
            places = ", ".join(found)
            raise ValueError(
                f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {places}"
            )
        merged: Object = self._root.merge(live, config)
        return merged

    def _check(self, config: Object) -> None:
        api_version, kind = config.get("apiVersion") or "", config.get("kind") or ""
        if (api_version, kind) != (self._api_version, self._kind):
            shown = api_version if "/" in api_version else f"/{api_version}"
            raise BadRequest(f"invalid object type: {shown}, Kind={kind}")
        metadata = config.get("metadata")
        if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
            raise BadRequest("metadata.managedFields must be nil")
        problems = list(self._root.problems(config, ""))
        if problems:
            name = metadata if isinstance(metadata, dict) else {}
            place = f"{_text(name.get('namespace'))}/{_text(name.get('name'))}"
            text = problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems])
            shown = self._gvk if "/" in self._gvk.split(",")[0] else f"/{self._gvk}"
            raise BadRequest(f"failed to create typed patch object ({place}; {shown}): {text}")

    def _fresh(self) -> Object:
        """What an apply to a name that does not exist starts from."""
        return {**self._new, "kind": self._kind, "apiVersion": self._api_version, "metadata": {}}

    def _applied(
        self, live: Object, config: Object, managed: Managed, me: Manager, force: bool
    ) -> tuple[Object, Managed]:
        try:
            return self._merged(live, config, managed, me, force)
        except ApplyConflict as conflict:
            if me.name != KUBECTL:
                raise
            others = self._not_last_applied(live, conflict)
            if others:
                raise ApplyConflict(others) from None
        return self._merged(live, config, managed, me, force=True)

    def _not_last_applied(self, live: Object, conflict: ApplyConflict) -> list[tuple[Manager, Path]]:
        """The conflicts that kubectl's own client-side apply did not cause."""
        text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
        if not text:
            raise conflict
        try:
            last = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise conflict from None
        if not isinstance(last, dict) or list(self._root.problems(last, "")):
            raise conflict
        allowed = set(sets.members(self._root.fields(last)))
        return [(manager, path) for manager, path in conflict.conflicts if path not in allowed]

    def _merged(
        self, live: Object, config: Object, managed: Managed, me: Manager, force: bool
    ) -> tuple[Object, Managed]:
        merged: Object = self._root.merge(live, config)
        last = managed.get(me)
        ignored = self._ignored.get(me.subresource, sets.EMPTY)
        mine = sets.without(self._root.fields(config), ignored)
        managed = {**managed, me: Owned(mine, self._api_version)}
        if last is not None and sets.difference(last.fields, mine):
            merged = self._pruned(merged, managed, last.fields)
        changed: Set = {}
        removed: Set = {}
        self._root.compare(live, merged, changed, removed)
        changed, removed = sets.without(changed, ignored), sets.without(removed, ignored)
        conflicts = [] if force else _conflicts(managed, me, changed)
        if conflicts:
            raise ApplyConflict(conflicts)
        others = {m: owned for m, owned in managed.items() if m != me}
        found = _disowned(others, changed, removed)
        return merged, managing.put(found, me, managed[me])

    def _pruned(self, merged: Object, managed: Managed, last: Set) -> Object:
        """Without what the manager applied last time and no manager owns any more."""
        named = self._root.with_named_members
        last_named = named(last)
        pruned: Object = self._root.remove(merged, last_named) or {}
        everything = named(self._root.fields(merged))
        kept = named(self._root.fields(pruned))
        owned: Set = {}
        for owner in managed.values():
            owned = sets.union(owned, owner.fields)
        # What another manager owns comes back, with what it stands in.
        back = sets.difference(everything, sets.union(kept, named(owned)))
        pruned = self._root.remove(merged, back) or {}
        # What went although the manager had not applied it comes back as well.
        kept = named(self._root.fields(pruned))
        gone = sets.intersection(sets.difference(everything, kept), last_named)
        found: Object = self._root.remove(merged, gone) or {}
        return found


def _shape(part: Object) -> Object:
    """What is owned of a struct, or of a map, by its text: of a string that is set, all that counts is that it is."""
    return {k: True if type(v) is str and v else v for k, v in part.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _unmanaged(obj: Object) -> Object:
    """The object without its managedFields; a copy as deep as that takes."""
    metadata = obj.get("metadata") or {}
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _disowned(managed: Managed, changed: Set, removed: Set) -> Managed:
    """Nobody keeps what somebody else wrote or took away."""
    gone = sets.union(changed, removed)
    found: Managed = {}
    for manager, owned in managed.items():
        fields = sets.difference(owned.fields, gone)
        if fields:
            found[manager] = owned if fields is owned.fields else owned.changed(fields=fields)
    return found


def _conflicts(managed: Managed, me: Manager, changed: Set) -> list[tuple[Manager, Path]]:
    found: list[tuple[Manager, Path]] = []
    for manager, owned in sorted(managed.items()):
        if manager != me:
            paths: Iterable[Path] = sets.members(sets.intersection(owned.fields, changed))
            found += [(manager, path) for path in paths]
    return found


def _refresh_last_applied(merged: Object, live: Object, config: Object) -> None:
    """kubectl's annotation follows a server-side apply as long as it is there."""
    annotations = live["metadata"].get("annotations") or {}
    if LAST_APPLIED not in annotations:
        return
    shown = _unmanaged(config)
    own = {k: v for k, v in (shown["metadata"].get("annotations") or {}).items() if k != LAST_APPLIED}
    shown["metadata"] = {k: v for k, v in shown["metadata"].items() if k != "annotations"}
    if own:
        shown["metadata"]["annotations"] = own
    text = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    new = dict(merged["metadata"].get("annotations") or {})
    new[LAST_APPLIED] = text
    size = sum(len(k) + len(v) for k, v in new.items())
    if size > MAX_ANNOTATIONS:
        new[LAST_APPLIED] = ""
    merged["metadata"] = {**merged["metadata"], "annotations": new}
