"""What may change in a pod, by which way.

Upstream: pkg/apis/core/validation/validation.go, pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis.core.pod_spec import validate_pod
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def prepare_status_update(new: Object, old: Object) -> None:
    """The status may be written as it is."""


def validate_pod_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_pod(new)


def validate_status_update(new: Object, old: Object) -> Iterator[Cause]:
    return iter(())
