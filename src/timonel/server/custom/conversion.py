"""The versions of one definition turned into each other: by renaming alone, or by a webhook.

An object that was stored is first brought in order by its own version's schema, then converted, then pruned by the
schema of the version that it came to. A webhook gets many objects at once (ConversionReview); it may change everything
but what metadata says, labels and annotations apart.

Upstream: apiextensions-apiserver/pkg/apiserver/conversion/{converter,nop_converter,webhook_converter}.go.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from timonel.machinery.errors import StatusError
from timonel.machinery.field import quote
from timonel.objects.meta import Object
from timonel.server import objectmeta
from timonel.server.custom.definition import GROUP, Definition
from timonel.server.custom.kinds import CustomMachinery
from timonel.server.outbound import CallFailed, Reply

TIMEOUT = 30.0
BATCH = 64  # objects in one review
REVIEW = "ConversionReview"
SUPPORTED = ("v1", "v1beta1")
MEMBERS_KEPT = ("name", "namespace", "uid")


class Outbound(Protocol):
    async def post(self, config: Object, path: str, body: bytes, *, timeout: float) -> Reply: ...


class ConversionFailed(StatusError):
    """The webhook could not be asked, or said no, or answered what it may not."""


class Refused(Exception):
    """What is wrong with an answer, without the words around it."""


# (objects of one version, the group version wanted) -> as many, in order
Convert = Callable[[Sequence[Object], str], Awaitable[Sequence[Object]]]


class Forms:
    """All versions of one definition."""

    def __init__(
        self, definition: Definition, versions: Mapping[str, CustomMachinery], webhook: Convert | None
    ) -> None:
        self.definition = definition
        self.versions = versions
        self._webhook = webhook

    @property
    def waits(self) -> bool:
        """Conversion takes a webhook."""
        return self._webhook is not None

    def settled(self, tree: Object) -> Object:
        """What was stored, in order by the schema of its own version, if there still is one."""
        own = self.versions.get(_version_of(tree))
        if own is not None:
            own.settle(tree)
        elif not isinstance(tree.get("metadata"), dict):
            tree["metadata"] = {}
        return tree

    def renamed(self, tree: Object, version: str) -> Object:
        """In another version without a webhook."""
        if _version_of(tree) == version:
            return tree
        found = {**tree, "apiVersion": f"{self.definition.group}/{version}"}
        self.versions[version].pruned(found)
        return found

    async def converted(self, trees: Sequence[Object], version: str) -> list[Object]:
        """Raises ConversionFailed. Those that are in this version are themselves."""
        if self._webhook is None:
            return [self.renamed(tree, version) for tree in trees]
        wanted = f"{self.definition.group}/{version}"
        found = list(trees)
        others = [i for i, tree in enumerate(trees) if tree["apiVersion"] != wanted]
        for start in range(0, len(others), BATCH):
            chosen = others[start : start + BATCH]
            answer = await self._webhook([trees[i] for i in chosen], wanted)
            for i, tree in zip(chosen, answer, strict=True):
                self.versions[version].pruned(tree)
                found[i] = tree
        return found


def _version_of(tree: Object) -> str:
    return str(tree.get("apiVersion", "")).rpartition("/")[2]


def webhook_of(definition: Definition, outbound: Outbound) -> Convert | None:
    """None where the definition asks for none."""
    if definition.conversion.get("strategy") != "Webhook":
        return None
    webhook = definition.conversion.get("webhook") or {}
    config: Object = webhook.get("clientConfig") or {}
    reviews: Sequence[str] = webhook.get("conversionReviewVersions") or ()

    async def convert(trees: Sequence[Object], wanted: str) -> Sequence[Object]:
        kind = f"{trees[0]['apiVersion']}, Kind={trees[0]['kind']}"
        version = next((v for v in reviews if v in SUPPORTED), None)
        if version is None:
            raise ConversionFailed("no supported conversion review versions")
        uid = str(uuid.uuid4())
        body = orjson.dumps(review(version, uid, trees, wanted))
        try:
            reply = await outbound.post(config, "", body, timeout=TIMEOUT)
            answers = answered(reply.tree(), version, uid)
        except (CallFailed, Refused) as problem:
            raise ConversionFailed(f"conversion webhook for {kind} failed: {problem}") from problem
        if len(answers) != len(trees):
            raise ConversionFailed(
                f"conversion webhook for {kind} returned {len(answers)} objects, expected {len(trees)}"
            )
        return [
            checked(kind, i, old, new, wanted)
            for i, (old, new) in enumerate(zip(trees, answers, strict=True))
        ]

    return convert


def review(version: str, uid: str, trees: Sequence[Object], wanted: str) -> Object:
    return {
        "kind": REVIEW,
        "apiVersion": f"{GROUP}/{version}",
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": list(trees)},
    }


def answered(tree: Any, version: str, uid: str) -> list[Any]:
    """The objects of an answer. Raises Refused."""
    if not isinstance(tree, dict):
        raise Refused("no response provided")
    response = tree.get("response")
    if version == "v1":
        expected = f"{GROUP}/{version}, Kind={REVIEW}"
        given = f"{tree.get('apiVersion', '')}, Kind={tree.get('kind', '')}"
        if given != expected:
            raise Refused(f"expected webhook response of {expected}, got {given}")
    if not isinstance(response, dict):
        raise Refused("no response provided")
    if version == "v1" and response.get("uid") != uid:
        given = response.get("uid") or ""
        raise Refused(f"expected response.uid={quote(uid)}, got {quote(str(given))}")
    result = response.get("result")
    if not isinstance(result, dict):
        result = {}
    if result.get("status") != "Success":
        raise Refused(
            result.get("message") or f"response.result.status was '{result.get('status', '')}', not 'Success'"
        )
    found = response.get("convertedObjects")
    return found if isinstance(found, list) else []


def checked(kind: str, index: int, old: Object, new: Any, wanted: str) -> Object:
    """The answer for one object, with the metadata that it may not change. Raises ConversionFailed."""
    head = f"conversion webhook for {kind} returned invalid"
    where = f"converted object at index {index}"
    if not isinstance(new, dict):
        raise ConversionFailed(f"{head} {where}: it is no object")
    api_version, given = new.get("apiVersion", ""), new.get("kind", "")
    if api_version != wanted:
        raise ConversionFailed(
            f"{head} {where}: invalid groupVersion (expected {wanted}, received {api_version})"
        )
    if given != old["kind"]:
        raise ConversionFailed(f"{head} {where}: invalid kind (expected {old['kind']}, received {given})")
    metadata = new.get("metadata")
    before: Object = old["metadata"]
    for key in MEMBERS_KEPT:
        said = (metadata.get(key) if isinstance(metadata, dict) else None) or ""
        if said != (before.get(key) or ""):
            name = "UID" if key == "uid" else key
            raise ConversionFailed(
                f"{head} {where}: must have the same {name}: {before.get(key) or ''} != {said}"
            )
    try:
        new["metadata"] = restored(before, metadata)
    except Refused as problem:
        raise ConversionFailed(f"{head} metadata in object at index {index}: {problem}") from problem
    return new


def restored(before: Object, metadata: Any) -> Object:
    """The metadata of before with the labels and annotations of the answer. Raises Refused."""
    if metadata is None:
        raise Refused("missing metadata in converted object")
    if not isinstance(metadata, dict):
        raise Refused("invalid metadata in converted object")
    found = dict(before)
    for key in ("labels", "annotations"):
        given = metadata.get(key)
        if given is None:
            found.pop(key, None)
            continue
        if not isinstance(given, dict):
            raise Refused(f"invalid metadata.{key} in converted object")
        for name, value in given.items():
            if not isinstance(value, str):
                raise Refused(f"metadata.{key}[{name}] must be a string in converted object")
        if given != (before.get(key) or {}):
            rule = objectmeta.validate_labels if key == "labels" else objectmeta.validate_annotations
            if problems := [str(cause) for cause in rule(given, f"metadata.{key}")]:
                raise Refused(", ".join(problems))
        found[key] = given
    return found
