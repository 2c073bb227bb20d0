"""The /scale subresource: replicas of an object in the words that all scalable kinds share (autoscaling/v1 Scale).

Upstream: kubernetes/pkg/registry/apps/deployment/storage/storage.go (ScaleREST).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from timonel.apis import printing
from timonel.apis.resource import Column, ResourceType, Scale
from timonel.machinery import errors, field, selectors
from timonel.objects.meta import Object, nested
from timonel.server import bodies, fieldmanager
from timonel.server.options import WriteOptions, write_options
from timonel.server.registry import Endpoint
from timonel.server.responses import internal_error
from timonel.server.verbs.call import Call, Core, Result, cloned
from timonel.server.verbs.patch import Patched, as_upstream_prints, kind_of, patcher
from timonel.server.verbs.update import change, check_name, part_of, wanted_version

SCALE = ResourceType(
    group="autoscaling",
    version="v1",
    kind="Scale",
    plural="scales",
    columns=(
        Column("Name", lambda obj, now: obj["metadata"]["name"], doc="metadata.name"),
        Column(
            "Desired", lambda obj, now: obj["spec"].get("replicas", 0), type="integer", doc="spec.replicas"
        ),
        Column(
            "Available", lambda obj, now: obj["status"]["replicas"], type="integer", doc="status.replicas"
        ),
        Column("Age", printing.age, doc="metadata.creationTimestamp"),
    ),
)
KIND, GROUP, VERSION = "Scale", "autoscaling", "v1"
API_VERSION = f"{GROUP}/{VERSION}"
IDENTITY = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def view(endpoint: Endpoint, obj: Object) -> Object:
    """The Scale of an object in the working form."""
    scale = endpoint.work.scale
    assert scale is not None
    spec: Object = {}
    replicas = _at(obj, scale.replicas)
    if replicas is None and endpoint.work.custom:
        raise internal_error(f'the spec replicas field ".{scale.replicas}" does not exist')
    if replicas or (replicas == 0 and endpoint.work.custom):
        spec["replicas"] = replicas
    status: Object = {"replicas": _at(obj, scale.status_replicas) or 0}
    if selector := selector_text(scale, obj):
        status["selector"] = selector
    metadata = {key: obj["metadata"][key] for key in IDENTITY if key in obj["metadata"]}
    return {"kind": KIND, "apiVersion": API_VERSION, "metadata": metadata, "spec": spec, "status": status}


def _at(obj: Object, path: str) -> Any:
    """What stands at a path; None where there is no such place, which custom objects may come to."""
    found: Any = obj
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def selector_text(scale: Scale, obj: Object) -> str:
    found = _at(obj, scale.selector)
    if not found:
        return ""
    if isinstance(found, str):
        return found
    if "matchLabels" in found or "matchExpressions" in found:
        return str(selectors.from_label_selector(found))
    return str(selectors.from_map(found))


async def get(core: Core, call: Call) -> Result:
    entry = await core.registry.read(call.endpoint, call.namespace, call.name)
    return Result(200, obj=view(call.endpoint, entry.obj))


async def update(core: Core, call: Call) -> Result:
    options = write_options(call.info, "UpdateOptions", patch_type="merge")
    read = bodies.read_object(call.endpoint, call.body, call.content_type, fallback="autoscaling.v1.Scale")
    wanted = checked(core, call, read, options)
    return await _set(core, call, options, lambda old: wanted, wanted_version(wanted))


async def patch(core: Core, call: Call) -> Result:
    kind = kind_of(call.content_type)
    if kind == "apply":
        return await _apply(core, call)
    if kind == "strategic":
        kind = "merge"  # a Scale has no lists
    options = write_options(call.info, "PatchOptions", patch_type="merge")
    patched = patcher(call.endpoint, kind, call.body)
    before = len(call.warnings)

    def wanted(old: Object) -> Object:
        del call.warnings[before:]
        return checked(core, call, patched(view(call.endpoint, old)), options, patch=True)

    return await _set(core, call, options, wanted, 0)


async def _apply(core: Core, call: Call) -> Result:
    """Server-side apply: whoever applies a Scale owns the replicas of its object.

    Upstream: apiserver/pkg/util/managedfields/scalehandler.go.
    """
    endpoint = call.endpoint
    scale, rtype = endpoint.work.scale, endpoint.rtype
    assert scale is not None
    options = write_options(call.info, "PatchOptions", patch_type="apply")
    wanted = checked(core, call, bodies.read(call.body, "application/yaml"), options)
    replicas = nested(wanted, "spec", "replicas")
    config: Object = {"apiVersion": rtype.api_version, "kind": rtype.kind, "metadata": {"name": call.name}}
    *path, last = scale.replicas.split(".")
    if replicas is not None:
        holder = config
        for step in path:
            holder = holder.setdefault(step, {})
        holder[last] = replicas

    def produce(old: Object) -> Object:
        return fieldmanager.applied(
            endpoint,
            old,
            cloned(config),
            manager=options.field_manager,
            force=options.force,
            now=core.clock.now(),
            subresource="scale",
        )

    version = wanted_version(wanted)
    result = await change(core, call, produce, options, part_of(endpoint, "scale"), version, managed=False)
    return _shown(endpoint, result)


def checked(core: Core, call: Call, read: Patched, options: WriteOptions, *, patch: bool = False) -> Object:
    """A Scale for this object. Raises BadRequest, Invalid."""
    assert core.scale is not None
    tree, problems = read
    if not isinstance(tree, dict):
        raise errors.BadRequest("Scale cannot be handled as a Scale: json: cannot unmarshal into Go value")
    bodies.check_kind(tree, KIND, API_VERSION, VERSION)
    shown = as_upstream_prints(tree) if patch else ""
    try:
        scale = bodies.finish(
            core.scale,
            tree,
            problems,
            validation=options.field_validation,
            warnings=call.warnings,
            legacy=False,
        )
    except errors.BadRequest as error:
        if not patch:
            raise
        problem = error.message.split(f"cannot be handled as a {KIND}: ", 1)[-1]
        raise errors.invalid("", "", [field.invalid("patch", shown, problem)]) from error
    check_name(scale, call.name)
    replicas = nested(scale, "spec", "replicas")
    if replicas is not None and replicas < 0 and not call.endpoint.work.custom:
        cause = field.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid(KIND, call.name, [cause], GROUP)
    return scale


async def _set(
    core: Core, call: Call, options: WriteOptions, wanted: Callable[[Object], Object], version: int
) -> Result:
    endpoint = call.endpoint
    scale = endpoint.work.scale
    assert scale is not None
    *path, last = scale.replicas.split(".")

    def produce(old: Object) -> Object:
        replicas = nested(wanted(old), "spec", "replicas") or 0
        holder = old
        for step in path:
            holder = holder.setdefault(step, {})
            if not isinstance(holder, dict):
                place = scale.replicas.rpartition(".")[0]
                raise errors.BadRequest(
                    f"value cannot be set because .{place} is not a map[string]interface {{}}"
                )
        holder[last] = replicas
        return old

    result = await change(core, call, produce, options, part_of(endpoint, "scale"), version)
    return _shown(endpoint, result)


def _shown(endpoint: Endpoint, result: Result) -> Result:
    obj = result.entry.obj if result.entry is not None else result.obj
    assert obj is not None
    return Result(200, obj=view(endpoint, obj))


VERBS: dict[str, Callable[[Core, Call], Awaitable[Result]]] = {"get": get, "update": update, "patch": patch}
