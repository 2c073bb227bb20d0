"""create, and what every new object goes through.

decode → default → managed fields → mutating admission → system fields, prepare → validate → warnings → canonicalize →
validating admission → store. Upstream: apiserver/pkg/endpoints/handlers/create.go, registry/rest/create.go.
"""

from __future__ import annotations

import orjson

from timonel.apis.resource import ResourceType
from timonel.machinery import errors, names
from timonel.objects.meta import Object
from timonel.server import bodies, fieldmanager, objectmeta
from timonel.server.options import WriteOptions, write_options
from timonel.server.registry import Endpoint
from timonel.server.request import AdmissionCall, Operation
from timonel.server.verbs.call import Call, Core, Result, check_namespace, undone

GENERATE_ATTEMPTS = 8  # a generated name that is taken is drawn again, as upstream's RetryGenerateName


async def create(core: Core, call: Call) -> Result:
    options = write_options(call.info, "CreateOptions")
    endpoint = call.endpoint
    obj = bodies.decode(
        endpoint,
        call.body,
        call.content_type,
        validation=options.field_validation,
        warnings=call.warnings,
        legacy=core.legacy,
    )
    check_namespace(call, obj)
    obj["metadata"].pop("managedFields", None)
    fieldmanager.updated(
        endpoint, None, obj, manager=fieldmanager.name_of(options, call.user_agent), now=core.clock.now()
    )
    return await store_new(core, call, obj, options)


async def store_new(core: Core, call: Call, obj: Object, options: WriteOptions) -> Result:
    """The rest of the way of a new object in the served form. Upstream: also for PUT and apply that create."""
    endpoint, work = call.endpoint, call.endpoint.work
    if endpoint.custom is not None and endpoint.custom.terminating:
        why = "create not allowed while custom resource definition is terminating"
        raise errors.forbidden(work.plural, obj["metadata"].get("name", ""), why, work.group)
    endpoint.to_work(obj)
    generates = obj["metadata"].get("generateName") and not obj["metadata"].get("name")
    again = orjson.dumps(obj) if generates else b""  # for the rare case that the name drawn is taken
    for attempt in range(GENERATE_ATTEMPTS if generates else 1):
        if attempt:
            obj = orjson.loads(again)
        try:
            return await _store_new(core, call, obj, options)
        except errors.AlreadyExists as error:
            if not generates or attempt + 1 == GENERATE_ATTEMPTS:
                if obj["metadata"].get("generateName"):
                    raise _not_unique(error, work.plural, work.group) from error
                raise
    raise AssertionError("the loop returns or raises")


def _not_unique(error: errors.AlreadyExists, plural: str, group: str) -> errors.AlreadyExists:
    return errors.AlreadyExists(
        f"{error.message}, the server was not able to generate a unique name for the object",
        name=error.details.get("name", ""),
        group=group,
        kind=plural,
        retry_after=1,
    )


async def _store_new(core: Core, call: Call, obj: Object, options: WriteOptions) -> Result:
    endpoint = call.endpoint
    admission = AdmissionCall(
        operation=Operation.CREATE,
        resource=endpoint.work,
        subresource="",
        namespace=call.namespace,
        name=obj["metadata"].get("name", ""),
        user=call.user,
        obj=obj,
        old=None,
        dry_run=options.dry_run,
        options=options.to_tree("CreateOptions"),
        warnings=call.warnings,
        annotations=call.annotations,
        served=call.endpoint.rtype,
    )
    try:
        await core.admission.admit(admission)
        assert admission.obj is not None
        changed = admission.obj is not obj  # by who is no part of the server
        obj = admission.obj
        call.warnings += objectmeta.deduplicate_owners(obj)
        prepare(endpoint, obj, core.clock.now(), call.warnings)
        admission.name = obj["metadata"]["name"]
        await core.admission.validate(admission)
        if options.dry_run:
            await _refuse_existing(core, call, obj)
            undone(admission)
            return Result(201, obj=endpoint.to_served(obj))
        entry = await core.registry.create(endpoint, obj)
        if endpoint.has_codec and not changed:
            entry.normal = True
        return Result(201, entry)
    except BaseException:
        undone(admission)
        raise


async def _refuse_existing(core: Core, call: Call, obj: Object) -> None:
    endpoint = call.endpoint
    metadata = obj["metadata"]
    await core.registry.caches.ensure(endpoint.cache)
    if endpoint.kind.key(metadata.get("namespace", ""), metadata["name"]) in endpoint.cache.entries:
        raise endpoint.already_exists(metadata["name"])


def rules_of(endpoint: Endpoint) -> ResourceType:
    """Whose hooks run: a version that is served beside the stored one has its own, which see the stored form."""
    return endpoint.rtype if endpoint.rtype.converted is not None else endpoint.work


def kind_said(work: ResourceType, obj: Object) -> str:
    """The kind in messages; a custom object may have come with another one."""
    return obj.get("kind", work.kind) if work.custom else work.kind


def prepare(endpoint: Endpoint, obj: Object, now: float, warnings: list[str]) -> None:
    """Everything from system fields to canonicalize. Upstream: rest.BeforeCreate."""
    work, rules, metadata = endpoint.work, rules_of(endpoint), obj["metadata"]
    if (version := metadata.get("resourceVersion", "")).isdecimal() and version.strip("0"):
        raise errors.BadRequest("resourceVersion should not be set on objects to be created")
    objectmeta.fill(metadata, now)
    objectmeta.clear_system_fields(metadata)
    if work.generation:
        metadata["generation"] = 1
    rules.prepare_create(obj)
    if work.custom:  # their rules see to metadata too
        causes = list(rules.validate(obj))
    else:
        causes = [*objectmeta.validate(obj, rules), *objectmeta.validate_domains(obj), *rules.validate(obj)]
    if not causes and work.custom:
        causes = list(objectmeta.validate(obj, rules, names.path_segment_name))
    elif not causes:  # all but the names has been looked at
        causes = list(objectmeta.validate_names(metadata, names.path_segment_name))
    if causes:
        raise errors.invalid(kind_said(work, obj), metadata.get("name", ""), causes, work.group)
    warnings += rules.warnings(obj)
    rules.canonicalize(obj)
