"""What every cluster holds from its first moment: namespaces, policy, priority classes, the service of the API itself.

`ensure` compares in memory what there should be with what there is, and writes only the difference: on all starts but
the first that is nothing. Roles grow by what a newer version needs and keep what an administrator added; one whose
autoupdate annotation is not "true" is left alone, as upstream's reconciliation does.

Upstream: pkg/controlplane/{controller/systemnamespaces,reconcilers}, pkg/registry/{rbac,scheduling}/rest/storage_*.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

import orjson

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.objects.meta import Key, Object, annotations_of, format_time, is_deleting, key_of
from timonel.records import dataclass
from timonel.server import addresses
from timonel.server.auth import bootstrap_policy
from timonel.server.auth import rules as rulelib
from timonel.server.auth.frontproxy import HeaderNames
from timonel.server.auth.legacy import TRACKING
from timonel.server.request import Objects, Reader

logger = logging.getLogger(__name__)

KEEP_DELAY = 0.5  # seconds between a deletion and its repair, so that `delete --all` is one
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AUTHENTICATION = "extension-apiserver-authentication"
_KINDS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}
_SLICES, _CIDRS = "endpointslices.discovery.k8s.io", "servicecidrs.networking.k8s.io"
_PRIORITIES = "priorityclasses.scheduling.k8s.io"


@dataclass(frozen=True, slots=True)
class Settings:
    """`service_address` is that of the service `kubernetes`; `address` and `port` are where the server is reached."""

    service_address: str
    service_ranges: tuple[str, ...]
    address: str
    port: int
    client_ca: str = ""  # PEM
    front_proxy_ca: str = ""  # PEM
    now: float = 0.0
    today: str = ""  # 2006-01-02: since when it is noted that tokens of Secrets are used
    header_names: HeaderNames = field(default_factory=HeaderNames)


@dataclass(frozen=True, slots=True)
class _Wanted:
    resource: str
    obj: Object
    # (found, wanted) -> what must change in place, or None where nothing must
    difference: Callable[[Object, Object], Callable[[Object], None] | None]


async def ensure(objects: Objects, reader: Reader, settings: Settings) -> None:
    """Namespaces first; the rest all at once, so that the store commits them together."""
    await _apply(objects, reader, _namespaces())
    await _apply(objects, reader, (*_first_claim(reader, settings), *_policy(), *_cluster_objects(settings)))
    await _apply(objects, reader, _ranges(settings))  # what was made just now is not ready yet


def _first_claim(reader: Reader, settings: Settings) -> Iterator[_Wanted]:
    """The address of the service `kubernetes` is claimed with it; later on that is the allocators' business."""
    owner = Key("default", "kubernetes")
    if reader.get("services", *owner) is None:
        claim = addresses.ip_address(settings.service_address, owner)
        yield _Wanted(addresses.RESOURCE, claim, _leave)


class Keeper:
    """Makes again what must never be missing and was deleted while the server runs: system namespaces, the service
    of the API itself and its endpoints. What servers behind this one must know follows the settings (`changed`)."""

    def __init__(
        self, objects: Objects, reader: Reader, clock: Clock, settings: Callable[[], Settings]
    ) -> None:
        self._objects, self._reader, self._clock, self._settings = objects, reader, clock, settings
        self._missing = asyncio.Event()

    def changed(self) -> None:
        """The settings are others than before."""
        self._missing.set()

    def _wanted(self) -> tuple[_Wanted, ...]:
        settings = self._settings()
        return (*_namespaces(), *_trust(settings), *_kubernetes_service(settings))

    async def run(self) -> None:
        wanted, missing = self._wanted(), self._missing
        for resource in {each.resource for each in wanted}:
            keys = {key_of(each.obj) for each in wanted if each.resource == resource}
            self._reader.on_change(resource, _when_deleted(keys, missing.set))
        while True:
            await missing.wait()
            await self._clock.sleep(KEEP_DELAY)
            missing.clear()
            try:
                await _apply(self._objects, self._reader, self._wanted())
            except* errors.StatusError as failures:
                logger.warning("Could not make a system object again: %s", failures.exceptions[0])
                missing.set()


