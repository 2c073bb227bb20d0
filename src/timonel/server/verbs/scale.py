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
from timonel.server.options import write_options
from timonel.server.registry import Endpoint
from timonel.server.verbs.call import Call, Core, Result, cloned
from timonel.server.verbs.patch import as_upstream_prints, kind_of, patcher
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
    if replicas := nested(obj, *scale.replicas.split(".")):
        spec["replicas"] = replicas
    status: Object = {"replicas": nested(obj, *scale.status_replicas.split(".")) or 0}
    if selector := selector_text(scale, obj):
        status["selector"] = selector
    metadata = {key: obj["metadata"][key] for key in IDENTITY if key in obj["metadata"]}
    return {"kind": KIND, "apiVersion": API_VERSION, "metadata": metadata, "spec": spec, "status": status}


def selector_text(scale: Scale, obj: Object) -> str:
    found = nested(obj, *scale.selector.split("."))
    if not found:
        return ""
    if "matchLabels" in found or "matchExpressions" in found:
        return str(selectors.from_label_selector(found))
    return str(selectors.from_map(found))


async def get(core: Core, call: Call) -> Result:
    entry = await core.registry.read(call.endpoint, call.namespace, call.name)
    return Result(200, obj=view(call.endpoint, entry.obj))


async def update(core: Core, call: Call) -> Result:
    tree, _ = bodies.read_object(call.endpoint, call.body, call.content_type, fallback="autoscaling.v1.Scale")
    if not isinstance(tree, dict):
        raise errors.BadRequest("Scale cannot be handled as a Scale: json: cannot unmarshal")
    bodies.check_kind(tree, KIND, API_VERSION, VERSION)
    wanted = checked(call, tree)
    return await _set(core, call, "UpdateOptions", lambda old: wanted, wanted_version(wanted))


async def patch(core: Core, call: Call) -> Result:
    kind = kind_of(call.content_type)
    if kind == "apply":
        return await _apply(core, call)
    if kind == "strategic":
        kind = "merge"  # a Scale has no lists
    patched = patcher(call.endpoint, kind, call.body)

    def wanted(old: Object) -> Object:
        tree, _ = patched(view(call.endpoint, old))
        return checked(call, tree, patch=True)

    return await _set(core, call, "PatchOptions", wanted, 0)


async def _apply(core: Core, call: Call) -> Result:
    """Server-side apply: whoever applies a Scale owns the replicas of its object.

    Upstream: apiserver/pkg/util/managedfields/scalehandler.go.
    """
    endpoint = call.endpoint
    scale, rtype = endpoint.work.scale, endpoint.rtype
    assert scale is not None
    options = write_options(call.info, "PatchOptions", patch_type="apply")
    tree, _ = bodies.read(call.body, "application/yaml")
    if not isinstance(tree, dict):
        raise errors.BadRequest("error decoding YAML: json: cannot unmarshal into Go value")
    bodies.check_kind(tree, KIND, API_VERSION, VERSION)
    replicas = nested(checked(call, tree), "spec", "replicas")
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

    version = wanted_version(tree)
    result = await change(core, call, produce, options, part_of(endpoint, "scale"), version, managed=False)
    return _shown(endpoint, result)


def checked(call: Call, tree: Any, *, patch: bool = False) -> Object:
    """A Scale for this object. Raises BadRequest, Invalid."""
    if not isinstance(tree, dict):
        raise errors.BadRequest("Scale cannot be handled as a Scale: json: cannot unmarshal")
    tree.setdefault("metadata", {})
    replicas = nested(tree, "spec", "replicas")
    if replicas is not None and (not isinstance(replicas, int) or isinstance(replicas, bool)):
        given = "string" if isinstance(replicas, str) else "value"
        problem = f"json: cannot unmarshal {given} into Go struct field ScaleSpec.spec.replicas of type int32"
        if not patch:
            raise errors.BadRequest(f'Scale in version "v1" cannot be handled as a Scale: {problem}')
        raise errors.invalid("", "", [field.invalid("patch", as_upstream_prints(tree), problem)])
    check_name(tree, call.name)
    if replicas is not None and replicas < 0:
        cause = field.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid(KIND, call.name, [cause], GROUP)
    return tree


async def _set(
    core: Core, call: Call, options_kind: str, wanted: Callable[[Object], Object], version: int
) -> Result:
    endpoint = call.endpoint
    scale = endpoint.work.scale
    assert scale is not None
    *path, last = scale.replicas.split(".")
    options = write_options(call.info, options_kind, patch_type="merge")

    def produce(old: Object) -> Object:
        replicas = nested(wanted(old), "spec", "replicas") or 0
        holder = old
        for step in path:
            holder = holder.setdefault(step, {})
        holder[last] = replicas
        return old

    result = await change(core, call, produce, options, part_of(endpoint, "scale"), version)
    return _shown(endpoint, result)


def _shown(endpoint: Endpoint, result: Result) -> Result:
    obj = result.entry.obj if result.entry is not None else result.obj
    assert obj is not None
    return Result(200, obj=view(endpoint, obj))


VERBS: dict[str, Callable[[Core, Call], Awaitable[Result]]] = {"get": get, "update": update, "patch": patch}
