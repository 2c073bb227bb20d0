"""Requests of nodes for their client certificate are approved, if who asks may ask for it."""

from __future__ import annotations

from timonel.control.actions import Approve, Plan
from timonel.control.declare import Cache
from timonel.controllers.certificates import requests
from timonel.objects.meta import Object

SELF = "Auto approving self kubelet client certificate after SubjectAccessReview."
AGAIN = 60.0  # seconds; who asked may be allowed to later
OTHER = "Auto approving kubelet client certificate after SubjectAccessReview."


def observe(desired: Object, cache: Cache) -> None:
    """The request says all there is to know."""


def reconcile(desired: Object, observed: None) -> Plan:
    if requests.certificate_of(desired) or any(requests.has(desired, k) for k in ("Approved", "Denied")):
        return Plan()
    if desired["spec"].get("signerName") != requests.NODE_CLIENT:
        return Plan()
    asked = requests.parse(desired)
    if asked is None or requests.node_client_problem(asked, desired["spec"].get("usages") or ()):
        return Plan()
    questions: tuple[tuple[str, str], ...] = (("nodeclient", OTHER),)
    if desired["spec"].get("username") == asked.name:
        questions = (("selfnodeclient", SELF), *questions)
    return Plan((Approve(desired, questions),), AGAIN)
