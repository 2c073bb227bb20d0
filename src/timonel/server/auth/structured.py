"""AuthenticationConfiguration and AuthorizationConfiguration files (apiserver.config.k8s.io), read and checked.

Upstream: apiserver/pkg/apis/apiserver/{types.go,validation/validation.go}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from timonel.client.https import Endpoint
from timonel.machinery import errors, field
from timonel.server.auth import durations, jwtclaims, webhook_authorizer
from timonel.server.auth.authn import Anonymous
from timonel.server.auth.expressions import Compiled, claims_expression, request_expression, user_expression
from timonel.server.auth.settings import Authorizer, ConfigError

GROUP = "apiserver.config.k8s.io"
VERSIONS = {
    "AuthenticationConfiguration": ("v1", "v1beta1", "v1alpha1"),
    "AuthorizationConfiguration": ("v1", "v1beta1", "v1alpha1"),
}
MOST_AUTHENTICATORS = 64
TYPES = ("ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook")

_MAIL, _VERIFIED = (re.compile(rf"claims\s*\.\s*\??\s*{name}\b") for name in ("email", "email_verified"))

Causes = list[errors.Cause]


def authentication(document: Any) -> tuple[tuple[jwtclaims.Authenticator, ...], Anonymous | None]:
    """The authenticators of JWTs, and who may be anonymous, if the document says. Raises ConfigError."""
    tree = _tree(document, "AuthenticationConfiguration")
    causes: Causes = []
    entries = _listed(tree, "jwt", "", causes)
    if len(entries) > MOST_AUTHENTICATORS:
        causes.append(field.too_many("jwt", len(entries), MOST_AUTHENTICATORS))
    found: list[jwtclaims.Authenticator] = []
    for index, entry in enumerate(entries):
        path = f"jwt[{index}]"
        issuer = _part(entry, "issuer").get("url", "")
        if issuer in [other.issuer for other in found]:
            causes.append(field.duplicate(f"{path}.issuer.url", issuer))
        found.append(_authenticator(entry, path, causes))
    anonymous = _anonymous(tree.get("anonymous"), causes)
    _refuse(causes)
    return tuple(found), anonymous


def _authenticator(entry: Any, path: str, causes: Causes) -> jwtclaims.Authenticator:
    issuer, mappings = _part(entry, "issuer"), _part(entry, "claimMappings")
    causes += _issuer_causes(issuer, f"{path}.issuer")
    rules = [
        _claim_rule(rule, f"{path}.claimValidationRules[{index}]", causes)
        for index, rule in enumerate(_listed(entry, "claimValidationRules", path, causes))
    ]
    user_rules = []
    for index, rule in enumerate(_listed(entry, "userValidationRules", path, causes)):
        where = f"{path}.userValidationRules[{index}].expression"
        expression = _compiled(user_expression, _text(rule, "expression"), where, causes)
        user_rules.append(jwtclaims.Rule(expression=expression, message=_text(rule, "message")))
    at = f"{path}.claimMappings"
    username = _mapped(mappings, "username", at, causes, prefixed=True)
    if not username.is_given:
        causes.append(field.required(f"{at}.username", "claim or expression is required"))
    extra = tuple(_extra(mappings, at, causes))
    causes += _mail_causes(username, (*(e for _, e in extra), *(r.expression for r in rules)), at)
    return jwtclaims.Authenticator(
        issuer=_text(issuer, "url"),
        audiences=tuple(map(str, issuer.get("audiences") or ())),
        username=username,
        groups=_mapped(mappings, "groups", at, causes, prefixed=True),
        uid=_mapped(mappings, "uid", at, causes, prefixed=False),
        extra=extra,
        claim_rules=tuple(rules),
        user_rules=tuple(user_rules),
        discovery_url=_text(issuer, "discoveryURL"),
        certificate_authority=_text(issuer, "certificateAuthority"),
    )


def _mail_causes(
    username: jwtclaims.Mapped, others: Iterable[jwtclaims.Expression | None], at: str
) -> Iterator[errors.Cause]:
    """Who is known by an address must have proved that it is theirs."""
    if username.expression is None or not _MAIL.search(username.expression.text):
        return
    expressions = (username.expression, *others)
    if not any(_VERIFIED.search(e.text) for e in expressions if e is not None):
        text = (
            "claims.email_verified must be used in claimMappings.username.expression or"
            " claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used"
            " in claimMappings.username.expression"
        )
        yield field.invalid(f"{at}.username.expression", username.expression.text, text)


def _issuer_causes(issuer: Any, path: str) -> Iterator[errors.Cause]:
    yield from _url_causes(_text(issuer, "url"), f"{path}.url", required=True)
    yield from _url_causes(_text(issuer, "discoveryURL"), f"{path}.discoveryURL", required=False)
    if _text(issuer, "discoveryURL") and _text(issuer, "discoveryURL") == _text(issuer, "url"):
        text = "discoveryURL must be different from URL"
        yield field.invalid(f"{path}.discoveryURL", issuer["discoveryURL"], text)
    audiences = issuer.get("audiences") or []
    if not isinstance(audiences, list) or not audiences:
        yield field.required(
            f"{path}.audiences",
            "at least one jwt[0].issuer.audiences is required".replace("jwt[0].issuer", path),
        )
        return
    for index, audience in enumerate(audiences):
        if not audience or not isinstance(audience, str):
            yield field.required(f"{path}.audiences[{index}]", "audience can't be empty")
        elif audience in audiences[:index]:
            yield field.duplicate(f"{path}.audiences[{index}]", audience)
    policy = _text(issuer, "audienceMatchPolicy")
    if len(audiences) > 1 and policy != "MatchAny":
        text = "audienceMatchPolicy must be MatchAny for multiple audiences"
        yield field.invalid(f"{path}.audienceMatchPolicy", policy, text)


def _url_causes(url: str, path: str, *, required: bool) -> Iterator[errors.Cause]:
    if not url:
        if required:
            yield field.required(path, "URL is required")
        return
    try:
        parts = urlsplit(url)
    except ValueError as e:
        yield field.invalid(path, url, str(e))
        return
    if parts.scheme != "https":
        yield field.invalid(path, url, "URL scheme must be https")
    if parts.username is not None:
        yield field.invalid(path, url, "URL must not contain a username or password")
    if parts.query:
        yield field.invalid(path, url, "URL must not contain a query")
    if parts.fragment:
        yield field.invalid(path, url, "URL must not contain a fragment")


def _claim_rule(rule: Any, path: str, causes: Causes) -> jwtclaims.Rule:
    claim, text = _text(rule, "claim"), _text(rule, "expression")
    if claim and text:
        causes.append(field.invalid(path, text, "claim and expression can't both be set"))
    if not claim and not text:
        causes.append(field.required(path, "claim or expression is required"))
    if text:
        expression = _compiled(claims_expression, text, f"{path}.expression", causes)
        return jwtclaims.Rule(expression=expression, message=_text(rule, "message"))
    if _text(rule, "message"):
        causes.append(
            field.invalid(f"{path}.message", rule["message"], "message can't be set when claim is set")
        )
    return jwtclaims.Rule(claim, _text(rule, "requiredValue"))


def _mapped(mappings: Any, name: str, at: str, causes: Causes, *, prefixed: bool) -> jwtclaims.Mapped:
    entry, path = _part(mappings, name), f"{at}.{name}"
    claim, text = _text(entry, "claim"), _text(entry, "expression")
    if claim and text:
        causes.append(field.invalid(path, "", "claim and expression can't both be set"))
    if text:
        if entry.get("prefix") is not None:
            causes.append(
                field.invalid(f"{path}.prefix", entry["prefix"], "prefix can't be set when expression is set")
            )
        return jwtclaims.Mapped(
            expression=_compiled(claims_expression, text, f"{path}.expression", causes, bool_=False)
        )
    if claim and prefixed and entry.get("prefix") is None:
        text = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
        causes.append(field.required(f"{path}.prefix", text))
    return jwtclaims.Mapped(claim, _text(entry, "prefix"))


def _extra(mappings: Any, at: str, causes: Causes) -> Iterator[tuple[str, Compiled]]:
    seen: set[str] = set()
    for index, entry in enumerate(_listed(mappings, "extra", at, causes)):
        path, key = f"{at}.extra[{index}]", _text(entry, "key")
        if not key:
            causes.append(field.required(f"{path}.key"))
        elif "/" not in key:
            causes.append(
                field.invalid(f"{path}.key", key, 'must be a domain-prefixed path (such as "acme.io/foo")')
            )
        elif key != key.lower():
            causes.append(field.invalid(f"{path}.key", key, "must be lowercase"))
        elif key in seen:
            causes.append(field.duplicate(f"{path}.key", key))
        seen.add(key)
        text = _text(entry, "valueExpression")
        if not text:
            causes.append(field.required(f"{path}.valueExpression", "valueExpression is required"))
            continue
        expression = _compiled(claims_expression, text, f"{path}.valueExpression", causes, bool_=False)
        if expression is not None:
            yield key, expression


def _anonymous(tree: Any, causes: Causes) -> Anonymous | None:
    if tree is None:
        return None
    if not isinstance(tree, dict):
        causes.append(field.invalid("anonymous", tree, "must be an object"))
        return None
    conditions = _listed(tree, "conditions", "anonymous", causes)
    if conditions and tree.get("enabled") is not True:
        causes.append(
            field.invalid(
                "anonymous.conditions",
                conditions,
                "enabled should be set to true when conditions are defined",
            )
        )
    return Anonymous(tree.get("enabled") is True, frozenset(_text(c, "path") for c in conditions))


# ---- authorization


def authorization(document: Any, endpoint_of: Callable[[str], Endpoint]) -> tuple[Authorizer, ...]:
    """The authorizers in their order. Raises ConfigError."""
    tree = _tree(document, "AuthorizationConfiguration")
    causes: Causes = []
    entries = _listed(tree, "authorizers", "", causes)
    if not entries:
        causes.append(field.required("authorizers", "at least one authorization mode must be defined"))
    found: list[Authorizer] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        path, type_, name = f"authorizers[{index}]", _text(entry, "type"), _text(entry, "name")
        if type_ not in TYPES:
            causes.append(field.not_supported(f"{path}.type", type_, TYPES))
        elif type_ == "ABAC":
            causes.append(field.not_supported(f"{path}.type", type_, tuple(t for t in TYPES if t != type_)))
        elif type_ != "Webhook" and any(other.type == type_ for other in found):
            causes.append(field.duplicate(f"{path}.type", type_))
        if not name:
            causes.append(field.required(f"{path}.name"))
        elif name in seen:
            causes.append(field.duplicate(f"{path}.name", name))
        seen.add(name)
        if type_ == "Webhook":
            found.append(
                Authorizer(
                    type_, _webhook(_part(entry, "webhook"), name, f"{path}.webhook", causes, endpoint_of)
                )
            )
        else:
            if entry.get("webhook") is not None:
                causes.append(
                    field.invalid(f"{path}.webhook", "non-null", "may only be specified when type=Webhook")
                )
            found.append(Authorizer(type_))
    _refuse(causes)
    return tuple(found)


def _webhook(
    entry: Any, name: str, path: str, causes: Causes, endpoint_of: Callable[[str], Endpoint]
) -> webhook_authorizer.Settings | None:
    timeout = _duration(entry, "timeout", path, causes)
    if timeout is not None and not 0 < timeout <= 30:
        causes.append(field.invalid(f"{path}.timeout", entry.get("timeout"), "must be > 0s and <= 30s"))
    policy = _text(entry, "failurePolicy")
    if policy not in ("NoOpinion", "Deny"):
        causes.append(field.not_supported(f"{path}.failurePolicy", policy, ("Deny", "NoOpinion")))
    version = _text(entry, "subjectAccessReviewVersion")
    if version not in ("v1", "v1beta1"):
        causes.append(field.not_supported(f"{path}.subjectAccessReviewVersion", version, ("v1", "v1beta1")))
    conditions: list[Compiled] = []
    for index, condition in enumerate(_listed(entry, "matchConditions", path, causes)):
        where = f"{path}.matchConditions[{index}].expression"
        compiled = _compiled(request_expression, _text(condition, "expression"), where, causes)
        if compiled is not None:
            conditions.append(compiled)
    if conditions and _text(entry, "matchConditionSubjectAccessReviewVersion") != "v1":
        causes.append(
            field.required(
                f"{path}.matchConditionSubjectAccessReviewVersion",
                "required if match conditions are specified",
            )
        )
    connection = _part(entry, "connectionInfo")
    file = _text(connection, "kubeConfigFile")
    if _text(connection, "type") != "KubeConfigFile" or not file:
        causes.append(
            field.required(
                f"{path}.connectionInfo.kubeConfigFile", "the type KubeConfigFile with a file is supported"
            )
        )
    if causes:
        return None
    authorized, unauthorized = (
        _duration(entry, key, path, causes) for key in ("authorizedTTL", "unauthorizedTTL")
    )
    return webhook_authorizer.Settings(
        endpoint=endpoint_of(file),
        name=name,
        version=version,
        authorized_ttl=webhook_authorizer.AUTHORIZED_TTL if authorized is None else authorized,
        unauthorized_ttl=webhook_authorizer.UNAUTHORIZED_TTL if unauthorized is None else unauthorized,
        timeout=timeout or 30.0,
        denies_on_failure=policy == "Deny",
        conditions=tuple(conditions),
    )


# ---- parts


def _tree(document: Any, kind: str) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise ConfigError(f"expected a document of kind {kind}")
    group, _, version = str(document.get("apiVersion", "")).partition("/")
    if group != GROUP or version not in VERSIONS[kind]:
        raise ConfigError(f'no kind "{kind}" is registered for version "{document.get("apiVersion", "")}"')
    return document


def _refuse(causes: Sequence[errors.Cause]) -> None:
    if causes:
        texts = [str(cause) for cause in causes]
        raise ConfigError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")


def _part(tree: Any, key: str) -> dict[str, Any]:
    found = tree.get(key) if isinstance(tree, dict) else None
    return found if isinstance(found, dict) else {}


def _text(tree: Any, key: str) -> str:
    found = tree.get(key) if isinstance(tree, dict) else None
    return found if isinstance(found, str) else ""


def _listed(tree: Any, key: str, path: str, causes: Causes) -> list[Any]:
    found = tree.get(key) if isinstance(tree, dict) else None
    if found is None:
        return []
    where = f"{path}.{key}" if path else key
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        causes.append(field.invalid(where, found, "must be a list of objects"))
        return []
    return found


def _duration(tree: Any, key: str, path: str, causes: Causes) -> float | None:
    text = _text(tree, key)
    if not text:
        return None
    try:
        return durations.parse(text)
    except ValueError as e:
        causes.append(field.invalid(f"{path}.{key}", text, str(e)))
        return None


def _compiled(
    compile_: Callable[..., Compiled], text: str, path: str, causes: Causes, *, bool_: bool = True
) -> Compiled | None:
    if not text:
        causes.append(field.required(path, "expression is required"))
        return None
    try:
        return compile_(text, truth=bool_)
    except ValueError as e:
        causes.append(field.invalid(path, text, str(e)))
        return None
