"""Another server is asked what somebody may do: it gets a SubjectAccessReview and fills in its status.

Authorizers decide from memory. What is not remembered is `Undecided`: whoever may wait asks (`Undecided.ask`) and puts
the question again. An answer is kept for the times that its settings say, but never so short that it is gone before the
question is put again.

Upstream: apiserver/plugin/pkg/authorizer/webhook/webhook.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from timonel.aio.clock import Clock
from timonel.client.https import Endpoint
from timonel.machinery import selectors
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.auth import retrying
from timonel.server.outbound import CallFailed, Outbound
from timonel.server.request import Attributes, Decision, Undecided, User, Verdict

AUTHORIZED_TTL, UNAUTHORIZED_TTL = 300.0, 30.0
LEAST_TTL = 2.0  # seconds from an answer until its question has been put again
_MOST = 10_000
_RETAINED = 10_000  # characters that clients control, of a question that is remembered


class Condition(Protocol):
    """A compiled CEL expression over `request`, the spec of a SubjectAccessReview."""

    text: str

    def evaluate(self, variables: dict[str, Any]) -> Any:
        """Raises ValueError with the reason."""


@dataclass(frozen=True, slots=True)
class Settings:
    endpoint: Endpoint
    name: str = "webhook"
    version: str = "v1"
    authorized_ttl: float = AUTHORIZED_TTL
    unauthorized_ttl: float = UNAUTHORIZED_TTL
    timeout: float = retrying.TIMEOUT
    denies_on_failure: bool = False  # failurePolicy Deny; else NoOpinion
    conditions: tuple[Condition, ...] = ()


class WebhookAuthorizer:
    waits = True

    def __init__(self, settings: Settings, outbound: Outbound, clock: Clock) -> None:
        self._settings = settings
        self._outbound = outbound
        self._clock = clock
        self._answers: dict[bytes, tuple[float, Decision]] = {}

    def authorize(self, attributes: Attributes) -> Decision:
        spec = spec_of(attributes)
        key = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
        known = self._answers.get(key)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        skipped = self._skipped(spec)
        if skipped is not None:
            return skipped

        async def ask() -> None:
            decision, ttl = await self._ask(spec)
            if len(key) > _RETAINED:
                ttl = 0.0
            self._keep(key, decision, ttl)

        raise Undecided(ask)

    def _skipped(self, spec: Object) -> Decision | None:
        """The decision where the conditions do not match, or cannot be evaluated."""
        problems: list[str] = []
        for condition in self._settings.conditions:
            try:
                if condition.evaluate({"request": spec}) is not True:
                    return Decision(Verdict.NO_OPINION)
            except ValueError as e:
                problems.append(f"cel evaluation error: expression '{condition.text}' resulted in error: {e}")
        return self._failed(", ".join(problems)) if problems else None

    def _failed(self, problem: str) -> Decision:
        verdict = Verdict.DENY if self._settings.denies_on_failure else Verdict.NO_OPINION
        return Decision(verdict, problem=problem)

    async def _ask(self, spec: Object) -> tuple[Decision, float]:
        settings = self._settings
        review = {
            "kind": "SubjectAccessReview",
            "apiVersion": f"authorization.k8s.io/{settings.version}",
            "metadata": {"creationTimestamp": None},
            "spec": spec if settings.version == "v1" else _old(spec),
            "status": {"allowed": False},
        }
        try:
            answer = await retrying.post(
                self._outbound, settings.endpoint, orjson.dumps(review), self._clock, timeout=settings.timeout
            )
        except CallFailed as e:
            return self._failed(str(e)), 0.0
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict):
            return self._failed("webhook answered without a status"), 0.0
        allowed, denied = status.get("allowed") is True, status.get("denied") is True
        reason = str(status.get("reason") or "")
        if allowed and denied:
            text = "webhook subject access review returned both allow and deny response"
            return Decision(Verdict.DENY, reason, problem=text), settings.unauthorized_ttl
        if allowed:
            return Decision(Verdict.ALLOW, reason), settings.authorized_ttl
        return Decision(Verdict.DENY if denied else Verdict.NO_OPINION, reason), settings.unauthorized_ttl

    def _keep(self, key: bytes, decision: Decision, ttl: float) -> None:
        now = self._clock.monotonic()
        if len(self._answers) >= _MOST:
            self._answers = {k: v for k, v in self._answers.items() if now < v[0]}
            if len(self._answers) >= _MOST:
                self._answers.clear()
        self._answers[key] = (now + max(ttl, LEAST_TTL), decision)


def _old(spec: Object) -> Object:
    """As v1beta1 calls the groups."""
    return {("group" if key == "groups" else key): value for key, value in spec.items()}


def spec_of(asked: Attributes) -> Object:
    """The question as the spec of a SubjectAccessReview."""
    found: Object = _user(asked.user)
    if not asked.is_resource:
        found["nonResourceAttributes"] = {"path": asked.path, "verb": asked.verb}
        return found
    pairs = (
        ("namespace", asked.namespace),
        ("verb", asked.verb),
        ("group", asked.group),
        ("version", asked.version),
        ("resource", asked.resource),
        ("subresource", asked.subresource),
        ("name", asked.name),
    )
    resource: Object = {key: value for key, value in pairs if value}
    if asked.field_selector:
        requirements = _field_requirements(asked.field_selector)
        if requirements:
            resource["fieldSelector"] = {"requirements": requirements}
    if asked.label_selector:
        requirements = _label_requirements(asked.label_selector)
        if requirements:
            resource["labelSelector"] = {"requirements": requirements}
    found["resourceAttributes"] = resource
    return found


def _user(user: User) -> Object:
    found: Object = {"user": user.name}
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    if user.uid:
        found["uid"] = user.uid
    return found


def _field_requirements(text: str) -> list[Object]:
    """What cannot be read restricts nothing, and is not told."""
    found: list[Object] = []
    for term in text.split(","):
        for sign, operator in (("!=", "NotIn"), ("==", "In"), ("=", "In")):
            key, separator, value = term.partition(sign)
            if separator:
                found.append({"key": key, "operator": operator, "values": [value]})
                break
    return found


_OPERATORS = {
    "in": "In",
    "=": "In",
    "==": "In",
    "notin": "NotIn",
    "!=": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}


def _label_requirements(text: str) -> list[Object]:
    try:
        parsed = selectors.parse_label_selector(text)
    except ValueError:
        return []
    found: list[Object] = []
    for requirement in parsed.requirements:
        operator = _OPERATORS.get(str(requirement.operator))
        if operator is None:  # comparisons of numbers are not told
            continue
        one: Object = {"key": requirement.key, "operator": operator}
        values: Sequence[str] = sorted(requirement.values)
        if values:
            one["values"] = list(values)
        found.append(one)
    return found
