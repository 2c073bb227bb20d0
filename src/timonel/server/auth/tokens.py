"""Bearer tokens: static ones, those of service accounts, bootstrap tokens. A verified token is remembered by its hash.

What a remembered token rests on (its service account, pod, node or secret) is watched: when that goes away or changes
its identity, the token is forgotten and looked at anew, so that it stops working at once.

Upstream: pkg/serviceaccount/{claims,legacy}.go, plugin/pkg/auth/authenticator/token/bootstrap, token/tokenfile.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from timonel.aio.clock import Clock
from timonel.machinery.field import quote
from timonel.objects.meta import Object, labels_of, nested, parse_time
from timonel.records import dataclass
from timonel.server.auth import jwt
from timonel.server.auth.certificates import CREDENTIAL_ID
from timonel.server.auth.verified import Place, TokenError, Verified
from timonel.server.request import Reader, User

LEGACY_ISSUER = "kubernetes/serviceaccount"
EXTENDED_FROM = (
    3607  # what nodes ask for; such tokens live a year, and clients that do not renew them are warned about
)
DAY = 24 * 3600
EXTENDED_LIFE = 365 * DAY
LEEWAY = 60.0  # a deleted object's tokens live this much longer, as its pods are still ending

_REMEMBERED = 10_000
_BOOTSTRAP = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_BOOTSTRAP_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"  # label of a Secret whose token was given up


class Issued(NamedTuple):
    token: str
    expires: float


class Tokens:
    """Issues and verifies the tokens of one cluster. A `verified.TokenAuthenticator` that never waits.

    `legacy_used` is told the namespace and name of each Secret whose token was found good.
    """

    waits = False

    def __init__(
        self,
        *,
        keys: jwt.Keys,
        issuer: str,
        audiences: Sequence[str],
        reader: Reader,
        clock: Clock,
        static: Mapping[str, User] | None = None,
        other_issuers: Sequence[str] = (),
        extend: bool = True,
        legacy_used: Callable[[str, str], None] = lambda namespace, name: None,
    ) -> None:
        self.issuer = issuer
        self.audiences = tuple(audiences)
        self._issuers = (issuer, *other_issuers)
        self._extend = extend
        self._legacy_used = legacy_used
        self.bootstrap_tokens = True
        self._keys = keys
        self._reader = reader
        self._clock = clock
        self._verified: dict[tuple[bytes, tuple[str, ...]], Verified] = {}
        self._resting: dict[Place, set[tuple[bytes, tuple[str, ...]]]] = defaultdict(set)
        self._generation = 0  # counts what was forgotten
        self._static: dict[bytes, User] = {}
        self.replace_static(static or {})
        for resource in ("serviceaccounts", "pods", "secrets", "nodes"):
            self._follow(resource)

    def replace_static(self, static: Mapping[str, User]) -> None:
        """The tokens of a file, by their text."""
        static_now = {_digest(token): user for token, user in static.items()}
        if static_now != self._static:
            self._static = static_now
            self._forget()

    def verified_now(self, token: str, audiences: Sequence[str]) -> Verified | None:
        try:
            return self.verify(token, audiences)
        except TokenError as e:
            if e.detail:
                raise
            return None

    async def verified(self, token: str, audiences: Sequence[str]) -> Verified | None:
        return self.verified_now(token, audiences)

    def verify(self, token: str, audiences: Sequence[str] = ()) -> Verified:
        """Who the token speaks for; raises TokenError."""
        wanted = tuple(audiences) or self.audiences
        key = (_digest(token), wanted)
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
        if self._extend and seconds == EXTENDED_FROM and kind == "Pod" and wanted == list(self.audiences):
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
        return legacy_token(self._keys, account, secret)

    def jwks(self) -> dict[str, Any]:
        return self._keys.jwks()

    def discovery(self, jwks_uri: str) -> dict[str, Any]:
        return jwt.discovery(self.issuer, jwks_uri, self._keys.algorithms())

    # ---- verifying

    def _verify(self, token: str, digest: bytes, wanted: tuple[str, ...]) -> Verified:
        user = self._static.get(digest)
        if user is not None:
            return Verified(user, self._shared(wanted), float("inf"), ())
        bootstrap = _BOOTSTRAP.fullmatch(token)
        if bootstrap is not None and self.bootstrap_tokens:
            return self._bootstrap(bootstrap[1], bootstrap[2], wanted)
        try:
            issuer = jwt.peek(token).get("iss")
            if not isinstance(issuer, str) or issuer not in (*self._issuers, LEGACY_ISSUER):
                raise TokenError
            claims = self._keys.verify(token)
        except jwt.Malformed as e:
            raise TokenError from e
        if issuer == LEGACY_ISSUER:
            return self._legacy(token, claims, wanted)
        return self._bound(Claims.of(claims), wanted)

    def _shared(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """For tokens that name no audience: they are for the API server."""
        shared = tuple(a for a in wanted if a in self.audiences)
        if not shared:
            raise TokenError
        return shared

    def _bound(self, claims: Claims, wanted: tuple[str, ...]) -> Verified:
        now = self._clock.now()
        if now >= claims.expires:
            raise TokenError("service account token has expired")
        if now < claims.not_before - LEEWAY:
            raise TokenError("service account token is not valid yet")
        shared = tuple(a for a in wanted if a in claims.audiences)
        if not shared:
            texts = (" ".join(map(quote, each)) for each in (claims.audiences, wanted))
            raise TokenError("token audiences [{}] is invalid for the target audiences [{}]".format(*texts))
        namespace, references = claims.namespace, claims.references
        account = references.get("serviceaccount", {})
        rests_on = [self._account(namespace, account)]
        extra: dict[str, tuple[str, ...]] = {CREDENTIAL_ID: (f"JTI={claims.id}",)} if claims.id else {}
        for kind, resource in (("secret", "secrets"), ("pod", "pods"), ("node", "nodes")):
            reference = references.get(kind)
            if reference is None:
                continue
            # a pod's token also names its node, for information: it does not end with the node
            if kind != "node" or "pod" not in references:
                place = "" if kind == "node" else namespace
                rests_on.append(self._still_there(resource, place, reference, kind))
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (reference["name"],)
                if reference.get("uid"):
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = (reference["uid"],)
        user = service_account_user(namespace, account.get("name", ""), account.get("uid", ""), extra)
        return Verified(user, shared, claims.expires, tuple(rests_on))

    def _legacy(self, token: str, claims: jwt.Claims, wanted: tuple[str, ...]) -> Verified:
        prefix = "kubernetes.io/serviceaccount"
        named = ("namespace", "service-account.name", "service-account.uid", "secret.name")
        namespace, account, uid, name = (_text(claims.get(f"{prefix}/{key}")) for key in named)
        rests_on = self._account(namespace, {"name": account, "uid": uid})
        secret = self._reader.get("secrets", namespace, name)
        if secret is None or self._is_gone(secret):
            raise TokenError("service account token has been invalidated")
        if not hmac.compare_digest(
            _decoded(nested(secret, "data", "token")), token.encode(errors="surrogateescape")
        ):
            raise TokenError("service account token does not match server's copy")
        if labels_of(secret).get(INVALID_SINCE):
            raise TokenError(
                f"the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked"
                " invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove"
                f" the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )
        self._legacy_used(namespace, name)
        user = service_account_user(namespace, account, uid, {})
        tomorrow = (self._clock.now() // DAY + 1) * DAY  # then its use is to be noted again
        return Verified(user, self._shared(wanted), tomorrow, (rests_on, ("secrets", namespace, name)))

    def _account(self, namespace: str, reference: Mapping[str, str]) -> Place:
        return self._still_there("serviceaccounts", namespace, reference, "service account")

    def _still_there(self, resource: str, namespace: str, reference: Mapping[str, str], kind: str) -> Place:
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
        data = {k: _decoded(v).decode(errors="replace") for k, v in (secret.get("data") or {}).items()}
        expires = float("inf")
        if data.get("expiration"):
            expires = parse_time(data["expiration"]) or float("-inf")  # what cannot be read has passed
        if (
            not hmac.compare_digest(data.get("token-secret", "").encode(), token_secret.encode())
            or data.get("token-id") != token_id
            or data.get("usage-bootstrap-authentication") != "true"
            or self._clock.now() >= expires
            or "deletionTimestamp" in secret["metadata"]
        ):
            raise TokenError
        groups = [g.strip() for g in data.get("auth-extra-groups", "").split(",") if g.strip()]
        if not all(map(_BOOTSTRAP_GROUP.fullmatch, groups)):
            raise TokenError
        user = User(f"system:bootstrap:{token_id}", tuple(sorted({"system:bootstrappers", *groups})))
        return Verified(user, self._shared(wanted), expires, (("secrets", "kube-system", name),))

    # ---- remembering

    def _remember(self, key: tuple[bytes, tuple[str, ...]], found: Verified) -> None:
        if len(self._verified) >= _REMEMBERED:
            self._forget()
        self._verified[key] = found
        for place in found.rests_on:
            self._resting[place].add(key)

    def _forget(self) -> None:
        self._generation += 1
        self._verified.clear()
        self._resting.clear()

    def still(self, token: str) -> Callable[[], Verified | None] | None:
        """How to ask again about a token that has been verified, for as long as nothing was forgotten."""
        found, generation, now = (
            self._verified.get((_digest(token), self.audiences)),
            self._generation,
            self._clock.now,
        )
        if found is None:
            return None
        known, expires = found, found.expires

        def again() -> Verified | None:
            return known if self._generation == generation and now() < expires else None

        return again

    def _follow(self, resource: str) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is None or not self._resting:
                return
            place = (resource, old["metadata"].get("namespace", ""), old["metadata"]["name"])
            if place in self._resting and (new is None or _differs(resource, old, new)):
                self._generation += 1
                for key in self._resting.pop(place):
                    self._verified.pop(key, None)

        self._reader.on_change(resource, changed)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a bound token says. Its signature is good, but what it says may be of another form."""

    expires: float
    not_before: float
    audiences: tuple[str, ...]
    id: str
    namespace: str
    references: Mapping[str, Mapping[str, str]]  # serviceaccount, pod, secret, node

    @classmethod
    def of(cls, claims: jwt.Claims) -> Claims:
        about = claims.get("kubernetes.io")
        about = about if isinstance(about, dict) else {}
        audiences = claims.get("aud")
        references = {
            kind: {key: _text(about[kind].get(key)) for key in ("name", "uid")}
            for kind in ("serviceaccount", "pod", "secret", "node")
            if isinstance(about.get(kind), dict) and about[kind]
        }
        return cls(
            expires=_number(claims.get("exp")),
            not_before=_number(claims.get("nbf")),
            audiences=tuple(map(_text, audiences)) if isinstance(audiences, list) else (_text(audiences),),
            id=_text(claims.get("jti")),
            namespace=_text(about.get("namespace")),
            references=references,
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(value or "")
    except (binascii.Error, ValueError, TypeError):
        return b""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


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


def legacy_token(keys: jwt.Keys, account: Object, secret: Object) -> str:
    """The token of a Secret of type kubernetes.io/service-account-token: no audience, no end."""
    namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
    prefix = "kubernetes.io/serviceaccount"
    return keys.sign(
        {
            "iss": LEGACY_ISSUER,
            f"{prefix}/namespace": namespace,
            f"{prefix}/secret.name": secret["metadata"]["name"],
            f"{prefix}/service-account.name": name,
            f"{prefix}/service-account.uid": account["metadata"]["uid"],
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
    )


def service_account_groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def service_account_user(
    namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]] | None = None
) -> User:
    return User(
        f"system:serviceaccount:{namespace}:{name}", service_account_groups(namespace), uid, dict(extra or {})
    )
