"""serviceaccounts/token: a token for a service account, bound to a pod, node or secret if asked.

Upstream: pkg/registry/core/serviceaccount/storage/token.go, pkg/apis/authentication/validation/validation.go.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from timonel.aio.clock import Clock
from timonel.machinery import errors, field
from timonel.machinery.errors import Cause
from timonel.machinery.field import quote
from timonel.objects.meta import Object, format_time
from timonel.server.auth.tokens import Tokens
from timonel.server.request import ActionCall, Objects

GROUP, KIND = "authentication.k8s.io", "TokenRequest"
DEFAULT_SECONDS, LEAST_SECONDS, MOST_SECONDS = 3600, 600, 1 << 32
_BOUND = {("v1", "Pod"): "pods", ("v1", "Secret"): "secrets", ("v1", "Node"): "nodes"}


class TokenRequest:
    """`longest`: seconds that a token may live; 0: no limit."""

    def __init__(self, tokens: Tokens, objects: Objects, clock: Clock, longest: int = 0) -> None:
        self._longest = longest
        self._tokens = tokens
        self._objects = objects
        self._clock = clock

    async def act(self, call: ActionCall) -> Object:
        metadata, spec = call.obj.setdefault("metadata", {}), call.obj.setdefault("spec", {})
        _check_names(call, metadata)
        account = await self._objects.get("serviceaccounts", call.namespace, call.name)
        seconds = spec["expirationSeconds"] = spec.get("expirationSeconds", DEFAULT_SECONDS)
        causes = list(_duration_causes(seconds))
        if causes:
            raise errors.invalid(KIND, "", causes, GROUP)
        if 0 < self._longest < seconds:
            call.warnings.append(
                f"requested expiration of {seconds} seconds shortened to {self._longest} seconds"
            )
            seconds = spec["expirationSeconds"] = self._longest
        if not spec.get("audiences"):
            spec["audiences"] = list(self._tokens.audiences)
        bound, node = await self._bound(call, spec.get("boundObjectRef"))
        spec.setdefault("boundObjectRef", None)
        issued = self._tokens.issue(
            account, audiences=spec["audiences"], seconds=seconds, bound=bound, node=node
        )
        metadata.update(
            name=call.name,
            namespace=call.namespace,
            uid=str(uuid.uuid4()),
            creationTimestamp=format_time(self._clock.now()),
        )
        status = {"token": issued.token, "expirationTimestamp": format_time(issued.expires)}
        return {**call.obj, "status": status}

    async def _bound(self, call: ActionCall, ref: Object | None) -> tuple[Object | None, Object | None]:
        """The object that the token ends with, and the node of a pod."""
        if not ref:
            return None, None
        version, kind, name = ref.get("apiVersion", ""), ref.get("kind", ""), ref.get("name", "")
        resource = _BOUND.get((version, kind))
        if resource is None:
            shown = version if "/" in version else f"/{version}"
            raise errors.BadRequest(f"cannot bind token to object of type {shown}, Kind={kind}")
        bound = await self._objects.get(resource, "" if kind == "Node" else call.namespace, name)
        if ref.get("uid") and ref["uid"] != bound["metadata"]["uid"]:
            why = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record."
            raise errors.conflict(kind, name, f"{why} The object might have been deleted and then recreated")
        if kind != "Pod":
            return bound, None
        if bound["spec"].get("serviceAccountName") != call.name:
            what = f"cannot bind token for serviceaccount {quote(call.name)} to pod running with different"
            raise errors.BadRequest(f"{what} serviceaccount name.")
        return bound, await self._node_of(bound)

    async def _node_of(self, pod: Object) -> Object | None:
        name = pod["spec"].get("nodeName")
        if not name:
            return None
        try:
            return await self._objects.get("nodes", "", name)
        except errors.NotFound:
            return {"kind": "Node", "metadata": {"name": name}}


def _check_names(call: ActionCall, metadata: Object) -> None:
    given = metadata.get("name")
    if given and given != call.name:
        text = "must match the service account name if specified"
        raise errors.invalid(KIND, call.name, (field.invalid("metadata.name", given, text),), GROUP)
    given = metadata.get("namespace")
    if given and given != call.namespace:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.BadRequest(text)


def _duration_causes(seconds: int) -> Iterator[Cause]:
    path = "spec.expirationSeconds"
    if seconds < LEAST_SECONDS:
        yield field.invalid(path, seconds, "may not specify a duration less than 10 minutes")
    if seconds > MOST_SECONDS:
        yield field.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")
