"""Root CA: every active namespace has the ConfigMap kube-root-ca.crt, by which pods trust the API server.

Watches   namespaces; configmaps (of that name)
Writes    configmaps (create, update)
Upstream  pkg/controller/certificates/rootcacertpublisher/publisher.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Create, Plan, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Key, Object, annotations_of, is_deleting, nested

RESOURCE = "configmaps"
NAME = "kube-root-ca.crt"
DESCRIPTION = "kubernetes.io/description"
TEXT = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


def observe(desired: Object, cache: Cache) -> Object | None:
    return cache.get(RESOURCE, Key(desired["metadata"]["name"], NAME))


def _its_namespace(config_map: Object, cache: Cache) -> Iterable[Key]:
    if config_map["metadata"]["name"] != NAME:
        return ()
    return (Key("", config_map["metadata"]["namespace"]),)


def root_ca_publisher(ca_pem: str) -> ControllerType[Object | None]:
    data = {"ca.crt": ca_pem}

    def reconcile(desired: Object, current: Object | None) -> Plan:
        if is_deleting(desired) or nested(desired, "status", "phase") == "Terminating":
            return Plan()
        if current is None:
            meta = {
                "name": NAME,
                "namespace": desired["metadata"]["name"],
                "annotations": {DESCRIPTION: TEXT},
            }
            new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
            return Plan((Create(RESOURCE, new, exists_ok=True),))
        if current.get("data") == data and annotations_of(current).get(DESCRIPTION):
            return Plan()
        meta = {**current["metadata"], "annotations": {**annotations_of(current), DESCRIPTION: TEXT}}
        return Plan((Update(RESOURCE, {**current, "metadata": meta, "data": data}),))

    return ControllerType(
        name="root-ca-cert-publisher",
        watches=(Watch("namespaces"), Watch(RESOURCE, wakes=_its_namespace)),
        observe=observe,
        reconcile=reconcile,
    )
