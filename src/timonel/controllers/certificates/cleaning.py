"""Requests go when nobody needs them any more: a day after nobody has decided, an hour after all is done."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from cryptography import x509

from timonel.control.actions import Delete, Plan
from timonel.control.declare import Cache
from timonel.controllers.certificates import requests
from timonel.objects.meta import Object, key_of, parse_time, uid_of

RESOURCE = "certificatesigningrequests.certificates.k8s.io"
DECIDED, UNDECIDED = 3600.0, 24 * 3600.0


def observe(desired: Object, cache: Cache) -> float:
    return cache.now()


def reconcile(desired: Object, now: float) -> Plan:
    due = min(_ends(desired), default=None)
    if due is None:
        return Plan()
    if now < due:
        return Plan((), due - now)
    return Plan((Delete(RESOURCE, key_of(desired), uid_of(desired)),))


def _ends(csr: Object) -> Iterator[float]:
    """When it may go, for each reason that there is. Upstream: cleaner.go."""
    certificate = requests.certificate_of(csr)
    conditions = requests.conditions_of(csr)
    created = parse_time(csr["metadata"].get("creationTimestamp"))
    decided = False
    for condition in conditions:
        kind = condition.get("type")
        decided = decided or kind in ("Approved", "Denied", "Failed")
        since = parse_time(condition.get("lastUpdateTime"))
        if since is None:
            continue
        if kind in ("Denied", "Failed") or (kind == "Approved" and certificate):
            yield max(since, created or since) + DECIDED  # `kubectl` writes its own time there
    if not decided and created is not None:
        yield created + UNDECIDED
    if certificate and (expires := _expiry(certificate)) is not None:
        yield expires


def _expiry(certificate: str) -> float | None:
    try:
        found = x509.load_pem_x509_certificate(base64.b64decode(certificate))
    except (binascii.Error, ValueError):
        return None
    return found.not_valid_after_utc.timestamp()
