"""Bearer tokens: static ones, those of service accounts, bootstrap tokens. A verified token is remembered by its hash.

What a remembered token rests on (its service account, pod, node or secret) is watched: when that goes away or changes
its identity, the token is forgotten and looked at anew, so that it stops working at once.

Upstream: pkg/serviceaccount/{claims,legacy}.go, plugin/pkg/auth/authenticator/token/bootstrap, token/tokenfile.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from timonel.aio.clock import Clock
from timonel.machinery.field import quote
from timonel.objects.meta import Object, nested, parse_time
from timonel.server.auth import jwt
from timonel.server.request import Reader, User

LEGACY_ISSUER = "kubernetes/serviceaccount"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
EXTENDED_FROM = (
    3607  # what nodes ask for; such tokens live a year, and clients that do not renew them are warned about
)
EXTENDED_LIFE = 365 * 24 * 3600
LEEWAY = 60.0  # a deleted object's tokens live this much longer, as its pods are still ending

_REMEMBERED = 10_000
_BOOTSTRAP = re.compile(r"^([a-z0-9]{6})\.([a-z0-9]{16})$")

_Object = tuple[str, str, str]  # resource, namespace, name


class TokenError(Exception):
    """The token is not good; `detail` is empty where it is of no kind that is known here."""

    def __init__(self, detail: str = "") -> None:
        base = "invalid bearer token"
        super().__init__(f"[{base}, {detail}]" if detail else base)


class Verified(NamedTuple):
    user: User
    audiences: tuple[str, ...]  # that the token is for, of those asked for
    expires: float
    rests_on: tuple[_Object, ...]


class Issued(NamedTuple):
    token: str
    expires: float


class Tokens:
    """Issues and verifies the tokens of one cluster."""

    def __init__(
        self,
        *,
        keys: jwt.Keys,
        issuer: str,
        audiences: Sequence[str],
        reader: Reader,
        clock: Clock,
        static: Mapping[str, User] | None = None,
    ) -> None:
        self.issuer = issuer
        self.audiences = tuple(audiences)
        self._keys = keys
        self._reader = reader
        self._clock = clock
        self._static = {
            hashlib.sha256(token.encode()).digest(): user for token, user in (static or {}).items()
        }
        self._verified: dict[tuple[bytes, tuple[str, ...]], Verified] = {}
        self._resting: dict[_Object, set[tuple[bytes, tuple[str, ...]]]] = defaultdict(set)
        for resource in ("serviceaccounts", "pods", "secrets", "nodes"):
            self._follow(resource)

    def verify(self, token: str, audiences: Sequence[str] = ()) -> Verified:
        """Who the token speaks for; raises TokenError."""
        wanted = tuple(audiences) or self.audiences
        key = (hashlib.sha256(token.encode()).digest(), wanted)
        known = self._verified.get(key)
        if known is not None and self._clock.now() < known.expires:
            return known
        found = self._verify(token, key[0], wanted)
        self._remember(key, found)
        return found

    def issue(
        self,
        account: Object,
        *,
        audiences: Sequence[str] = (),
        seconds: int = 3600,
        bound: Object | None = None,
        node: Object | None = None,
    ) -> Issued:
        """A token for a service account; `bound` is the Pod, Node or Secret that it dies with."""
        now = int(self._clock.now())
        about: dict[str, Any] = {"namespace": account["metadata"]["namespace"]}
        expires, wanted = now + seconds, list(audiences) or list(self.audiences)
        if bound is not None:
            about[bound["kind"].lower()] = _reference(bound)
            if node is not None:
                about["node"] = _reference(node)
        about["serviceaccount"] = _reference(account)
        kind = bound["kind"] if bound is not None else ""
        if seconds == EXTENDED_FROM and kind == "Pod" and wanted == list(self.audiences):
            about["warnafter"] = expires
            expires = now + EXTENDED_LIFE
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        token = self._keys.sign(
            {
                "aud": wanted,
                "exp": expires,
                "iat": now,
                "iss": self.issuer,
                "jti": str(uuid.uuid4()),
                "kubernetes.io": about,
                "nbf": now,
                "sub": f"system:serviceaccount:{namespace}:{name}",
            }
        )
        return Issued(token, now + seconds)

    def issue_legacy(self, account: Object, secret: Object) -> str:
        """The token of a Secret of type kubernetes.io/service-account-token: no audience, no end."""
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        prefix = "kubernetes.io/serviceaccount"
        return self._keys.sign(
            {
                "iss": LEGACY_ISSUER,
                f"{prefix}/namespace": namespace,
                f"{prefix}/secret.name": secret["metadata"]["name"],
                f"{prefix}/service-account.name": name,
                f"{prefix}/service-account.uid": account["metadata"]["uid"],
                "sub": f"system:serviceaccount:{namespace}:{name}",
            }
        )

    def jwks(self) -> dict[str, Any]:
        return self._keys.jwks()

    def discovery(self, jwks_uri: str) -> dict[str, Any]:
        return jwt.discovery(self.issuer, jwks_uri, self._keys.algorithms())

    # ---- verifying

    def _verify(self, token: str, digest: bytes, wanted: tuple[str, ...]) -> Verified:
        user = self._static.get(digest)
        if user is not None:
            return Verified(user, self._shared(wanted), float("inf"), ())
        bootstrap = _BOOTSTRAP.match(token)
        if bootstrap is not None:
            return self._bootstrap(bootstrap[1], bootstrap[2], wanted)
        try:
            issuer = jwt.peek(token).get("iss")
            if issuer not in (self.issuer, LEGACY_ISSUER):
                raise TokenError
            claims = self._keys.verify(token)
        except jwt.Malformed as e:
            raise TokenError from e
        return self._legacy(token, claims, wanted) if issuer == LEGACY_ISSUER else self._bound(claims, wanted)

    def _shared(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """For tokens that name no audience: they are for the API server."""
        shared = tuple(a for a in wanted if a in self.audiences)
        if not shared:
            raise TokenError
        return shared

    def _bound(self, claims: jwt.Claims, wanted: tuple[str, ...]) -> Verified:
        now = self._clock.now()
        if now >= claims.get("exp", 0):
            raise TokenError("service account token has expired")
        if now < claims.get("nbf", 0) - LEEWAY:
            raise TokenError("service account token is not valid yet")
        named = claims.get("aud") or []
        shared = tuple(a for a in wanted if a in named)
        if not shared:
            texts = (" ".join(map(quote, each)) for each in (named, wanted))
            raise TokenError("token audiences [{}] is invalid for the target audiences [{}]".format(*texts))
        about = claims.get("kubernetes.io") or {}
        namespace = about.get("namespace", "")
        rests_on = [self._account(namespace, about.get("serviceaccount") or {})]
        extra: dict[str, tuple[str, ...]] = (
            {CREDENTIAL_ID: (f"JTI={claims['jti']}",)} if "jti" in claims else {}
        )
        for kind, resource in (("secret", "secrets"), ("pod", "pods"), ("node", "nodes")):
            reference = about.get(kind)
            if not reference:
                continue
            # a pod's token also names its node, for information: it does not end with the node
            if kind != "node" or "pod" not in about:
                place = "" if kind == "node" else namespace
                rests_on.append(self._still_there(resource, place, reference, kind))
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (reference["name"],)
                if reference.get("uid"):
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = (reference["uid"],)
        user = service_account_user(
            namespace, about["serviceaccount"]["name"], about["serviceaccount"]["uid"], extra
        )
        return Verified(user, shared, float(claims["exp"]), tuple(rests_on))

    def _legacy(self, token: str, claims: jwt.Claims, wanted: tuple[str, ...]) -> Verified:
        prefix = "kubernetes.io/serviceaccount"
        namespace = claims.get(f"{prefix}/namespace", "")
        account = {
            "name": claims.get(f"{prefix}/service-account.name", ""),
            "uid": claims.get(f"{prefix}/service-account.uid", ""),
        }
        rests_on = self._account(namespace, account)
        name = claims.get(f"{prefix}/secret.name", "")
        secret = self._reader.get("secrets", namespace, name)
        if secret is None or self._is_gone(secret):
            raise TokenError("service account token has been invalidated")
        stored = base64.b64decode(nested(secret, "data", "token") or "")
        if not hmac.compare_digest(stored, token.encode()):
            raise TokenError("service account token does not match server's copy")
        user = service_account_user(namespace, account["name"], account["uid"], {})
        where = ("secrets", namespace, name)
        return Verified(user, self._shared(wanted), float("inf"), (rests_on, where))

    def _account(self, namespace: str, reference: Mapping[str, str]) -> _Object:
        return self._still_there("serviceaccounts", namespace, reference, "service account")

    def _still_there(self, resource: str, namespace: str, reference: Mapping[str, str], kind: str) -> _Object:
        name = reference.get("name", "")
        found = self._reader.get(resource, namespace, name)
        if found is None or self._is_gone(found):
            raise TokenError("service account token has been invalidated")
        if found["metadata"]["uid"] != reference.get("uid"):
            raise TokenError(
                f"{kind} UID ({found['metadata']['uid']}) does not match claim ({reference.get('uid', '')})"
            )
        return (resource, namespace, name)

    def _is_gone(self, obj: Object) -> bool:
        deleted = parse_time(obj["metadata"].get("deletionTimestamp"))
        return deleted is not None and deleted + LEEWAY < self._clock.now()

    def _bootstrap(self, token_id: str, token_secret: str, wanted: tuple[str, ...]) -> Verified:
        name = f"bootstrap-token-{token_id}"
        secret = self._reader.get("secrets", "kube-system", name)
        if secret is None or secret.get("type") != "bootstrap.kubernetes.io/token":
            raise TokenError
        data = {
            k: base64.b64decode(v).decode(errors="replace") for k, v in (secret.get("data") or {}).items()
        }
        expires = parse_time(data.get("expiration")) or float("inf")
        if (
            not hmac.compare_digest(data.get("token-secret", ""), token_secret)
            or data.get("token-id") != token_id
            or data.get("usage-bootstrap-authentication") != "true"
            or self._clock.now() >= expires
            or "deletionTimestamp" in secret["metadata"]
        ):
            raise TokenError
        groups = [g.strip() for g in data.get("auth-extra-groups", "").split(",") if g.strip()]
        if any(not g.startswith("system:bootstrappers:") for g in groups):
            raise TokenError
        user = User(f"system:bootstrap:{token_id}", tuple(sorted({"system:bootstrappers", *groups})))
        return Verified(user, self._shared(wanted), expires, (("secrets", "kube-system", name),))

    # ---- remembering

    def _remember(self, key: tuple[bytes, tuple[str, ...]], found: Verified) -> None:
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
            self._resting.clear()
        self._verified[key] = found
        for place in found.rests_on:
            self._resting[place].add(key)

    def _follow(self, resource: str) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is None or not self._resting:
                return
            place = (resource, old["metadata"].get("namespace", ""), old["metadata"]["name"])
            if place in self._resting and (new is None or _differs(resource, old, new)):
                for key in self._resting.pop(place):
                    self._verified.pop(key, None)

        self._reader.on_change(resource, changed)


def _differs(resource: str, old: Object, new: Object) -> bool:
    """Whether a change may end tokens: another identity, a deletion that began, another content of a secret."""
    before, after = old["metadata"], new["metadata"]
    if before.get("uid") != after.get("uid") or "deletionTimestamp" in after:
        return True
    return resource == "secrets" and old.get("data") != new.get("data")


def _reference(obj: Object) -> dict[str, str]:
    found = {"name": obj["metadata"]["name"]}
    if obj["metadata"].get("uid"):
        found["uid"] = obj["metadata"]["uid"]
    return found


def service_account_groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def service_account_user(
    namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]] | None = None
) -> User:
    return User(
        f"system:serviceaccount:{namespace}:{name}", service_account_groups(namespace), uid, dict(extra or {})
    )
