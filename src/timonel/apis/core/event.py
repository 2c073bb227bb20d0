"""core/v1: Event, and the form in which events of both API groups are kept.

events.k8s.io/v1 names the same facts differently and checks them more strictly; its objects are kept in the form of
core/v1 (see `timonel.apis.events`).

Upstream: pkg/apis/core/validation/events.go, pkg/apis/events/v1/conversion.go, pkg/registry/core/event/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.apis import checks
from timonel.apis.printing import since
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

LONGEST_WORD, LONGEST_NOTE = 128, 1024
TTL = 3600.0


def validate(obj: Object) -> Iterator[Cause]:
    yield from validate_common(obj, "reportingComponent")


def validate_common(obj: Object, controller_field: str) -> Iterator[Cause]:
    """What both versions ask for; an `eventTime` makes it an event of the new kind, with more that is required."""
    namespace = obj["metadata"].get("namespace", "")
    about = (obj.get("involvedObject") or {}).get("namespace", "")
    if obj.get("eventTime"):
        mismatch = not about and namespace not in ("default", "kube-system")
    else:
        mismatch = about != namespace and (bool(about) or namespace not in ("", "default"))
    if mismatch:
        yield field.invalid("involvedObject.namespace", about, "does not match event.namespace")
    if not obj.get("eventTime"):
        yield from checks.subdomain("namespace", namespace)
        return
    controller = obj.get("reportingComponent", "")
    if not controller:
        yield field.required(controller_field)
    yield from checks.qualified_name(controller_field, controller)
    for key in ("reportingInstance", "action", "reason"):
        if not obj.get(key):
            yield field.required(key)
        yield from _not_longer(key, obj.get(key, ""), LONGEST_WORD)
    yield from _not_longer("message", obj.get("message", ""), LONGEST_NOTE)


def _not_longer(path: str, text: str, limit: int) -> Iterator[Cause]:
    if len(text.encode()) > limit:
        yield field.invalid(path, "", f"can have at most {limit} characters")


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


def _text(*path: str) -> Callable[[Object], str]:
    def get(obj: Object) -> str:
        found: object = obj
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return str(found or "")

    return get


def _source(obj: Object) -> str:
    return _text("source", "component")(obj) or _text("reportingComponent")(obj)


REFERENCE_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

SELECTABLE = {
    **{f"involvedObject.{key}": _text("involvedObject", key) for key in REFERENCE_FIELDS},
    "reason": _text("reason"),
    "reportingComponent": _text("reportingComponent"),
    "source": _source,
    "type": _text("type"),
}


# ---------------------------------------------------------------- columns


def _first_seen(obj: Object, now: float) -> str:
    return since(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _last_seen(obj: Object, now: float) -> str:
    series = obj.get("series") or {}
    seen = series.get("lastObservedTime") or obj.get("lastTimestamp")
    return since(seen, now) if seen else _first_seen(obj, now)


def _count(obj: Object, now: float) -> int:
    if obj.get("series") is not None:
        return int(obj["series"].get("count", 0))
    return int(obj.get("count") or 1)


def _about(obj: Object, now: float) -> str:
    ref = obj.get("involvedObject") or {}
    kind = ref.get("kind", "").lower()
    return f"{kind}/{ref['name']}" if ref.get("name") else kind


def _reporter(obj: Object, now: float) -> str:
    source = obj.get("source") or {}
    if source.get("component") or source.get("host"):
        words = [source.get("component", ""), source.get("host", "")]
        return ", ".join(words if words[1] else words[:1])
    return ", ".join(w for w in (obj.get("reportingComponent", ""), obj.get("reportingInstance", "")) if w)


COLUMNS = (
    Column("Last Seen", _last_seen, doc="lastTimestamp"),
    Column("Type", lambda o, now: o.get("type", ""), doc="type"),
    Column("Reason", lambda o, now: o.get("reason", ""), doc="reason"),
    Column("Object", _about, doc="involvedObject"),
    Column(
        "Subobject",
        lambda o, now: (o.get("involvedObject") or {}).get("fieldPath", ""),
        priority=1,
        doc="involvedObject.fieldPath",
    ),
    Column("Source", _reporter, priority=1, doc="source"),
    Column("Message", lambda o, now: o.get("message", "").strip(), doc="message"),
    Column("First Seen", _first_seen, priority=1, doc="firstTimestamp"),
    Column("Count", _count, priority=1, doc="count"),
    Column(
        "Name", lambda o, now: o["metadata"].get("name", ""), format="name", priority=1, doc="metadata.name"
    ),
)

EVENT = ResourceType(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    short_names=("ev",),
    create_on_update=True,
    ttl=TTL,
    selectable=SELECTABLE,
    validate_name=names.path_segment_name,
    validate=validate,
    validate_update=validate_update,
    columns=COLUMNS,
)

RESOURCES = (EVENT,)
