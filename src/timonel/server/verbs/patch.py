"""patch in its four kinds: what is read is patched, and the rest is an update.

Upstream: apiserver/pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from timonel.machinery import errors, field
from timonel.machinery.patch.json import PatchFailed, PatchMalformed, json_patch
from timonel.machinery.patch.merge import merge_patch
from timonel.objects.meta import Object
from timonel.server import bodies, fieldmanager
from timonel.server.options import WriteOptions, write_options
from timonel.server.registry import Endpoint
from timonel.server.verbs.call import Call, Core, Result, check_namespace, cloned
from timonel.server.verbs.create import store_new
from timonel.server.verbs.update import ATTEMPTS, change, check_name, part_of

KINDS = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
SHARING = ("merge", "strategic")  # they leave what they do not touch where it is
NOT_STRATEGIC = (
    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
    "application/merge-patch+json, application/apply-patch+yaml"
)
METADATA_ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip
ENTRY_ORDER = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource")
MAX_OPERATIONS = 10_000
JSON_PATCH_MEMBERS = {"op", "path", "value", "from"}
REJECTED = "the server rejected our request due to an error in our request"

Patched = tuple[Any, list[str]]  # the new tree, and the problems that strict validation reports


def kind_of(content_type: str) -> str:
    kind = KINDS.get(bodies.media_type(content_type))
    if kind is None:
        raise bodies.unsupported()
    return kind


async def patch(core: Core, call: Call) -> Result:
    kind = kind_of(call.content_type)
    if kind == "strategic" and call.endpoint.rtype.custom:
        raise errors.UnsupportedMediaType(NOT_STRATEGIC)
    options = write_options(call.info, "PatchOptions", patch_type=kind)
    if kind == "apply":
        return await _apply(core, call, options)
    patched = patcher(call.endpoint, kind, call.body)
    shown = partial(_sent, call.body) if kind == "strategic" else None
    before = len(call.warnings)

    def produce(old: Object) -> Object:
        del call.warnings[before:]
        return finished(core, call, patched(old), options, shown)

    def beside(old: Object) -> Object:
        del call.warnings[before:]
        return finished(core, call, patched(old), options, shown, beside=old)

    part = part_of(call.endpoint, call.info.subresource)
    return await change(core, call, produce, options, part, beside=beside if kind in SHARING else None)


def patcher(endpoint: Endpoint, kind: str, body: bytes | Any) -> Callable[[Object], Patched]:
    """What the patch makes of an object. Raises BadRequest for what is no patch."""
    tree, problems = bodies.read(body, "application/json")
    if kind == "json":
        return _json_patcher(tree)
    if tree is None:
        raise errors.BadRequest("Invalid JSON Patch")
    if not isinstance(tree, dict):
        raise errors.BadRequest("couldn't decode the patch: json: cannot unmarshal into Go value")
    if kind == "merge":
        return lambda old: (merge_patch(old, tree), problems)
    return _strategic_patcher(endpoint, body, tree, problems)


def _json_patcher(operations: Any) -> Callable[[Object], Patched]:
    if not isinstance(operations, list):
        raise errors.BadRequest("couldn't decode the patch: json: cannot unmarshal object into Go value")
    if len(operations) > MAX_OPERATIONS:
        raise errors.RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    unknown = [
        f'json patch unknown field "[{index}].{key}"'
        for index, operation in enumerate(operations)
        if isinstance(operation, dict)
        for key in operation
        if key not in JSON_PATCH_MEMBERS
    ]

    def patched(old: Object) -> Patched:
        try:
            return json_patch(old, operations), unknown
        except PatchMalformed as error:
            raise errors.BadRequest(f"couldn't decode the patch: {error}") from error
        except PatchFailed as error:
            raise errors.Invalid(REJECTED, details=True) from error

    return patched


def _sent(body: bytes | Any) -> Any:
    return bodies.read(body, "application/json")[0]


def _strategic_patcher(
    endpoint: Endpoint, body: bytes | Any, tree: Object, problems: list[str]
) -> Callable[[Object], Patched]:
    unused = (
        [tree] if isinstance(body, bytes) else []
    )  # what is merged has parts of it: each time another tree

    def patched(old: Object) -> Patched:
        fresh = unused.pop() if unused else cloned(_sent(body))
        return endpoint.machinery.strategic_merge(old, fresh), problems

    return patched


def finished(
    core: Core,
    call: Call,
    patched: Patched,
    options: WriteOptions,
    patch_shown: Callable[[], Any] | None = None,
    beside: Object | None = None,
) -> Object:
    """The patched tree as a valid object of its kind, still with the right name.

    Messages show what `patch_shown` gives where it is given, else the patched tree. `beside`: see `bodies.finish`.
    """
    tree, problems = patched
    endpoint = call.endpoint
    if not isinstance(tree, dict):
        raise errors.BadRequest("couldn't decode the patch: json: cannot unmarshal into Go value")
    if tree.get("metadata") is None:
        tree["metadata"] = {}
    if not endpoint.rtype.custom:
        bodies.check_kind(tree, endpoint.rtype.kind, endpoint.rtype.api_version, endpoint.rtype.version)
    # Shown only where there is something to complain about. The codec of a built-in kind leaves the tree as it is.
    changes = endpoint.rtype.custom or endpoint.rtype.legacy_shape is not None
    shown = cloned(tree) if changes else dict(tree)
    try:
        obj = bodies.finish(
            endpoint,
            tree,
            problems,
            validation=options.field_validation,
            warnings=call.warnings,
            legacy=core.legacy,
            beside=beside,
            status_only=call.info.subresource == "status",
        )
    except errors.BadRequest as error:
        problem = error.message.split(f"cannot be handled as a {endpoint.rtype.kind}: ", 1)[-1]
        text = as_go_prints(patch_shown()) if patch_shown is not None else as_upstream_prints(shown)
        cause = field.invalid("patch", text, problem)
        raise errors.invalid("", "", [cause]) from error
    check_name(obj, call.name)
    check_namespace(call, obj)
    return obj


def as_upstream_prints(tree: Object) -> str:
    """The patched object in a message: members sorted, metadata in the order of its struct."""
    shown = {key: tree[key] for key in sorted(tree)}
    metadata = shown.get("metadata")
    if isinstance(metadata, dict):
        shown["metadata"] = metadata = _ordered(metadata, METADATA_ORDER)
        entries = metadata.get("managedFields")
        if isinstance(entries, list):
            metadata["managedFields"] = [
                _ordered(entry, ENTRY_ORDER) if isinstance(entry, dict) else entry for entry in entries
            ]
    return orjson.dumps(shown).decode()


def as_go_prints(value: Any) -> str:
    """As Go's %v, of trees."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{as_go_prints(value[k])}' for k in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(as_go_prints, value))}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ordered(tree: Object, order: tuple[str, ...]) -> Object:
    return {k: tree[k] for k in order if k in tree} | {k: tree[k] for k in sorted(tree) if k not in order}


