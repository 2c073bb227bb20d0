"""The names of resources (cpu, pods, example.com/gpu): which are standard where.

Upstream: pkg/apis/core/helper/helpers.go, pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.machinery import field, names
from timonel.machinery.errors import Cause

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = ("pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
            "persistentvolumeclaims", "services.nodeports", "services.loadbalancers")  # fmt: skip
_SCOPED = tuple(f"{verb}.{name}" for verb in ("requests", "limits") for name in _COMPUTE)
_STANDARD = frozenset((*_COMPUTE, *_SCOPED, *_COUNTED, "storage", "requests.storage"))
_QUOTA = frozenset((*_COMPUTE, *_SCOPED, *_COUNTED, "requests.storage"))


def is_huge_pages(name: str) -> bool:
    return name.removeprefix("requests.").startswith("hugepages-")


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """A resource of somebody's own domain; `requests.` before it must still be a qualified name."""
    return (
        not is_native(name)
        and not name.startswith("requests.")
        and not names.qualified_name(f"requests.{name}")
    )


def is_whole(name: str) -> bool:
    """Whether the resource comes in whole numbers."""
    return name in _COUNTED or is_extended(name)


def allows_overcommit(name: str) -> bool:
    return is_native(name) and not is_huge_pages(name)


def validate_name(path: str, name: str) -> Iterator[Cause]:
    wrong = names.qualified_name(name)
    for message in wrong:
        yield field.invalid(path, name, message)
    if not wrong and "/" not in name and name not in _STANDARD and not is_huge_pages(name):
        yield field.invalid(path, name, "must be a standard resource type or fully qualified")


def validate_container_name(path: str, name: str) -> Iterator[Cause]:
    yield from validate_name(path, name)
    if "/" not in name:
        if name not in _COMPUTE and not name.startswith("hugepages-"):
            yield field.invalid(path, name, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        yield field.invalid(path, name, "doesn't follow extended resource name standard")


def validate_quota_name(path: str, name: str) -> Iterator[Cause]:
    yield from validate_name(path, name)
    if "/" not in name and name not in _QUOTA and not is_huge_pages(name):
        yield field.invalid(path, name, "must be a standard resource for quota")


def is_standard_quota(name: str) -> bool:
    return name in _QUOTA or is_huge_pages(name)
