"""Approved requests are signed; one that its signer refuses gets the condition Failed instead."""

from __future__ import annotations

from timonel.control.actions import Plan, Sign, Update
from timonel.control.declare import Cache
from timonel.controllers.certificates import requests
from timonel.objects.meta import Object, format_time

RESOURCE = "certificatesigningrequests.certificates.k8s.io"


def observe(desired: Object, cache: Cache) -> float:
    return cache.now()


def reconcile(desired: Object, now: float) -> Plan:
    if requests.certificate_of(desired) or not requests.has(desired, "Approved"):
        return Plan()
    if requests.has(desired, "Failed") or requests.has(desired, "Denied"):
        return Plan()
    asked = requests.parse(desired)
    if asked is None:
        return Plan()
    problem = requests.problem(desired, asked)
    if problem is None:
        return Plan()
    if problem:
        return Plan((Update(RESOURCE, failed(desired, problem, now), subresource="status"),))
    spec = desired["spec"]
    usages = tuple(spec.get("usages") or ())
    return Plan((Sign(desired, requests.pem_of(desired), usages, spec.get("expirationSeconds")),))


def failed(csr: Object, why: str, now: float) -> Object:
    condition = {
        "type": "Failed",
        "status": "True",
        "reason": "SignerValidationFailure",
        "message": why,
        "lastUpdateTime": format_time(now),
    }
    return {
        **csr,
        "status": {**csr.get("status", {}), "conditions": [*requests.conditions_of(csr), condition]},
    }
