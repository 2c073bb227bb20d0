"""How a retired version is made from the version that took over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from timonel.apis.resource import ResourceType, Retired
from timonel.objects.meta import Object

Change = Callable[[Object], None]


def nothing(obj: Object) -> None:
    pass


def retired(
    current: ResourceType,
    api_version: str,
    deprecated: str,
    removed: str,
    *,
    default: Change | None = None,
    to_stored: Change = nothing,
    from_stored: Change = nothing,
) -> ResourceType:
    """`current` as `api_version` had it. `deprecated` and `removed` are the releases (`1.8`) that said and did so.

    `default` replaces that of `current`; it, too, sees the old form. Upstream's warning:
    apiserver/pkg/endpoints/deprecation/deprecation.go.
    """
    group, _, version = api_version.rpartition("/")

    def forward(obj: Object) -> None:
        to_stored(obj)
        obj["apiVersion"] = current.api_version

    def back(obj: Object) -> None:
        from_stored(obj)
        obj["apiVersion"] = api_version

    warning = (
        f"{api_version} {current.kind} is deprecated in v{deprecated}+, unavailable in v{removed}+; "
        f"use {current.api_version} {current.kind}"
    )
    return replace(
        current,
        group=group,
        version=version,
        # The same objects in another group: names that stand for several kinds, and short ones, mean the current kind.
        short_names=current.short_names if group == current.group else (),
        categories=current.categories if group == current.group else (),
        default=default or current.default,
        legacy_shape=None,
        retired=Retired(current.version, forward, back, warning, stored_group=current.group),
    )
