"""Bootstrap tokens go when their time is up.

Watches   secrets (of type bootstrap.kubernetes.io/token in kube-system)
Writes    secrets (delete)
Upstream  pkg/controller/bootstrap/tokencleaner.go
"""

from __future__ import annotations

import base64
import binascii

from timonel.control.actions import Delete, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Object, is_deleting, key_of, parse_time, uid_of

TYPE, NAMESPACE = "bootstrap.kubernetes.io/token", "kube-system"


def observe(desired: Object, cache: Cache) -> float:
    return cache.now()


def expiry(secret: Object) -> float | None:
    """When the token ends; None where it does not."""
    encoded = (secret.get("data") or {}).get("expiration")
    if secret.get("type") != TYPE or secret["metadata"]["namespace"] != NAMESPACE or not encoded:
        return None
    try:
        ends = parse_time(base64.b64decode(encoded).decode())
    except (binascii.Error, ValueError):
        ends = None
    return ends if ends is not None else float("-inf")  # what cannot be read has passed


def reconcile(desired: Object, now: float) -> Plan:
    ends = expiry(desired)
    if ends is None or is_deleting(desired):
        return Plan()
    if now < ends:
        return Plan((), ends - now)
    return Plan((Delete("secrets", key_of(desired), uid_of(desired)),))


TOKEN_CLEANER = ControllerType(
    name="token-cleaner",
    watches=(Watch("secrets"),),
    observe=observe,
    reconcile=reconcile,
)
