"""One request as audit events: `Record` gathers what becomes known, `event` is what is written at a stage.

Upstream: apiserver/pkg/apis/audit/v1/types.go, apiserver/pkg/audit/request.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import orjson

from timonel.objects.meta import Object, format_micro_time
from timonel.records import dataclass
from timonel.server.audit import policy
from timonel.server.audit.policy import API_VERSION, REQUEST, RESPONSE
from timonel.server.chain.info import Info
from timonel.server.request import Decision, User, Verdict

AGENT_LIMIT = 1024
TRUNCATED = "...TRUNCATED"
DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
PATCH = "patch.webhook.admission.k8s.io/"


@dataclass(slots=True)
class Record:
    """What is known of a request so far."""

    id: str
    verdict: policy.Verdict
    info: Info
    uri: str
    user: User | None
    sources: Sequence[str]
    agent: str
    received: float
    impersonated: User | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    status: Object | None = None
    request: Any = None
    response: Any = None
    reference: dict[str, str] = field(default_factory=dict)  # what the request's own object says of itself

    @property
    def wants_request(self) -> bool:
        return self.verdict.level in (REQUEST, RESPONSE)

    @property
    def wants_response(self) -> bool:
        return self.verdict.level == RESPONSE

    def decided(self, decision: Decision) -> None:
        self.annotations[DECISION] = "allow" if decision.verdict is Verdict.ALLOW else "forbid"
        self.annotations[REASON] = decision.reason

    def requested(self, obj: Any) -> None:
        """The object that was sent, decoded."""
        if isinstance(obj, dict):
            metadata = obj.get("metadata")
            if isinstance(metadata, dict):
                for key in ("namespace", "name", "uid", "resourceVersion"):
                    if isinstance(metadata.get(key), str) and metadata[key]:
                        self.reference.setdefault(key, metadata[key])
        if self.wants_request:
            self.request = self._cleared(obj)

    def answered(self, code: int, body: bytes, *, is_json: bool) -> None:
        """The whole answer, or what is known of one that is a stream."""
        self.status = {"metadata": {}, "code": code}
        if not is_json or not body or (code < 400 and not self.wants_response):
            return
        try:
            tree = orjson.loads(body)
        except ValueError:
            return
        if isinstance(tree, dict) and tree.get("kind") == "Status":
            kept = ("metadata", "status", "message", "reason", "details", "code")
            self.status = {key: tree[key] for key in kept if key in tree} | {"code": code}
        if self.wants_response:
            self.response = self._cleared(tree)

    def _cleared(self, obj: Any) -> Any:
        """Without managed fields, where the policy says so. The tree is the caller's."""
        if not self.verdict.omit_managed_fields or not isinstance(obj, dict):
            return obj
        items = obj.get("items")
        cleared = _without(obj)
        if isinstance(items, list):
            cleared["items"] = [_without(item) if isinstance(item, dict) else item for item in items]
        return cleared

    def event(self, stage: str, now: float) -> Object:
        event: Object = {
            "kind": "Event",
            "apiVersion": API_VERSION,
            "level": self.verdict.level,
            "auditID": self.id,
            "stage": stage,
            "requestURI": self.uri,
            "verb": self.info.verb,
            "user": _user(self.user),
        }
        if self.impersonated is not None:
            event["impersonatedUser"] = _user(self.impersonated)
        if self.sources:
            event["sourceIPs"] = list(self.sources)
        if self.agent:
            event["userAgent"] = self.agent
        if self.info.is_resource:
            event["objectRef"] = self._object_ref()
        if self.status is not None:
            event["responseStatus"] = self.status
        if self.request is not None:
            event["requestObject"] = self.request
        if self.response is not None:
            event["responseObject"] = self.response
        event["requestReceivedTimestamp"] = format_micro_time(self.received)
        event["stageTimestamp"] = format_micro_time(now)
        if annotations := self._annotations():
            event["annotations"] = annotations
        return event

    def _annotations(self) -> dict[str, str]:
        """Patches of webhooks show what was sent, so they are told where requests are."""
        if self.verdict.level in (REQUEST, RESPONSE):
            return dict(self.annotations)
        return {key: value for key, value in self.annotations.items() if not key.startswith(PATCH)}

    def _object_ref(self) -> dict[str, str]:
        info, own = self.info, self.reference
        pairs = (
            ("resource", info.resource),
            ("namespace", info.namespace or own.get("namespace", "")),
            ("name", info.name or own.get("name", "")),
            ("uid", own.get("uid", "")),
            ("apiGroup", info.group),
            ("apiVersion", info.version),
            ("resourceVersion", own.get("resourceVersion", "")),
            ("subresource", info.subresource),
        )
        return {key: value for key, value in pairs if value}


def _without(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return dict(obj)
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _user(user: User | None) -> Object:
    if user is None:
        return {}
    found: Object = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    return found


def agent_of(text: str) -> str:
    return text if len(text) <= AGENT_LIMIT else text[:AGENT_LIMIT] + TRUNCATED


def sources_of(headers: Mapping[str, str], peer: str) -> list[str]:
    """Who sent a request, and through whom: X-Forwarded-For, X-Real-Ip, the address of the connection."""
    found: list[str] = []
    for address in (
        *(part.strip() for part in headers.get("x-forwarded-for", "").split(",")),
        headers.get("x-real-ip", ""),
        peer,
    ):
        if address and address not in found:
            found.append(address)
    return found
