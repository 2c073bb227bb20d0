"""Who set which fields: keeps metadata.managedFields right on every write, by way of `machinery.apply`.

Upstream: apimachinery/pkg/util/managedfields.
"""

from __future__ import annotations

from timonel.objects.meta import Object
from timonel.server.options import MANAGER_LIMIT, WriteOptions
from timonel.server.registry import Endpoint


def name_of(options: WriteOptions, user_agent: str) -> str:
    """The manager that a request names, or its user agent up to the first slash."""
    if options.field_manager:
        return options.field_manager
    head = user_agent.split("/", 1)[0]
    printable = "".join(c for c in head if c.isprintable())
    return printable[:MANAGER_LIMIT] or "unknown"


def updated(
    endpoint: Endpoint, old: Object | None, new: Object, *, manager: str, now: float, subresource: str = ""
) -> None:
    """Record in `new` that `manager` wrote what differs from `old`; both in the served form."""
    endpoint.machinery.record_update(old, new, manager=manager, now=now, subresource=subresource)
    if subresource == "scale" and endpoint.rtype.custom:  # as upstream, which loses the time on the way
        metadata = new["metadata"]
        entries = [
            {k: v for k, v in entry.items() if k != "time" or entry.get("subresource") != subresource}
            for entry in metadata.get("managedFields") or ()
        ]
        metadata["managedFields"] = sorted(entries, key=lambda e: (e["operation"], e.get("time", "")))


def applied(
    endpoint: Endpoint,
    old: Object | None,
    patch: Object,
    *,
    manager: str,
    force: bool,
    now: float,
    subresource: str,
) -> Object:
    """What `old` becomes when `manager` applies `patch`. Raises Conflict where others own what it changes."""
    found: Object = endpoint.machinery.apply(
        old, patch, manager=manager, force=force, now=now, subresource=subresource
    )
    return found