def _when_deleted(keys: set[Key], then: Callable[[], None]) -> Callable[[Object | None, Object | None], None]:
    def changed(old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and key_of(old) in keys:
            then()

    return changed


async def _apply(objects: Objects, reader: Reader, wanted: Iterable[_Wanted]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in wanted:
            metadata = each.obj["metadata"]
            found = reader.get(each.resource, metadata.get("namespace", ""), metadata["name"])
            if found is None:
                group.create_task(_create(objects, each))
                continue
            change = each.difference(found, each.obj)
            if change is not None:
                group.create_task(_change(objects, each, change))


async def _create(objects: Objects, wanted: _Wanted) -> None:
    try:
        await objects.create(
            wanted.resource, wanted.obj, namespace=wanted.obj["metadata"].get("namespace", "")
        )
    except errors.AlreadyExists:
        return  # the cache was behind: it is there


async def _change(objects: Objects, wanted: _Wanted, change: Callable[[Object], None]) -> None:
    metadata = wanted.obj["metadata"]
    await objects.change(wanted.resource, metadata.get("namespace", ""), metadata["name"], change)


def _leave(found: Object, wanted: Object) -> None:
    return None


def _namespaces() -> Iterator[_Wanted]:
    for name in NAMESPACES:
        yield _Wanted("namespaces", {"metadata": {"name": name}}, _leave)


# ---- policy


def _policy() -> Iterator[_Wanted]:
    for obj in bootstrap_policy.objects():
        is_role = obj["kind"].endswith("Role")
        resource = f"{_KINDS[obj['kind']]}.{bootstrap_policy.GROUP}"
        yield _Wanted(resource, obj, _role_difference if is_role else _binding_difference)


def _role_difference(found: Object, wanted: Object) -> Callable[[Object], None] | None:
    """Rules, selectors of aggregated roles and labels that are missing; what is there beside them stays."""
    if annotations_of(found).get(AUTOUPDATE) != "true":
        return None

    def grow(role: Object) -> None:
        _grow_labels(role, wanted)
        if "aggregationRule" in wanted:  # its rules are the controller's business
            own = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
            missing = [s for s in wanted["aggregationRule"]["clusterRoleSelectors"] if s not in own]
            if missing:
                role["aggregationRule"] = {"clusterRoleSelectors": [*own, *missing]}
            return
        if role.get("rules") == wanted["rules"]:
            return
        uncovered = rulelib.uncovered(role.get("rules") or [], wanted["rules"])
        if uncovered:
            role["rules"] = [*(role.get("rules") or []), *rulelib.compact(uncovered)]

    return _if_it_changes(found, grow)


def _binding_difference(found: Object, wanted: Object) -> Callable[[Object], None] | None:
    """As upstream makes one anew whose role is another, it is a binding of the wanted role in the end."""
    if annotations_of(found).get(AUTOUPDATE) != "true":
        return None

    def grow(binding: Object) -> None:
        _grow_labels(binding, wanted)
        if binding["roleRef"] != wanted["roleRef"]:
            binding["roleRef"] = wanted["roleRef"]
        have: list[Any] = binding.get("subjects") or []
        missing = [s for s in wanted.get("subjects") or () if s not in have]
        if missing:
            binding["subjects"] = [*have, *missing]

    return _if_it_changes(found, grow)


def _grow_labels(obj: Object, wanted: Object) -> None:
    for key in ("labels", "annotations"):
        own = obj["metadata"].get(key) or {}
        missing = {k: v for k, v in (wanted["metadata"].get(key) or {}).items() if k not in own}
        if missing:
            obj["metadata"][key] = {**own, **missing}


def _if_it_changes(found: Object, change: Callable[[Object], None]) -> Callable[[Object], None] | None:
    tried = {**found, "metadata": dict(found["metadata"])}  # `change` replaces what it changes
    change(tried)
    return None if tried == found else change


# ---- the rest


def _cluster_objects(settings: Settings) -> Iterator[_Wanted]:
    for name, value, description in (
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if"
            " necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ):
        priority = {"metadata": {"name": name}, "value": value, "description": description}
        yield _Wanted(_PRIORITIES, priority, _leave)
    yield from _ranges(settings)
    yield from _trust(settings)
    if settings.today:
        metadata = {"name": TRACKING, "namespace": "kube-system"}
        yield _Wanted("configmaps", {"metadata": metadata, "data": {"since": settings.today}}, _leave)
    yield from _kubernetes_service(settings)


def _ranges(settings: Settings) -> Iterator[_Wanted]:
    cidr = {
        "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": list(settings.service_ranges)},
    }
    ready = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": format_time(settings.now),
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }

    def difference(found: Object, wanted: Object) -> Callable[[Object], None] | None:
        if (found.get("status") or {}).get("conditions") or is_deleting(found):
            return None
        return lambda obj: obj.update(status={"conditions": [ready]})

    yield _Wanted(_CIDRS, cidr, difference)


def _trust(settings: Settings) -> Iterator[_Wanted]:
    if settings.client_ca:
        metadata = {"name": AUTHENTICATION, "namespace": "kube-system"}
        trust = {"metadata": metadata, "data": authentication_data(settings)}
        yield _Wanted("configmaps", trust, _replace("data"))


def authentication_data(settings: Settings) -> dict[str, str]:
    """What API servers behind this one must know to believe it. Upstream: clusterauthenticationtrust."""
    found = {"client-ca-file": settings.client_ca}
    if settings.front_proxy_ca:
        names = settings.header_names
        found |= {
            "requestheader-allowed-names": _json(names.allowed),
            "requestheader-client-ca-file": settings.front_proxy_ca,
            "requestheader-extra-headers-prefix": _json(names.extra_prefixes),
            "requestheader-group-headers": _json(names.groups),
            "requestheader-uid-headers": _json(names.uids),
            "requestheader-username-headers": _json(names.users),
        }
    return found


def _json(values: Iterable[str]) -> str:
    return orjson.dumps(list(values)).decode()


def _kubernetes_service(settings: Settings) -> Iterator[_Wanted]:
    family = "IPv6" if ":" in settings.service_address else "IPv4"
    https = {"name": "https", "protocol": "TCP", "port": 443, "targetPort": settings.port}
    service = {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": settings.service_address,
            "clusterIPs": [settings.service_address],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": [family],
            "ipFamilyPolicy": "SingleStack",
            "ports": [https],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }
    yield _Wanted("services", service, _service_difference)
    where = {"name": "kubernetes", "namespace": "default"}
    port = {"name": "https", "port": settings.port, "protocol": "TCP"}
    endpoints = {
        "metadata": {**where, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": settings.address}], "ports": [port]}],
    }
    yield _Wanted("endpoints", endpoints, _replace("subsets"))
    one_slice = {
        "metadata": {**where, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv6" if ":" in settings.address else "IPv4",
        "endpoints": [{"addresses": [settings.address], "conditions": {"ready": True}}],
        "ports": [port],
    }
    yield _Wanted(_SLICES, one_slice, _replace("endpoints", "ports"))


def _service_difference(found: Object, wanted: Object) -> Callable[[Object], None] | None:
    if found["spec"].get("ports") == wanted["spec"]["ports"]:
        return None

    def move(service: Object) -> None:
        service["spec"]["ports"] = wanted["spec"]["ports"]

    return move


def _replace(*keys: str) -> Callable[[Object, Object], Callable[[Object], None] | None]:
    """The difference is in these fields, which belong to the server alone."""

    def difference(found: Object, wanted: Object) -> Callable[[Object], None] | None:
        if all(found.get(key) == wanted[key] for key in keys):
            return None

        def replace(obj: Object) -> None:
            for key in keys:
                obj[key] = wanted[key]

        return replace

    return difference
