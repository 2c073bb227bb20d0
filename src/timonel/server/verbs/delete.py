"""delete and deletecollection: grace periods, finalizers, preconditions, propagation.

Upstream: apiserver/pkg/registry/rest/delete.go, registry/generic/registry/store.go, endpoints/handlers/delete.go.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from timonel.machinery import errors, field
from timonel.objects.meta import Object, format_time, parse_time
from timonel.server import bodies
from timonel.server.options import (
    IGNORE_READ_ERROR,
    DeleteOptions,
    delete_options,
    delete_options_from_query,
    list_options,
)
from timonel.server.registry import Endpoint, Stale
from timonel.server.request import AdmissionCall, Operation
from timonel.server.verbs.call import Call, Core, ListResult, Result, undone
from timonel.server.verbs.read import list_
from timonel.server.watchcache import Entry

ATTEMPTS = 1000
AT_ONCE = 64  # objects of a collection
ORPHANING = {
    ("batch", "jobs"),
    ("", "replicationcontrollers"),
}  # kinds whose dependents are orphaned by default
# kinds whose deletion is answered with the deleted object, not with a Status (ReturnDeletedObject)
ANSWERED_WITH_THE_OBJECT = {
    ("", "namespaces"), ("", "persistentvolumeclaims"), ("", "persistentvolumes"), ("", "pods"), ("", "podtemplates"),
    ("", "resourcequotas"), ("", "serviceaccounts"), ("", "services"),
    ("resource.k8s.io", "deviceclasses"), ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"), ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"), ("storage.k8s.io", "csinodes"), ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "storageclasses"), ("storage.k8s.io", "volumeattachments"),
}  # fmt: skip
JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
WITHOUT_GRACE = (
    "Namespace",
    "CustomResourceDefinition",
)  # kinds whose deletion upstream marks in ways of their own
DEPENDENTS_FINALIZERS = ("orphan", "foregroundDeletion")


def options_of(call: Call) -> DeleteOptions:
    """From the body where there is one, else from the query."""
    if not call.body:
        return delete_options_from_query(call.info)
    tree, _ = bodies.read_object(
        call.endpoint, call.body, call.content_type, fallback="meta.v1.DeleteOptions"
    )
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise errors.BadRequest("json: cannot unmarshal array into Go value of type v1.DeleteOptions")
    if (tree.get("kind") or "DeleteOptions") != "DeleteOptions":
        raise errors.BadRequest(f"{tree['kind']} cannot be handled as a DeleteOptions")
    options = delete_options(tree)
    if call.info.query.get("dryRun"):
        options = replace(options, dry_run=delete_options_from_query(call.info).dry_run)
    return options


async def delete(core: Core, call: Call) -> Result:
    options = options_of(call)
    work = call.endpoint.work
    says_nothing = not options.propagation and options.orphan_dependents is None
    if says_nothing and (work.group, work.plural) == ("batch", "jobs"):
        call.warnings.append(JOB_WARNING)
    return await remove(core, call, call.name, options)


async def remove(core: Core, call: Call, name: str, options: DeleteOptions) -> Result:
    if options.ignore_read_error:
        return await remove_unreadable(core, call, name, options)
    entry = await core.registry.read(call.endpoint, call.namespace, name)
    admission = _admission(call, name, entry.peek(), options)
    try:
        await core.admission.admit(admission)
        await core.admission.validate(admission)
        return await carried_out(core, call, entry, options)
    except BaseException:
        undone(admission)
        raise


async def remove_unreadable(core: Core, call: Call, name: str, options: DeleteOptions) -> Result:
    """What no key opens any more, whatever finalizers it had. Upstream: registry/corrupt_obj_deleter.go."""
    endpoint, registry = call.endpoint, core.registry
    rtype, key = endpoint.rtype, endpoint.kind.key(call.namespace, name)
    await registry.caches.ensure(endpoint.cache)
    await registry.caches.fresh()
    if key not in endpoint.cache.unreadable:
        text = "is exclusively used to delete corrupt object(s), try again by removing this option"
        raise errors.invalid(rtype.plural, name, [field.invalid(IGNORE_READ_ERROR, True, text)], rtype.group)
    metadata = {"name": name} | ({"namespace": call.namespace} if rtype.namespaced else {})
    unknown = {"kind": endpoint.work.kind, "apiVersion": endpoint.work.api_version, "metadata": metadata}
    admission = _admission(call, name, unknown, options)
    try:
        await core.admission.admit(admission)
        await core.admission.validate(admission)
        await registry.forget(endpoint, key, name)
    except BaseException:
        undone(admission)
        raise
    details = {"name": name, "kind": rtype.kind}
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return Result(200, obj={**status, "details": details, "code": 200})


def _admission(call: Call, name: str, old: Object, options: DeleteOptions) -> AdmissionCall:
    endpoint = call.endpoint
    return AdmissionCall(
        operation=Operation.DELETE,
        resource=endpoint.work,
        subresource="",
        namespace=call.namespace,
        name=name,
        user=call.user,
        obj=None,
        old=old,
        dry_run=options.dry_run,
        options=options.to_tree(),
        warnings=call.warnings,
        annotations=call.annotations,
        served=call.endpoint.rtype,
    )


async def carried_out(core: Core, call: Call, entry: Entry, options: DeleteOptions) -> Result:
    """A deletion that admission has passed, or that the server decides by itself."""
    endpoint = call.endpoint
    for _ in range(ATTEMPTS):
        try:
            return await attempt(core, endpoint, entry, options)
        except Stale:
            entry = await core.registry.reread(endpoint, call.namespace, entry.name)
    raise endpoint.conflict(entry.name)


async def attempt(core: Core, endpoint: Endpoint, entry: Entry, options: DeleteOptions) -> Result:
    obj = entry.decoded()
    check_preconditions(endpoint, entry, obj, options)
    now = core.clock.now()
    graceful, changed = before_delete(endpoint, obj, options, now)
    finalizers_before = list(obj["metadata"].get("finalizers") or ())
    set_dependents_finalizer(endpoint, obj, options)
    if endpoint.begin_delete is not None and not obj["metadata"].get("deletionTimestamp"):
        endpoint.begin_delete(obj, now)
    finalizers = obj["metadata"].get("finalizers") or []
    waits = bool(finalizers) or (obj["kind"] == "Namespace" and bool(obj.get("spec", {}).get("finalizers")))
    if waits and not graceful:
        changed = mark_deleting(obj, now) or changed
    changed = changed or list(finalizers) != finalizers_before
    if graceful or waits:
        if obj["kind"] == "Namespace":
            changed = _terminate_namespace(obj) or changed
        if options.dry_run or not changed:
            return Result(200, obj=endpoint.to_served(obj))
        return Result(200, await core.registry.update(endpoint, obj, entry))
    if not options.dry_run:
        revision = await core.registry.delete(endpoint, entry)
        obj["metadata"]["resourceVersion"] = str(revision)
    if (endpoint.work.group, endpoint.work.plural) in ANSWERED_WITH_THE_OBJECT:
        return Result(200, obj=endpoint.to_served(obj))
    return Result(200, obj=success(endpoint, obj))


def success(endpoint: Endpoint, obj: Object) -> Object:
    rtype, metadata = endpoint.rtype, obj["metadata"]
    details = {"name": metadata["name"], "kind": rtype.plural, "uid": metadata["uid"]}
    if rtype.group:
        details["group"] = rtype.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def check_preconditions(endpoint: Endpoint, entry: Entry, obj: Object, options: DeleteOptions) -> None:
    work, metadata = endpoint.work, obj["metadata"]
    if options.uid and options.uid != metadata["uid"]:
        raise errors.conflict(
            work.kind,
            entry.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated",
            work.group,
        )
    if options.resource_version and options.resource_version != str(entry.revision):
        raise errors.conflict(
            work.kind,
            entry.name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({entry.revision}). The object might have been modified",
            work.group,
        )


def before_delete(endpoint: Endpoint, obj: Object, options: DeleteOptions, now: float) -> tuple[bool, bool]:
    """Whether the object stays for its grace period, and whether it was changed. Upstream: rest.BeforeDelete."""
    rule, metadata = endpoint.work.graceful, obj["metadata"]
    if rule is None:
        return False, False
    asked = options.grace_period
    if asked is not None and asked < 0:
        asked = 1
    period = rule(obj, asked)
    if metadata.get("deletionTimestamp"):
        return _shorten(metadata, asked, period)
    metadata["deletionTimestamp"] = format_time(now + period)
    metadata["deletionGracePeriodSeconds"] = period
    if metadata.get("generation"):
        metadata["generation"] += 1
    return period > 0, True


def _shorten(metadata: Object, asked: int | None, period: int) -> tuple[bool, bool]:
    """A second deletion may only make the grace period shorter."""
    current = metadata.get("deletionGracePeriodSeconds") or 0
    if not current:
        return False, False  # it is only finalizers that hold it
    if asked is None or period >= current:
        return True, False
    ends = parse_time(metadata["deletionTimestamp"]) or 0.0
    metadata["deletionTimestamp"] = format_time(ends - current + period)
    metadata["deletionGracePeriodSeconds"] = period
    return period > 0, True


def mark_deleting(obj: Object, now: float) -> bool:
    """Upstream: markAsDeleting."""
    metadata = obj["metadata"]
    changed = False
    if not metadata.get("deletionTimestamp"):
        if metadata.get("generation"):
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = format_time(now)
        changed = True
    if metadata.get("deletionGracePeriodSeconds") != 0 and obj["kind"] not in WITHOUT_GRACE:
        metadata["deletionGracePeriodSeconds"] = 0
        changed = True
    return changed


def _terminate_namespace(obj: Object) -> bool:
    status = obj.setdefault("status", {})
    if status.get("phase") == "Terminating":
        return False
    status["phase"] = "Terminating"
    return True


def set_dependents_finalizer(endpoint: Endpoint, obj: Object, options: DeleteOptions) -> None:
    """The finalizer that says what becomes of the dependents. Upstream: deletionFinalizersForGarbageCollection."""
    metadata = obj["metadata"]
    finalizers = [f for f in metadata.get("finalizers") or [] if f not in DEPENDENTS_FINALIZERS]
    if _orphans(endpoint, metadata, options):
        finalizers.append("orphan")
    if _deletes_in_foreground(metadata, options):
        finalizers.append("foregroundDeletion")
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _orphans(endpoint: Endpoint, metadata: Object, options: DeleteOptions) -> bool:
    if options.orphan_dependents is not None:
        return options.orphan_dependents
    if options.propagation:
        return options.propagation == "Orphan"
    if "orphan" in (metadata.get("finalizers") or ()):
        return True
    if "foregroundDeletion" in (metadata.get("finalizers") or ()):
        return False
    return (endpoint.work.group, endpoint.work.plural) in ORPHANING


def _deletes_in_foreground(metadata: Object, options: DeleteOptions) -> bool:
    if options.orphan_dependents is not None:
        return False
    if options.propagation:
        return options.propagation == "Foreground"
    return "foregroundDeletion" in (metadata.get("finalizers") or ())


async def delete_collection(core: Core, call: Call) -> ListResult:
    """Every object that the selectors match; answered with the list of what was there."""
    options = options_of(call)
    list_options(call.info, watch=False)
    if options.ignore_read_error:
        text = "is not allowed with DELETECOLLECTION, try again after removing the option"
        cause = field.invalid(IGNORE_READ_ERROR, True, text)
        raise errors.invalid("DeleteOptions", "", [cause], "meta.k8s.io")
    found = await list_(core, call)
    waiting = iter(found.entries)

    async def some() -> None:
        for entry in waiting:
            with suppress(errors.NotFound):
                await remove(core, call, entry.name, options)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(found.entries))):
                group.create_task(some())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return found
