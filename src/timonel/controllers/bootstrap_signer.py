"""The ConfigMap that nodes trust before they trust anything is signed with every bootstrap token that may sign.

A signature is a JSON web signature (HS256, without its payload) of the kubeconfig in kube-public/cluster-info.

Watches   configmaps (kube-public/cluster-info); secrets (of type bootstrap.kubernetes.io/token in kube-system)
Writes    configmaps (kube-public/cluster-info)
Upstream  pkg/controller/bootstrap/{bootstrapsigner,jws,util}.go
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping

from timonel.control.actions import Plan, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Key, Object, is_deleting, key_of, parse_time
from timonel.records import dataclass

TYPE, NAMESPACE = "bootstrap.kubernetes.io/token", "kube-system"
CLUSTER_INFO = Key("kube-public", "cluster-info")
KUBECONFIG, SIGNATURE = "kubeconfig", "jws-kubeconfig-"


@dataclass(frozen=True, slots=True)
class Observed:
    """`tokens`: the secret of each token that may sign, by its id; `expires`: when the first of them ends."""

    tokens: Mapping[str, str]
    expires: float | None
    now: float


def _value(secret: Object, name: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(name, "")).decode()
    except (binascii.Error, ValueError):
        return ""


def _expiry(secret: Object) -> float | None:
    """None where a token has no end; what cannot be read has passed."""
    text = _value(secret, "expiration")
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        return float("-inf")


def observe(desired: Object, cache: Cache) -> Observed:
    now = cache.now()
    tokens: dict[str, str] = {}
    ends: list[float] = []
    for secret in cache.list("secrets", NAMESPACE) if key_of(desired) == CLUSTER_INFO else ():
        id_, value = _value(secret, "token-id"), _value(secret, "token-secret")
        named = secret["metadata"]["name"] == f"bootstrap-token-{id_}"
        if secret.get("type") != TYPE or not named or not id_ or not value or is_deleting(secret):
            continue
        end = _expiry(secret)
        if _value(secret, "usage-bootstrap-signing") != "true" or (end is not None and end <= now):
            continue
        tokens[id_] = value
        ends += [end] if end is not None else []
    return Observed(tokens, min(ends, default=None), now)


def signature(content: str, id_: str, secret: str) -> str:
    header = _encoded(json.dumps({"alg": "HS256", "kid": id_}, separators=(",", ":")).encode())
    signed = f"{header}.{_encoded(content.encode())}".encode()
    return f"{header}..{_encoded(hmac.new(secret.encode(), signed, hashlib.sha256).digest())}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def reconcile(desired: Object, observed: Observed) -> Plan:
    data: dict[str, str] = desired.get("data") or {}
    if key_of(desired) != CLUSTER_INFO or KUBECONFIG not in data:
        return Plan()
    signed = {k: v for k, v in data.items() if not k.startswith(SIGNATURE)}
    for id_, secret in observed.tokens.items():
        signed[SIGNATURE + id_] = signature(data[KUBECONFIG], id_, secret)
    wait = None if observed.expires is None else observed.expires - observed.now
    if signed == data:
        return Plan((), wait)
    return Plan((Update("configmaps", {**desired, "data": signed}),), wait)


def _cluster_info(config: Object, cache: Cache) -> Iterable[Key]:
    return (CLUSTER_INFO,) if key_of(config) == CLUSTER_INFO else ()


def _of_token(secret: Object, cache: Cache) -> Iterable[Key]:
    is_token = secret.get("type") == TYPE and secret["metadata"]["namespace"] == NAMESPACE
    return (CLUSTER_INFO,) if is_token else ()


BOOTSTRAP_SIGNER = ControllerType(
    name="bootstrap-signer",
    watches=(Watch("configmaps", wakes=_cluster_info), Watch("secrets", wakes=_of_token)),
    observe=observe,
    reconcile=reconcile,
    workers=1,
)
