"""Requests for group versions that another server serves go there, with who asks in headers; its answer comes back.

Watches and other streams come as they are sent; after an upgrade (exec, WebSocket) bytes are relayed both ways.
What goes wrong on the way is told in plain text, as upstream does.

Upstream: kube-aggregator/pkg/apiserver/handler_proxy.go, apimachinery/pkg/util/proxy/upgradeaware.go.
"""

from __future__ import annotations

import urllib.parse

from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.aggregation.availability import is_available
from timonel.server.aggregation.backend import Address, Backends, identity, without_identity
from timonel.server.exchange import TEXT, Request, Response
from timonel.server.outbound import Unresolved
from timonel.server.paths import NO_SNIFF
from timonel.server.request import Answer, ConnectCall, Upgraded, User
from timonel.server.subresources import relay
from timonel.server.subresources.nodes import Unreachable

REPEATABLE = ("GET", "HEAD", "OPTIONS", "TRACE")  # as Go's transport


@dataclass(frozen=True, slots=True)
class Proxied:
    """One group version that another server serves."""

    api_service: Object
    backends: Backends

    async def answer(self, request: Request, user: User) -> Response | Upgraded:
        if not is_available(self.api_service):
            return failure(503, "service unavailable")
        try:
            address = self.backends.address(self.api_service)
        except Unresolved:
            return failure(503, "service unavailable")
        call = forwarded(request, user)
        target = target_of(request)
        try:
            answer = await self._exchange(call, address, target)
        except Unreachable as e:
            return failure(503, f"error trying to reach service: {e}")
        except ValueError as e:  # of its CA bundle
            return failure(500, str(e))
        return answer if isinstance(answer, Upgraded) else _response(answer)

    async def _exchange(self, call: ConnectCall, address: Address, target: str) -> Answer | Upgraded:
        """A kept connection may have been closed by the other side just now. What may be asked twice is asked again."""
        authority = f"{address.server_name}:{address.port}"
        if relay.is_upgrade(call):
            backend = await self.backends.connect(self.api_service, address)
            return await relay.exchange(call, backend, target, authority)
        while kept := self.backends.kept(self.api_service, address):
            try:
                return await relay.exchange(call, kept, target, authority)
            except Unreachable:
                if call.method not in REPEATABLE:
                    raise
        backend = await self.backends.open(self.api_service, address)
        return await relay.exchange(call, backend, target, authority)


def failure(status: int, text: str) -> Response:
    return Response(status, f"{text}\n".encode(), TEXT, (NO_SNIFF,))


def forwarded(request: Request, user: User) -> ConnectCall:
    headers = without_identity((k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers)
    before = ", ".join(v for k, v in headers if k.lower() == "x-forwarded-for")
    peer = _peer(request)
    chain = ", ".join(filter(None, (before, peer)))
    kept = [(k, v) for k, v in headers if k.lower() != "x-forwarded-for"]
    if chain:
        kept.append(("X-Forwarded-For", chain))
    return ConnectCall(
        user=user,
        method=request.method,
        namespace="",
        name="",
        subresource="",
        path=request.path,
        query=request.query,
        headers=[*kept, *identity(user)],
        body=request.body,
    )


def target_of(request: Request) -> str:
    path = urllib.parse.quote(request.path, safe="/%:@!$&'()*+,;=~-._")
    return f"{path}?{request.query}" if request.query else path


def _peer(request: Request) -> str:
    return request.connection.peer if request.connection is not None else ""


def _response(answer: Answer) -> Response:
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers)
    return Response(answer.status, answer.body, b"", headers, patient=True)
