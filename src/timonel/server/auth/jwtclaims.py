"""What the claims of a verified JWT mean: rules that they must obey, and the user that they name. Pure.

Upstream: apiserver/plugin/pkg/authenticator/token/oidc/oidc.go, apiserver/pkg/authentication/cel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from timonel.machinery.field import quote
from timonel.records import dataclass
from timonel.server.auth.verified import TokenError
from timonel.server.request import User


class Expression(Protocol):
    """A compiled CEL expression over `claims`, or over `user`."""

    text: str

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Raises ValueError with the reason."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A value from a claim (with a prefix), or from an expression. Neither: no value."""

    claim: str = ""
    prefix: str = ""
    expression: Expression | None = None

    @property
    def is_given(self) -> bool:
        return bool(self.claim) or self.expression is not None


@dataclass(frozen=True, slots=True)
class Rule:
    """Either a claim with its value, or an expression with the message of its failure."""

    claim: str = ""
    value: str = ""
    expression: Expression | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Authenticator:
    issuer: str
    audiences: tuple[str, ...]
    username: Mapped
    groups: Mapped = Mapped()
    uid: Mapped = Mapped()
    extra: tuple[tuple[str, Expression], ...] = ()
    claim_rules: tuple[Rule, ...] = ()
    user_rules: tuple[Rule, ...] = ()
    discovery_url: str = ""
    certificate_authority: str = ""  # PEM; empty: those of the system
    algorithms: tuple[str, ...] = field(
        default=("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256")
    )


def user_of(what: Authenticator, claims: Mapping[str, Any]) -> User:
    """Raises TokenError."""
    name = _username(what.username, claims)
    groups = _groups(what.groups, claims) if what.groups.is_given else ()
    _check_claims(what.claim_rules, claims)
    uid = _uid(what.uid, claims) if what.uid.is_given else ""
    extra = {key: _texts(expression, claims, "extra") for key, expression in what.extra}
    user = User(name, groups, uid, {key: values for key, values in extra.items() if values})
    _check_user(what.user_rules, user)
    return user


def _username(mapped: Mapped, claims: Mapping[str, Any]) -> str:
    if mapped.expression is not None:
        found = _evaluated(mapped.expression, {"claims": claims}, "username")
        if not isinstance(found, str):
            raise TokenError(
                "oidc: error evaluating username claim expression: expression must return a string"
            )
        if not found:
            raise TokenError("oidc: username claim expression evaluated to an empty string")
        return found
    if mapped.claim not in claims:
        raise TokenError(f"oidc: parse username claims {quote(mapped.claim)}: claim not present")
    name = claims[mapped.claim]
    if not isinstance(name, str):
        raise TokenError(f"oidc: parse username claims {quote(mapped.claim)}: {_not_a_string(name)}")
    if mapped.claim == "email" and "email_verified" in claims:
        verified = claims["email_verified"]
        if not isinstance(verified, bool):
            raise TokenError("oidc: parse 'email_verified' claim: json: cannot unmarshal into a bool")
        if not verified:
            raise TokenError("oidc: email not verified")
    if not name:
        raise TokenError("oidc: username claim is empty")
    return mapped.prefix + name


def _groups(mapped: Mapped, claims: Mapping[str, Any]) -> tuple[str, ...]:
    if mapped.expression is not None:
        return _texts(mapped.expression, claims, "groups")
    found = claims.get(mapped.claim)
    if found is None:
        return ()
    groups = [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or not all(isinstance(g, str) for g in groups):
        raise TokenError(f"oidc: parse groups claim {quote(mapped.claim)}: {_not_a_string(found)}")
    return tuple(mapped.prefix + group for group in groups)


def _uid(mapped: Mapped, claims: Mapping[str, Any]) -> str:
    if mapped.expression is not None:
        found = _evaluated(mapped.expression, {"claims": claims}, "uid")
    else:
        if mapped.claim not in claims:
            raise TokenError(f"oidc: error extracting UID: claim {quote(mapped.claim)} not present")
        found = claims[mapped.claim]
    if not isinstance(found, str):
        raise TokenError(f"oidc: error extracting UID: {_not_a_string(found)}")
    return found


def _check_claims(rules: Sequence[Rule], claims: Mapping[str, Any]) -> None:
    for rule in rules:
        if rule.expression is not None:
            if _evaluated(rule.expression, {"claims": claims}, "claim validation") is not True:
                raise TokenError(_failed(rule))
        elif rule.claim not in claims:
            raise TokenError(f"oidc: required claim {rule.claim} not present in ID token")
        elif claims[rule.claim] != rule.value:
            got = f"Got = {claims[rule.claim]}, want = {rule.value}"
            raise TokenError(f"oidc: required claim {rule.claim} value does not match. {got}")


def _check_user(rules: Sequence[Rule], user: User) -> None:
    if not rules:
        return
    info: dict[str, Any] = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    for rule in rules:
        assert rule.expression is not None
        if _evaluated(rule.expression, {"user": info}, "user validation") is not True:
            raise TokenError(_failed(rule))


def _failed(rule: Rule) -> str:
    assert rule.expression is not None
    reason = f": {rule.message}" if rule.message else ""
    return f"oidc: validation expression '{rule.expression.text}' failed{reason}"


def _texts(expression: Expression, claims: Mapping[str, Any], what: str) -> tuple[str, ...]:
    found = _evaluated(expression, {"claims": claims}, what)
    if found is None or found == "":
        return ()
    values = [found] if isinstance(found, str) else found
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        text = "expression must return a string or a list of strings"
        raise TokenError(f"oidc: error evaluating {what} claim expression: {text}")
    return tuple(v for v in values if v)


def _evaluated(expression: Expression, variables: Mapping[str, Any], what: str) -> Any:
    try:
        return expression.evaluate(variables)
    except ValueError as e:
        raise TokenError(f"oidc: error evaluating {what} claim expression: {e}") from e


def _not_a_string(value: Any) -> str:
    kinds = {bool: "bool", int: "number", float: "number", dict: "object", list: "array"}
    return f"json: cannot unmarshal {kinds.get(type(value), 'null')} into Go value of type string"
