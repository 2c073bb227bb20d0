"""ServiceAccount: every active namespace has the account `default`.

Watches   namespaces; serviceaccounts (named default)
Writes    serviceaccounts (create)
Upstream  pkg/controller/serviceaccount/serviceaccounts_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Create, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Key, Object, is_deleting, nested

RESOURCE = "serviceaccounts"
NAME = "default"


def observe(desired: Object, cache: Cache) -> Object | None:
    return cache.get(RESOURCE, Key(desired["metadata"]["name"], NAME))


def reconcile(desired: Object, account: Object | None) -> Plan:
    if account is not None or is_deleting(desired) or nested(desired, "status", "phase") == "Terminating":
        return Plan()
    meta = {"name": NAME, "namespace": desired["metadata"]["name"]}
    new = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    return Plan((Create(RESOURCE, new, exists_ok=True),))


def _its_namespace(account: Object, cache: Cache) -> Iterable[Key]:
    if account["metadata"]["name"] != NAME:
        return ()
    return (Key("", account["metadata"]["namespace"]),)


SERVICEACCOUNT = ControllerType(
    name="service-account-controller",
    watches=(Watch("namespaces"), Watch(RESOURCE, wakes=_its_namespace)),
    observe=observe,
    reconcile=reconcile,
)
