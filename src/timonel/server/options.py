"""Query parameters and DeleteOptions bodies as values, refused in upstream's words where they make no sense.

Upstream: apimachinery/pkg/apis/meta/v1/validation/validation.go, meta/internalversion/validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.machinery import errors, field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.chain.info import Info, flag

DRY_RUN_ALL = "All"
MANAGER_LIMIT = 128
PROPAGATIONS = ("Foreground", "Background", "Orphan")
VALIDATIONS = ("Ignore", "Strict", "Warn")
INT64 = 1 << 63


MOST_DIGITS = 100  # more than any number has that is not out of range; Python reads no more than 4300


def number(text: str) -> int:
    """An int64 of a query, or 400 as Go's strconv words it."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise errors.BadRequest(f"strconv.ParseInt: parsing {field.quote(text)}: invalid syntax")
    value = int(text) if len(text) <= MOST_DIGITS else INT64
    if not -INT64 <= value < INT64:
        raise errors.BadRequest(f"strconv.ParseInt: parsing {field.quote(text)}: value out of range")
    return value


def optional_number(info: Info, key: str) -> int | None:
    found = info.query.get(key)
    return number(found[0]) if found and found[0] != "" else None


def unsigned(text: str) -> int:
    """A resourceVersion. Raises ValueError with upstream's words."""
    if not (text.isascii() and text.isdigit()):
        problem = f"strconv.ParseUint: parsing {field.quote(text)}: invalid syntax"
    elif len(text) > MOST_DIGITS or int(text) >= 1 << 64:
        problem = f"strconv.ParseUint: parsing {field.quote(text)}: value out of range"
    else:
        return int(text)
    raise ValueError(f"resourceVersion: Invalid value: {field.quote(text)}: {problem}")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """CreateOptions, UpdateOptions and PatchOptions."""

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"
    force: bool = False

    def to_tree(self, kind: str) -> Object:
        tree: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
        if self.dry_run:
            tree["dryRun"] = [DRY_RUN_ALL]
        if self.field_manager:
            tree["fieldManager"] = self.field_manager
        if self.field_validation:
            tree["fieldValidation"] = self.field_validation
        return tree


def write_options(info: Info, kind: str, *, patch_type: str = "") -> WriteOptions:
    query = info.query
    if not query and patch_type != "apply":
        return WriteOptions()
    dry_run = query.get("dryRun", [])
    manager = info.first("fieldManager")
    validation = info.first("fieldValidation")
    force = query.get("force")
    causes = [*dry_run_causes(dry_run)]
    if kind == "PatchOptions":
        if patch_type == "apply":
            if not manager:
                causes.append(field.required("fieldManager", "is required for apply patch"))
        elif force:
            causes.append(field.forbidden("force", "may not be specified for non-apply patch"))
    causes += manager_causes(manager)
    if validation and validation not in VALIDATIONS:
        causes.append(field.not_supported("fieldValidation", validation, ("", *VALIDATIONS)))
    if causes:
        raise errors.invalid(kind, "", causes, "meta.k8s.io")
    return WriteOptions(
        bool(dry_run), manager, validation or "Warn", bool(force) and flag((force or [""])[0])
    )


def dry_run_causes(values: list[str]) -> Iterator[Cause]:
    if set(values) - {DRY_RUN_ALL}:
        yield field.not_supported("dryRun", values, (DRY_RUN_ALL,))


def manager_causes(manager: str) -> Iterator[Cause]:
    if len(manager.encode()) > MANAGER_LIMIT:
        yield field.too_long("fieldManager", MANAGER_LIMIT)
    for position, character in enumerate(manager):
        if not character.isprintable():
            yield field.invalid(
                "fieldManager", manager, f"invalid character {show_rune(character)} (at position {position})"
            )


def show_rune(character: str) -> str:
    """As Go's %#U."""
    text = f"U+{ord(character):04X}"
    return f"{text} '{character}'" if character.isprintable() else text


@dataclass(frozen=True, slots=True)
class ListOptions:
    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""
    timeout: int | None = None
    bookmarks: bool = False
    send_initial_events: bool | None = None


PLAIN_LIST = ListOptions()


def list_options(info: Info, *, watch: bool) -> ListOptions:
    query = info.query
    if not query:
        return PLAIN_LIST
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        label_selector=info.first("labelSelector"),
        field_selector=info.first("fieldSelector"),
        limit=optional_number(info, "limit") or 0,
        continue_token=info.first("continue"),
        resource_version=info.first("resourceVersion"),
        match=info.first("resourceVersionMatch"),
        timeout=optional_number(info, "timeoutSeconds"),
        bookmarks="allowWatchBookmarks" in query and flag(query["allowWatchBookmarks"][0]),
        send_initial_events=flag(initial[0]) if initial else None,
    )
    causes = tuple(_watch_causes(options) if watch else _list_causes(options))
    if causes:
        raise errors.invalid("ListOptions", "", causes, "meta.k8s.io")
    return options


