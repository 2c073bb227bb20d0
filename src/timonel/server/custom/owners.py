"""Owners of fields who wrote in other versions: what a write changes is looked at in the version of each of them.

Only where a webhook converts: elsewhere a field has one name in all versions, and owners meet by path.

Upstream: structured-merge-diff/merge/update.go, apimachinery/pkg/util/managedfields/internal/versionconverter.go.
"""

from __future__ import annotations

from timonel.machinery.apply import managers as managing
from timonel.machinery.apply import sets
from timonel.machinery.apply.fields import ApplyConflict
from timonel.machinery.apply.managers import ManagedFieldsError, Manager
from timonel.machinery.apply.sets import Path
from timonel.objects.meta import Object
from timonel.server.custom.conversion import Forms
from timonel.server.verbs.call import cloned


async def across_versions(forms: Forms, version: str, old: Object, new: Object, *, force: bool) -> None:
    """Take away, in the managedFields of `new`, what others own in other versions and this write changed.

    Raises ApplyConflict where it may not (`force` is for writes that may), ConversionFailed.
    """
    memory = managing.Memory()
    try:
        managed = managing.decode(new["metadata"].get("managedFields") or (), memory)
    except ManagedFieldsError:
        return
    own = f"{forms.definition.group}/{version}"
    left = dict(managed)
    conflicts: list[tuple[Manager, Path]] = []
    for api_version in sorted({owned.api_version for owned in managed.values()} - {own}):
        other = forms.versions.get(api_version.rpartition("/")[2])
        if other is None:
            continue
        before, after = await forms.converted([cloned(old), cloned(new)], api_version.rpartition("/")[2])
        changed, removed = other.fields.changes(before, after)
        gone = sets.union(changed, removed)
        for manager, owned in managed.items():
            if owned.api_version == api_version:
                conflicts += [(manager, p) for p in sets.members(sets.intersection(owned.fields, changed))]
                left = managing.put(left, manager, owned.changed(fields=sets.difference(owned.fields, gone)))
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    if left != managed:
        new["metadata"]["managedFields"] = managing.encode(left, memory)