# ---- apply


async def _apply(core: Core, call: Call, options: WriteOptions) -> Result:
    endpoint, name = call.endpoint, call.name
    tree, duplicates = bodies.read(call.body, "application/yaml")
    if duplicates and options.field_validation == "Strict":
        raise errors.BadRequest(f"error strict decoding YAML: error converting YAML to JSON: {duplicates[0]}")
    if duplicates and options.field_validation == "Warn":
        call.warnings += [line.strip() for line in duplicates[0].splitlines()[1:]]
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise errors.BadRequest("error decoding YAML: json: cannot unmarshal into Go value")
    if core.legacy and endpoint.rtype.legacy_shape is not None:
        call.warnings += endpoint.rtype.legacy_shape(tree)  # before the fields are looked up in the schema
    subresource = call.info.subresource

    def produce(old: Object | None) -> Object:
        obj = fieldmanager.applied(
            endpoint,
            old,
            cloned(tree),
            manager=options.field_manager,
            force=options.force,
            now=core.clock.now(),
            subresource=subresource,
        )
        endpoint.rtype.default(obj)
        check_name(obj, name)
        check_namespace(call, obj)
        return obj

    part = part_of(endpoint, subresource)
    for attempt in range(ATTEMPTS):
        try:
            return await change(core, call, produce, options, part, managed=False)
        except errors.NotFound:
            if subresource:
                raise
        metadata = tree.get("metadata")
        if isinstance(metadata, dict) and metadata.get("uid"):
            uid = metadata["uid"]
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise endpoint.conflict(name, why)
        obj = produce(None)
        obj["metadata"].pop("resourceVersion", None)
        try:
            return await store_new(core, call, obj, options)
        except errors.AlreadyExists:  # somebody else created it just now: what we bring is merged into that
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("the loop returns or raises")