def _watch_causes(options: ListOptions) -> Iterator[Cause]:
    path = "resourceVersionMatch"
    if options.send_initial_events is None and not options.match:
        return
    if options.send_initial_events is not None and options.match != "NotOlderThan":
        yield field.forbidden(path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if options.send_initial_events is None:
        yield field.forbidden(
            path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
    if options.match and options.match != "NotOlderThan":
        yield field.not_supported(path, options.match, ("NotOlderThan",))
    if options.match == "NotOlderThan" and options.continue_token:
        yield field.forbidden(path, "resourceVersionMatch is forbidden with continue")


def _list_causes(options: ListOptions) -> Iterator[Cause]:
    path, match = "resourceVersionMatch", options.match
    if match:
        if not options.resource_version:
            yield field.forbidden(
                path, "resourceVersionMatch is forbidden unless resourceVersion is provided"
            )
        if options.continue_token:
            yield field.forbidden(path, "resourceVersionMatch is forbidden when continue is provided")
        if match not in ("Exact", "NotOlderThan"):
            yield field.not_supported(path, match, ("Exact", "NotOlderThan", ""))
        if match == "Exact" and options.resource_version == "0":
            yield field.forbidden(path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if options.send_initial_events is not None:
        yield field.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


IGNORE_READ_ERROR = "ignoreStoreReadErrorWithClusterBreakingPotential"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    grace_period: int | None = None
    uid: str = ""
    resource_version: str = ""
    orphan_dependents: bool | None = None
    propagation: str = ""
    dry_run: bool = False
    ignore_read_error: bool = False  # of an object that cannot be read

    def to_tree(self) -> Object:
        tree: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.ignore_read_error:
            tree[IGNORE_READ_ERROR] = True
        if self.grace_period is not None:
            tree["gracePeriodSeconds"] = self.grace_period
        if self.uid or self.resource_version:
            pairs = (("uid", self.uid), ("resourceVersion", self.resource_version))
            tree["preconditions"] = {k: v for k, v in pairs if v}
        if self.orphan_dependents is not None:
            tree["orphanDependents"] = self.orphan_dependents
        if self.propagation:
            tree["propagationPolicy"] = self.propagation
        if self.dry_run:
            tree["dryRun"] = [DRY_RUN_ALL]
        return tree


def delete_options_from_query(info: Info) -> DeleteOptions:
    query = info.query
    if not query:
        return DeleteOptions()
    orphan = query.get("orphanDependents")
    tree: Object = {
        "gracePeriodSeconds": optional_number(info, "gracePeriodSeconds"),
        "orphanDependents": flag(orphan[0]) if orphan else None,
        "propagationPolicy": query["propagationPolicy"][0] if "propagationPolicy" in query else None,
        "dryRun": query.get("dryRun"),
        IGNORE_READ_ERROR: flag(query[IGNORE_READ_ERROR][0]) if IGNORE_READ_ERROR in query else None,
    }
    return delete_options(tree)


def delete_options(tree: Object) -> DeleteOptions:
    """From a decoded DeleteOptions. Raises BadRequest for wrong types, Invalid for wrong values."""
    preconditions = tree.get("preconditions") or {}
    dry_run = tree.get("dryRun") or []
    orphan = tree.get("orphanDependents")
    propagation = tree.get("propagationPolicy")
    grace = tree.get("gracePeriodSeconds")
    ignore = tree.get(IGNORE_READ_ERROR)
    types: tuple[tuple[str, Any, type], ...] = (
        ("preconditions", preconditions, dict),
        ("dryRun", dry_run, list),
        ("orphanDependents", orphan, bool),
        ("propagationPolicy", propagation, str),
        ("gracePeriodSeconds", grace, int),
        (IGNORE_READ_ERROR, ignore, bool),
    )
    for name, value, kind in types:
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise errors.BadRequest(f"json: cannot unmarshal value into Go struct field DeleteOptions.{name}")
    causes = list(_delete_causes(orphan, propagation, dry_run))
    if ignore:
        causes += [
            field.invalid(IGNORE_READ_ERROR, True, f"cannot be set together with .{name}")
            for name in (
                "dryRun",
                "propagationPolicy",
                "orphanDependents",
                "gracePeriodSeconds",
                "preconditions",
            )
            if tree.get(name) not in (None, [])
        ]
    if causes:
        raise errors.invalid("DeleteOptions", "", causes, "meta.k8s.io")
    return DeleteOptions(
        grace_period=grace,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        orphan_dependents=orphan,
        propagation=propagation or "",
        dry_run=bool(dry_run),
        ignore_read_error=bool(ignore),
    )


def _delete_causes(orphan: bool | None, propagation: str | None, dry_run: list[str]) -> Iterator[Cause]:
    if orphan is not None and propagation is not None:
        yield field.invalid(
            "propagationPolicy", propagation, "orphanDependents and deletionPropagation cannot be both set"
        )
    elif propagation is not None and propagation not in PROPAGATIONS:
        yield field.not_supported("propagationPolicy", propagation, (*PROPAGATIONS, "nil"))
    yield from dry_run_causes(dry_run)
