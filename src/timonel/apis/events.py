"""events.k8s.io/v1: Event, kept in the form of core/v1.

Upstream: pkg/apis/events/v1/conversion.go, pkg/apis/core/validation/events.go, pkg/registry/core/event/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.core import event
from timonel.apis.resource import Converted, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

# here -> in core/v1
_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
# fields that are written even when empty: (here, in core/v1, the empty value)
_ALWAYS: tuple[tuple[str, str, Object | None], ...] = (
    ("eventTime", "eventTime", None),
    ("regarding", "involvedObject", {}),
    ("deprecatedSource", "source", {}),
    ("deprecatedFirstTimestamp", "firstTimestamp", None),
    ("deprecatedLastTimestamp", "lastTimestamp", None),
)


def to_stored(obj: Object) -> None:
    _rename(obj, _RENAMED)
    obj["apiVersion"] = "v1"
    for _, key, empty in _ALWAYS:
        obj.setdefault(key, empty if empty is None else {})
    for key in ("reportingComponent", "reportingInstance"):
        obj.setdefault(key, "")


def from_stored(obj: Object) -> None:
    _rename(obj, {stored: own for own, stored in _RENAMED.items()})
    obj["apiVersion"] = "events.k8s.io/v1"
    for key, _, empty in _ALWAYS:
        obj.setdefault(key, empty if empty is None else {})
    if not obj["regarding"]:
        del obj["regarding"]
    for key in ("reportingController", "reportingInstance"):
        if not obj.get(key):
            obj.pop(key, None)


def _rename(obj: Object, pairs: dict[str, str]) -> None:
    for here, there in pairs.items():
        if here in obj:
            obj[there] = obj.pop(here)


def validate(obj: Object) -> Iterator[Cause]:
    yield from event.validate_common(obj, "reportingController")
    yield from _validate_series(obj)
    if not obj.get("eventTime"):
        yield field.required("eventTime")
    kind = obj.get("type", "")
    if kind not in ("Normal", "Warning"):
        yield field.invalid("type", "", f"has invalid value: {kind}")
    for key in ("firstTimestamp", "lastTimestamp", "count"):
        if obj.get(key):
            yield field.invalid(key, "", "needs to be unset")
    source = obj.get("source") or {}
    if source.get("component") or source.get("host"):
        yield field.invalid("source", "", "needs to be unset")


def _validate_series(obj: Object) -> Iterator[Cause]:
    series = obj.get("series")
    if series is None:
        return
    if series.get("count", 0) < 2:
        yield field.invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        yield field.required("series.lastObservedTime")


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from event.validate_common(new, "reportingController")
    if new.get("series") != old.get("series"):
        yield from _validate_series(new)
    for path, key in (
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingComponent"),
        ("reportingInstance", "reportingInstance"),
    ):
        yield from checks.immutable(path, new.get(key), old.get(key))


EVENT = ResourceType(
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    short_names=("ev",),
    create_on_update=True,
    ttl=event.TTL,
    selectable={
        **{f"regarding.{key}": event.SELECTABLE[f"involvedObject.{key}"] for key in event.REFERENCE_FIELDS},
        "note": lambda o: o.get("message", ""),
        "reason": event.SELECTABLE["reason"],
        "reportingController": event.SELECTABLE["reportingComponent"],
        "type": event.SELECTABLE["type"],
    },
    validate_name=names.name_is_dns_subdomain,
    converted=Converted("", "v1", to_stored, from_stored),
    validate=validate,
    validate_update=validate_update,
    columns=event.COLUMNS,
)

RESOURCES = (EVENT,)
