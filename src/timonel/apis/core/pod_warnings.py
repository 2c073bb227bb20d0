"""Warnings about pods and templates that are valid and yet not what one wants.

Upstream: pkg/api/pod/warnings.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.objects.meta import Object


def pod_warnings(obj: Object, old: Object | None = None) -> Iterator[str]:
    return iter(())


def template_warnings(template: Object, path: str, old: Object | None = None) -> Iterator[str]:
    return iter(())
