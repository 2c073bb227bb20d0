"""The rules of metadata that hold for every kind: what the server fills in, and what it refuses.

Upstream: apimachinery/pkg/api/validation/objectmeta.go, apiserver/pkg/registry/rest/{create,update,meta}.go.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, format_time

ANNOTATIONS_LIMIT = 256 * 1024
STANDARD_FINALIZERS = ("foregroundDeletion", "orphan", "kubernetes")
IMMUTABLE = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
CONTROLLERS_FORBIDDEN = (("v1", "Event"),)

NameRule = Callable[[str, bool], Iterable[str]]


def fill(metadata: dict[str, Any], now: float) -> None:
    """What a new object gets from the server. Upstream: rest.FillObjectMetaSystemFields."""
    metadata["creationTimestamp"] = format_time(now)
    metadata["uid"] = new_uid()
    if metadata.get("generateName") and not metadata.get("name"):
        metadata["name"] = names.generate_name(metadata["generateName"])


def new_uid() -> str:
    """A random one (version 4), as `uuid` prints it, without an object between."""
    drawn = secrets.token_hex(16)
    variant = "89ab"[int(drawn[16], 16) & 3]
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-{variant}{drawn[17:20]}-{drawn[20:]}"


def clear_system_fields(metadata: dict[str, Any]) -> None:
    """What a client may not say about a new object."""
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(key, None)


def deduplicate_owners(obj: Object) -> list[str]:
    """Drop repeated owner references; the warnings to give."""
    refs = obj["metadata"].get("ownerReferences")
    if not refs or len(refs) < 2:
        return []
    seen: set[str] = set()
    kept = []
    for ref in refs:
        uid = repr(sorted(ref.items()))
        if uid not in seen:
            seen.add(uid)
            kept.append(ref)
    uids = [ref.get("uid") for ref in refs]
    repeated = sorted({u for u in uids if u and uids.count(u) > 1})
    obj["metadata"]["ownerReferences"] = kept
    if len(kept) == len(refs):
        return []
    return [
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
        "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        f"{', '.join(repeated)}"
    ]


def name_rule(rtype: ResourceType) -> NameRule:
    return rtype.validate_name or names.name_is_dns_subdomain


def validate(obj: Object, rtype: ResourceType, rule: NameRule | None = None) -> Iterator[Cause]:
    """Upstream: ValidateObjectMetaAccessor."""
    metadata, path = obj["metadata"], "metadata"
    yield from validate_names(metadata, rule or name_rule(rtype))
    namespace = metadata.get("namespace", "")
    if rtype.namespaced:
        if not namespace:
            yield field.required(f"{path}.namespace")
        else:
            for message in names.name_is_dns_label(namespace, False):
                yield field.invalid(f"{path}.namespace", namespace, message)
    elif namespace:
        yield field.forbidden(f"{path}.namespace", "not allowed on this type")
    if metadata.get("generation", 0) < 0:
        yield field.invalid(
            f"{path}.generation", metadata["generation"], "must be greater than or equal to 0"
        )
    if labels := metadata.get("labels"):
        yield from validate_labels(labels, f"{path}.labels")
    if annotations := metadata.get("annotations"):
        yield from validate_annotations(annotations, f"{path}.annotations")
    if owners := metadata.get("ownerReferences"):
        yield from validate_owners(owners, f"{path}.ownerReferences")
    if finalizers := metadata.get("finalizers"):
        yield from validate_finalizers(finalizers, f"{path}.finalizers")
    if managed := metadata.get("managedFields"):
        yield from validate_managed_fields(managed, f"{path}.managedFields")


def validate_names(metadata: Object, rule: NameRule) -> Iterator[Cause]:
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    if prefix:
        for message in rule(prefix, True):
            yield field.invalid("metadata.generateName", prefix, message)
    if not name:
        yield field.required("metadata.name", "name or generateName is required")
    else:
        for message in rule(name, False):
            yield field.invalid("metadata.name", name, message)


def validate_labels(labels: dict[str, str] | None, path: str) -> Iterator[Cause]:
    for key, value in (labels or {}).items():
        for message in names.qualified_name(key):
            yield field.invalid(path, key, message)
        for message in names.label_value(value):
            yield field.invalid(path, value, message)


def validate_annotations(annotations: dict[str, str] | None, path: str) -> Iterator[Cause]:
    size = 0
    for key, value in (annotations or {}).items():
        for message in names.qualified_name(key.lower()):
            yield field.invalid(path, key, message)
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        yield field.too_long(path, ANNOTATIONS_LIMIT)


def validate_owners(refs: Iterable[dict[str, Any]], path: str) -> Iterator[Cause]:
    controller = ""
    for ref in refs:
        version = ref.get("apiVersion", "")
        group, slash, rest = version.partition("/")
        if not (rest if slash else group):
            yield field.invalid(f"{path}.apiVersion", version, "version must not be empty")
        if not ref.get("kind"):
            yield field.invalid(f"{path}.kind", ref.get("kind", ""), "must not be empty")
        if not ref.get("name"):
            yield field.invalid(f"{path}.name", ref.get("name", ""), "must not be empty")
        if not ref.get("uid"):
            yield field.invalid(f"{path}.uid", ref.get("uid", ""), "must not be empty")
        if (version, ref.get("kind")) in CONTROLLERS_FORBIDDEN:
            yield field.invalid(
                path, f"{version}, Kind={ref.get('kind')}", "is disallowed from being an owner"
            )
    for ref in refs:
        if ref.get("controller"):
            if controller:
                message = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {ref.get('kind')}/{ref.get('name')}"
                )
                yield field.invalid(path, refs, message)
            else:
                controller = f"{ref.get('kind')}/{ref.get('name')}"


def validate_finalizers(finalizers: Iterable[str], path: str) -> Iterator[Cause]:
    present = set()
    for finalizer in finalizers:
        present.add(finalizer)
        for message in names.qualified_name(finalizer):
            yield field.invalid(path, finalizer, message)
    if {"orphan", "foregroundDeletion"} <= present:
        message = "finalizer orphan and foregroundDeletion cannot be both set"
        yield field.invalid(path, list(finalizers), message)


def validate_domains(obj: Object) -> Iterator[Cause]:
    """Finalizers without a domain must be well known. The kinds ask for it, the common rules do not."""
    for index, finalizer in enumerate(obj["metadata"].get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            message = "name is neither a standard finalizer name nor is it fully qualified"
            yield field.invalid(f"metadata.finalizers[{index}]", finalizer, message)


def validate_managed_fields(entries: Iterable[dict[str, Any]], path: str) -> Iterator[Cause]:
    for index, entry in enumerate(entries):
        here = f"{path}[{index}]"
        if entry.get("operation") not in ("Apply", "Update"):
            yield field.invalid(
                f"{here}.operation", entry.get("operation", ""), "must be `Apply` or `Update`"
            )
        if entry.get("fieldsType") and entry["fieldsType"] != "FieldsV1":
            yield field.invalid(f"{here}.fieldsType", entry["fieldsType"], "must be `FieldsV1`")


def validate_update(new: Object, old: Object, *, checked: bool = False) -> Iterator[Cause]:
    """`checked`: `validate` has found nothing. Upstream: ValidateObjectMetaAccessorUpdate."""
    path, now, before = "metadata", new["metadata"], old["metadata"]
    if now.get("generation", 0) < before.get("generation", 0):
        yield field.invalid(f"{path}.generation", now.get("generation", 0), "must not be decremented")
    if before.get("deletionTimestamp"):
        allowed = before.get("finalizers") or ()
        added = [f for f in now.get("finalizers") or () if f not in allowed]
        if added:
            listed = ", ".join(field.quote(f) for f in sorted(added))
            yield field.forbidden(
                f"{path}.finalizers",
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{listed}}}",
            )
    for key in IMMUTABLE:
        if now.get(key) != before.get(key):
            yield field.invalid(f"{path}.{key}", now.get(key) or _zero(key), "field is immutable")
    if checked:
        return
    yield from validate_labels(now.get("labels"), f"{path}.labels")
    yield from validate_annotations(now.get("annotations"), f"{path}.annotations")
    yield from validate_owners(now.get("ownerReferences") or (), f"{path}.ownerReferences")
    yield from validate_managed_fields(now.get("managedFields") or (), f"{path}.managedFields")


def _zero(key: str) -> Any:
    return None if key.startswith("deletion") or key.endswith("Timestamp") else ""
