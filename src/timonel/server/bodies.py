"""The body of a request as an object of its kind: read, pruned, type-checked and defaulted, or refused."""

from __future__ import annotations

import json
from typing import Any

from timonel.machinery import errors, protobuf
from timonel.machinery.codec import DecodeError
from timonel.objects.meta import Object
from timonel.server import bodytext
from timonel.server.registry import Endpoint

JSON_TYPES = ("", "application/json")
YAML_TYPES = ("application/yaml",)


def media_type(content_type: str) -> str:
    return content_type.split(";", 1)[0].strip().lower()


def unsupported() -> errors.UnsupportedMediaType:
    return errors.UnsupportedMediaType("415: Unsupported Media Type", details=True)


def read(body: bytes | Any, content_type: str, *, find_duplicates: bool = True) -> tuple[Any, list[str]]:
    """The tree, and the problems that strict validation reports. Raises BadRequest, UnsupportedMediaType."""
    if not isinstance(body, bytes):
        return body, []
    media = media_type(content_type)
    if media not in JSON_TYPES and media not in YAML_TYPES:
        raise unsupported()
    return bodytext.read(body, is_yaml=media in YAML_TYPES, find_duplicates=find_duplicates)


def read_object(
    endpoint: Endpoint,
    body: bytes | Any,
    content_type: str,
    *,
    find_duplicates: bool = True,
    fallback: str = "",
) -> tuple[Any, list[str]]:
    """As `read`, and protobuf too; `fallback` is the type of what says of no kind that is known here."""
    if media_type(content_type) == protobuf.MEDIA_TYPE and isinstance(body, bytes):
        try:
            return endpoint.machinery.from_protobuf(body, fallback), []
        except DecodeError as error:
            raise mismatch(endpoint, str(error)) from error
    return read(body, content_type, find_duplicates=find_duplicates)


def mismatch(endpoint: Endpoint, problem: str) -> errors.BadRequest:
    rtype = endpoint.rtype
    return errors.BadRequest(
        f'{rtype.kind} in version "{rtype.version}" cannot be handled as a {rtype.kind}: {problem}'
    )


def decode(
    endpoint: Endpoint,
    body: bytes | Any,
    content_type: str,
    *,
    validation: str,
    warnings: list[str],
    legacy: bool,
) -> Object:
    """An object of this endpoint, pruned, type-checked and defaulted, in the served form."""
    tree, problems = read_object(endpoint, body, content_type, find_duplicates=validation != "Ignore")
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise mismatch(endpoint, "json: cannot unmarshal array into Go value")
    rtype = endpoint.rtype
    if rtype.custom:
        check_custom(endpoint, tree, body)
    else:
        check_kind(tree, rtype.kind, rtype.api_version, rtype.version)

    def finished() -> Object:
        return finish(endpoint, tree, problems, validation=validation, warnings=warnings, legacy=legacy)

    if endpoint.alike is None or problems:
        return finished()
    return endpoint.alike.completed(tree, warnings, finished)


def check_kind(tree: Object, kind: str, api_version: str, version: str) -> None:
    """Kind and apiVersion may be left out, but not be others."""
    given_kind, given_version = tree.get("kind") or kind, tree.get("apiVersion") or api_version
    if given_kind != kind or given_version != api_version:
        raise errors.BadRequest(
            f"{given_kind} in version {json.dumps(version)} cannot be handled as a {kind}: converting "
            f"({given_version}.{given_kind}) to ({api_version}.{kind}): unknown conversion"
        )


def check_custom(endpoint: Endpoint, tree: Object, body: bytes | Any) -> None:
    """Custom resources say what they are. A wrong kind is left to validation, as upstream leaves it."""
    for key, name in (("kind", "Kind"), ("apiVersion", "apiVersion")):
        if not tree.get(key):
            text = body.decode(errors="replace") if isinstance(body, bytes) else json.dumps(tree)
            raise mismatch(endpoint, f"Object '{name}' is missing in '{text}'")
    expected, given = endpoint.rtype.api_version, tree["apiVersion"]
    if given != expected:
        raise errors.BadRequest(
            f"the API version in the data ({given}) does not match the expected API version ({expected})"
        )


def finish(
    endpoint: Endpoint,
    tree: Object,
    problems: list[str],
    *,
    validation: str,
    warnings: list[str],
    legacy: bool,
    beside: Object | None = None,
    status_only: bool = False,
) -> Object:
    """Legacy shapes, pruning, types and defaults of a tree whose kind is known to be right.

    `beside`: an object in its normal form, parts of which are parts of the tree. `status_only`: of a spec that is that
    object's nothing is kept, so that it needs no defaults.
    """
    rtype = endpoint.rtype
    if not rtype.custom:
        tree["kind"], tree["apiVersion"] = rtype.kind, rtype.api_version
    if legacy and rtype.legacy_shape is not None:
        warnings += rtype.legacy_shape(tree)
    try:
        obj, unknown = endpoint.machinery.normalize(tree, beside)
    except DecodeError as error:
        raise mismatch(endpoint, str(error)) from error
    if not rtype.custom:
        obj["kind"], obj["apiVersion"] = rtype.kind, rtype.api_version
    obj.setdefault("metadata", {})
    problems = problems + unknown
    if problems and validation == "Strict":
        raise mismatch(endpoint, "strict decoding error: " + ", ".join(problems))
    if validation == "Warn":
        warnings += problems
    if status_only and beside and rtype.default_status and obj.get("spec") is beside.get("spec"):
        rtype.default_status(obj)
    else:
        rtype.default(obj)
    return obj
