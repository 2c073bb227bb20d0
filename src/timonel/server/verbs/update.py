"""update, and the guarded loop that every change of a stored object goes through (PUT, PATCH, /status, /scale).

read old → produce new → keep what may not change → managed fields → mutating admission → prepare → validate →
warnings → canonicalize → validating admission → compare and swap; again when somebody else was faster.

Upstream: apiserver/pkg/endpoints/handlers/update.go, registry/rest/update.go, registry/generic/registry/store.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.machinery import errors, names
from timonel.machinery.codec import DecodeError
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server import bodies, fieldmanager, objectmeta
from timonel.server.objectmeta import name_rule
from timonel.server.options import WriteOptions, unsigned, write_options
from timonel.server.registry import Endpoint, Stale
from timonel.server.request import AdmissionCall, Operation
from timonel.server.verbs.call import Call, Core, Result, check_namespace, cloned, undone
from timonel.server.verbs.create import kind_said, rules_of, store_new
from timonel.server.watchcache import Entry

# metadata that /status leaves alone, where it leaves any
KEPT_METADATA = {("apps", "deployments"): ("labels",), ("", "pods"): ("ownerReferences",)}
ATTEMPTS = (
    1000  # of a change that does not name the version it is made for; each one lost is one that somebody won
)

Produce = Callable[[Object], Object]  # old, in the served form and free to use -> new


@dataclass(frozen=True, slots=True)
class Part:
    """What an update may write: everything but status, the status, or what a subresource says."""

    subresource: str
    # (new, old), served form: put back what is not of this part
    keep: Callable[[Endpoint, Object, Object], None]
    prepare: Callable[[Object, Object], None]
    validate: Callable[[Object, Object], Iterable[Cause]]
    warnings: Callable[[Object, Object], Iterable[str]]


def _keep_status(endpoint: Endpoint, new: Object, old: Object) -> None:
    if endpoint.rtype.status:
        _take(new, old, "status")


def _keep_all_but_status(endpoint: Endpoint, new: Object, old: Object) -> None:
    for key in new.keys() | old.keys():
        if key not in ("status", "metadata", "kind", "apiVersion"):
            _take(new, old, key)
    for key in KEPT_METADATA.get((endpoint.work.group, endpoint.work.plural), ()):
        _take(new["metadata"], old["metadata"], key)


def _take(new: Object, old: Object, key: str) -> None:
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)


def part_of(endpoint: Endpoint, subresource: str) -> Part:
    work = rules_of(endpoint)
    if not subresource:
        return Part("", _keep_status, work.prepare_update, work.validate_update, work.warnings_update)
    if subresource == "status":
        return Part(
            "status",
            _keep_all_but_status,
            work.prepare_status_update,
            work.validate_status_update,
            _no_warnings,
        )
    if subresource == "scale":
        return Part("scale", _keep_status, work.prepare_update, work.validate_update, work.warnings_update)
    partial = endpoint.partials[subresource]

    def keep(endpoint: Endpoint, new: Object, old: Object) -> None:
        partial.prepare(new, old)

    return Part(subresource, keep, partial.prepare, partial.validate, partial.warnings)


def _no_warnings(new: Object, old: Object) -> Iterable[str]:
    return ()


async def update(core: Core, call: Call) -> Result:
    options = write_options(call.info, "UpdateOptions")
    endpoint, name = call.endpoint, call.name
    obj = bodies.decode(
        endpoint,
        call.body,
        call.content_type,
        validation=options.field_validation,
        warnings=call.warnings,
        legacy=core.legacy,
    )
    check_name(obj, name)
    check_namespace(call, obj)
    version = wanted_version(obj)
    uid = obj["metadata"].get("uid", "")

    def produce(old: Object) -> Object:
        return cloned(obj)

    subresource = call.info.subresource
    try:
        if version == 0 and not endpoint.work.unconditional_update:
            await core.registry.read(endpoint, call.namespace, name)
            raise _version_required(endpoint, name)
        return await change(core, call, produce, options, part_of(endpoint, subresource), version, uid)
    except errors.NotFound:
        if not endpoint.work.create_on_update or subresource:
            raise
    obj["metadata"].pop("managedFields", None)
    manager = fieldmanager.name_of(options, call.user_agent)
    fieldmanager.updated(endpoint, None, obj, manager=manager, now=core.clock.now())
    return await store_new(core, call, obj, options)


def _version_required(endpoint: Endpoint, name: str) -> errors.Invalid:
    work = endpoint.work
    zero = "0" if work.custom else "0x0"
    message = f"Invalid value: {zero}: must be specified for an update"
    cause = Cause("FieldValueInvalid", message, "metadata.resourceVersion")
    return errors.invalid(work.plural if work.custom else work.kind, name, [cause], work.group)


def check_name(obj: Object, name: str) -> None:
    given = obj["metadata"].get("name", "")
    if not given:
        raise errors.BadRequest(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if given != name:
        raise errors.BadRequest(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )


def wanted_version(obj: Object) -> int:
    """The revision that the client has seen, 0 for any. Raises BadRequest."""
    text = obj["metadata"].get("resourceVersion", "")
    if not text:
        return 0
    try:
        return unsigned(text)
    except ValueError as error:
        problem = str(error)[str(error).index("strconv.") :]
        raise errors.BadRequest(problem) from error


async def change(
    core: Core,
    call: Call,
    produce: Produce,
    options: WriteOptions,
    part: Part,
    version: int = 0,
    uid: str = "",
    *,
    managed: bool = True,
    beside: Produce | None = None,
) -> Result:
    """`managed=False`: what `produce` returns has its managed fields already (apply). `beside` is asked instead of
    `produce` where what is stored is in its normal form; it leaves that as it is, and returns what is normal too."""
    endpoint, registry = call.endpoint, core.registry

    async def attempt(entry: Entry) -> Result:
        if beside is None or not _is_normal(endpoint, entry):
            return await _attempt(core, call, produce, options, part, version, uid, managed, entry)
        found = await _attempt(core, call, beside, options, part, version, uid, managed, entry, shares=True)
        if found.entry is not None:
            found.entry.normal = True
        return found

    entry = await registry.read(endpoint, call.namespace, call.name)
    try:
        return await attempt(entry)
    except Stale as error:
        late = error
    async with registry.turn(entry.key):
        for _ in range(ATTEMPTS):
            try:
                return await attempt(await registry.reread(endpoint, call.namespace, call.name))
            except Stale as error:
                late = error
    raise endpoint.conflict(call.name) from late


def _is_normal(endpoint: Endpoint, entry: Entry) -> bool:
    """Whether what is stored is as the codec of its type would leave it: asked once, what is made of it is so too."""
    if not endpoint.has_codec:
        return False
    if entry.normal is None:
        tree = entry.decoded()
        try:
            entry.normal = endpoint.machinery.normalize(tree) == (tree, [])
        except DecodeError:
            entry.normal = False
    return entry.normal


async def _attempt(
    core: Core,
    call: Call,
    produce: Produce,
    options: WriteOptions,
    part: Part,
    version: int,
    uid: str,
    managed: bool,
    entry: Entry,
    *,
    shares: bool = False,
) -> Result:
    """`shares`: `produce` leaves what it gets as it is, and what it returns may have parts of it."""
    endpoint, shares = call.endpoint, shares and part.subresource == "status"
    old = entry.peek() if shares else entry.decoded()
    old_served = endpoint.to_served(entry.decoded()) if endpoint.convert is not None else old
    if shares:
        new = produce(_with_own_metadata(old))
    else:
        new = produce(entry.decoded() if endpoint.convert is None else cloned(old_served))
    version = version or _version_of(new, entry)
    check_preconditions(endpoint, entry, old, version, uid)
    part.keep(endpoint, new, old_served)
    now = core.clock.now()
    if managed:
        manager = fieldmanager.name_of(options, call.user_agent)
        fieldmanager.updated(
            endpoint, old_served, new, manager=manager, now=now, subresource=part.subresource
        )
    if endpoint.custom is not None:
        await endpoint.custom.note_owners(old_served, new, force=managed or options.force)
    endpoint.to_work(new)
    admission = AdmissionCall(
        operation=Operation.UPDATE,
        resource=endpoint.work,
        subresource=part.subresource,
        namespace=call.namespace,
        name=call.name,
        user=call.user,
        obj=new,
        old=old,
        dry_run=options.dry_run,
        options=options.to_tree("UpdateOptions"),
        warnings=call.warnings,
        annotations=call.annotations,
        served=call.endpoint.rtype,
    )
    return await _written(core, call, admission, part, entry)


def _with_own_metadata(old: Object) -> Object:
    """For a change of status, where all else is put back: a copy that shares with the old object what nobody writes."""
    metadata = cloned({k: v for k, v in old["metadata"].items() if k != "managedFields"})
    if "managedFields" in old["metadata"]:
        metadata["managedFields"] = old["metadata"]["managedFields"]  # replaced as a whole, or not at all
    return {**old, "metadata": metadata}


async def _written(core: Core, call: Call, admission: AdmissionCall, part: Part, entry: Entry) -> Result:
    """The object that is wanted, admitted and stored."""
    endpoint, old = call.endpoint, admission.old
    assert old is not None
    given_warnings = len(call.warnings)
    try:
        await core.admission.admit(admission)
        assert admission.obj is not None
        new = admission.obj
        call.warnings += objectmeta.deduplicate_owners(new)
        prepare(endpoint, new, old, part, call.warnings)
        await core.admission.validate(admission)
        if admission.dry_run:
            undone(admission)
            return Result(200, obj=endpoint.to_served(new))
        if is_same(new, old) and not entry.outdated:
            undone(admission)
            return Result(200, entry)
        if is_finished(new):
            return await _last_update(core, call, new, entry)
        return Result(200, await core.registry.update(endpoint, new, entry))
    except Stale:
        del call.warnings[given_warnings:]
        undone(admission)
        raise
    except BaseException:
        undone(admission)
        raise


def _version_of(new: Object, entry: Entry) -> int:
    """A patch may name a version too; one that does not has the version that was read."""
    text = new["metadata"].get("resourceVersion", "")
    return wanted_version(new) if text and text != str(entry.revision) else 0


def check_preconditions(endpoint: Endpoint, entry: Entry, old: Object, version: int, uid: str) -> None:
    if uid and uid != old["metadata"]["uid"]:
        key = entry.key
        found = old["metadata"]["uid"]
        raise endpoint.conflict(
            entry.name,
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {found}",
        )
    if version and version != entry.revision:
        raise endpoint.conflict(entry.name)


def prepare(endpoint: Endpoint, new: Object, old: Object, part: Part, warnings: list[str]) -> None:
    """Upstream: rest.BeforeUpdate."""
    work, now, before = endpoint.work, new["metadata"], old["metadata"]
    _take(now, before, "generation")
    part.prepare(new, old)
    now.setdefault("uid", before["uid"])
    now["creationTimestamp"] = before["creationTimestamp"]
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if key in before and (key == "deletionTimestamp" or key not in now):
            now[key] = before[key]
    now["resourceVersion"] = before["resourceVersion"]
    if work.generation and part.subresource != "status" and content(new, work) != content(old, work):
        now["generation"] = before.get("generation", 0) + 1
    whole = [*objectmeta.validate(new, work, names.path_segment_name)]
    common = [*objectmeta.validate_update(new, old, checked=not whole)]
    domains = [] if work.custom else [*objectmeta.validate_domains(new)]
    causes = [
        *whole,
        *common,
        *([] if work.custom else common),  # the kinds' own rules begin with it once more
        *domains,
    ]
    if not work.group and not part.subresource:  # and core's with all of it
        again = objectmeta.validate(new, work) if whole else objectmeta.validate_names(now, name_rule(work))
        causes += (*again, *domains)
    causes += part.validate(new, old)
    if causes:
        raise errors.invalid(kind_said(work, new), now.get("name", ""), causes, work.group)
    warnings += part.warnings(new, old)
    work.canonicalize(new)


def content(obj: Object, rtype: ResourceType) -> Object:
    """What metadata.generation counts the changes of: a custom status counts that has no /status of its own."""
    own = ("metadata", "kind", "apiVersion", "" if rtype.custom and not rtype.status else "status")
    return {k: v for k, v in obj.items() if k not in own}


def is_same(new: Object, old: Object) -> bool:
    """Whether nothing but the times of managed fields differs: then nothing is written."""
    if new == old:
        return True
    return _without_times(new) == _without_times(old)


def _without_times(obj: Object) -> Object:
    metadata = obj["metadata"]
    fields: list[dict[str, Any]] = metadata.get("managedFields") or []
    plain = [{k: v for k, v in entry.items() if k != "time"} for entry in fields]
    return obj | {"metadata": metadata | {"managedFields": plain}}


def is_finished(obj: Object) -> bool:
    """Whether an update took away the last thing that held up a deletion."""
    metadata = obj["metadata"]
    return (
        bool(metadata.get("deletionTimestamp"))
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not (obj["kind"] == "Namespace" and obj.get("spec", {}).get("finalizers"))
    )


async def _last_update(core: Core, call: Call, new: Object, entry: Entry) -> Result:
    """The object is deleted in its last state; it is answered as if it had been updated."""
    await core.registry.delete(call.endpoint, entry)
    return Result(200, obj=call.endpoint.to_served(new))
