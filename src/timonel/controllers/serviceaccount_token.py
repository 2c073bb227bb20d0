"""Service-account token Secrets are filled, and go when their account goes or was replaced by a namesake.

Watches   secrets; serviceaccounts
Writes    secrets (update, delete)
Upstream  pkg/controller/serviceaccount/tokens_controller.go
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from timonel.control.actions import Delete, FillToken, Plan, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Key, Object, annotations_of, is_deleting, key_of, parse_time, uid_of
from timonel.records import dataclass

TYPE = "kubernetes.io/service-account-token"
ACCOUNT = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
# Differs from upstream, which asks the server: a Secret may reach the cache before the account made just before it.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Observed:
    account: Object | None
    now: float


def _account_of(secret: Object) -> str:
    return annotations_of(secret).get(ACCOUNT, "") if secret.get("type") == TYPE else ""


def observe(desired: Object, cache: Cache) -> Observed:
    key = Key(desired["metadata"]["namespace"], _account_of(desired))
    return Observed(cache.get("serviceaccounts", key) if key.name else None, cache.now())


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def serviceaccount_token(ca_pem: str) -> ControllerType[Observed]:
    def reconcile(desired: Object, observed: Observed) -> Plan:
        if not _account_of(desired) or is_deleting(desired):
            return Plan()
        wanted, account = annotations_of(desired).get(ACCOUNT_UID, ""), observed.account
        if account is not None and wanted in ("", uid_of(account)):
            return _filled(desired, account, ca_pem)
        age = observed.now - (parse_time(desired["metadata"].get("creationTimestamp")) or 0.0)
        if age < PATIENCE:
            return Plan((), PATIENCE - age)
        return Plan((Delete("secrets", key_of(desired), uid_of(desired)),))

    return ControllerType(
        name="serviceaccount-token-controller",
        watches=(Watch("secrets"), Watch("serviceaccounts", wakes=_its_secrets)),
        observe=observe,
        reconcile=reconcile,
    )


def _filled(secret: Object, account: Object, ca_pem: str) -> Plan:
    """With the CA, the namespace, the uid of the account, and a token if it has none."""
    data = dict(secret.get("data") or {})
    annotations = annotations_of(secret)
    named = {ACCOUNT: account["metadata"]["name"], ACCOUNT_UID: uid_of(account)}
    if ca_pem:
        data["ca.crt"] = _encoded(ca_pem)
    data["namespace"] = data.get("namespace") or _encoded(account["metadata"]["namespace"])
    is_right = data == (secret.get("data") or {}) and all(annotations.get(k) == v for k, v in named.items())
    if is_right and data.get("token"):
        return Plan()
    metadata = {**secret["metadata"], "annotations": {**annotations, **named}}
    full = {**secret, "metadata": metadata, "data": data}
    return Plan((Update("secrets", full) if data.get("token") else FillToken(full, account),))


def _its_secrets(account: Object, cache: Cache) -> Iterable[Key]:
    namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
    return [key_of(s) for s in cache.list("secrets", namespace) if _account_of(s) == name]
