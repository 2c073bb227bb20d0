"""What the servers behind this one say about themselves, merged into discovery and OpenAPI.

Their documents are read with each check that finds them available (`watcher`); what a server said last stays, marked as
stale, while it cannot be reached.

Upstream: kube-aggregator/pkg/apiserver/handler_discovery.go, pkg/controllers/openapi{,v3}/aggregator.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import field
from typing import Any

import orjson

from timonel.aio.clock import Clock, deadline
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.aggregation import availability, priorities, specs
from timonel.server.aggregation.backend import Backends, identity
from timonel.server.aggregation.routes import RESOURCE, AggregatedRoutes, GroupVersion, group_version
from timonel.server.aggregation.watcher import AGGREGATOR
from timonel.server.outbound import Unresolved
from timonel.server.request import Reader
from timonel.server.subresources.nodes import Unreachable, body_of, send

logger = logging.getLogger(__name__)

TIMEOUT = 5.0
MOST = 32 << 20  # bytes of a document
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Refused(Exception):
    """The server cannot be asked, or answers something else than the document."""


@dataclass(slots=True)
class Said:
    """What one server said last about one group version."""

    discovery: Object | None = None  # an entry of APIGroupDiscoveryList.items[].versions
    v3: Any = None  # an entry of paths of /openapi/v3
    v2: Any = field(default=None, repr=False)


class Documents:
    """`changed` is called when a server says something else than before."""

    def __init__(
        self,
        reader: Reader,
        routes: AggregatedRoutes,
        backends: Backends,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._reader, self._routes, self._backends, self._clock = reader, routes, backends, clock
        self._changed = changed
        self._said: dict[GroupVersion, Said] = {}
        self._wanted: set[str] = set()
        self._some = asyncio.Event()

    def seen(self, name: str) -> None:
        """A check of this APIService has passed: read what its server says."""
        self._wanted.add(name)
        self._some.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            wanted, self._wanted = self._wanted, set()
            for key in [k for k in self._said if k not in self._routes.elsewhere]:
                del self._said[key]
            for name in sorted(wanted):
                api_service = self._reader.get(RESOURCE, "", name)
                if api_service is not None and availability.service_of(api_service) is not None:
                    await self._read(api_service)

    async def _read(self, api_service: Object) -> None:
        key = group_version(api_service)
        said = self._said.setdefault(key, Said())
        try:
            found = await self._discovery(api_service, *key)
        except Refused as e:
            logger.warning("Could not read what an aggregated server serves: %s", e)
        except (AttributeError, KeyError, TypeError, ValueError) as e:  # it may say anything
            logger.warning("An aggregated server describes itself in an unknown form: %r", e)
        else:
            if found != said.discovery:
                said.discovery = found
                self._changed()
        at = f"apis/{key[0]}/{key[1]}"
        for what, path in (("v3", "/openapi/v3"), ("v2", "/openapi/v2")):
            try:
                document = await self._get(api_service, path)
            except Refused:
                continue  # not every server has one
            if what == "v3":
                paths = document.get("paths")
                said.v3 = paths.get(at) if isinstance(paths, dict) else None
            else:
                said.v2 = specs.of_group_version(document, *key)

    async def _discovery(self, api_service: Object, group: str, version: str) -> Object:
        """The entry of a version. Servers that know no aggregated discovery are asked for their list of resources."""
        try:
            found = await self._get(api_service, "/apis", AGGREGATED)
        except Refused:
            found = {}
        for item in found.get("items") or ():
            if isinstance(item, dict) and (item.get("metadata") or {}).get("name") == group:
                for entry in item.get("versions") or ():
                    if isinstance(entry, dict) and entry.get("version") == version:
                        return {"version": version, "resources": entry.get("resources") or []}
        return of_resource_list(await self._get(api_service, f"/apis/{group}/{version}"), group, version)

    async def _get(self, api_service: Object, path: str, accept: str = "application/json") -> Any:
        try:
            async with deadline(self._clock, TIMEOUT):
                address = self._backends.address(api_service)
                backend = await self._backends.connect(api_service, address)
                try:
                    headers = [("Host", address.shown), ("Accept", accept), ("Connection", "close")]
                    head = await send(backend, "GET", path, [*headers, *identity(AGGREGATOR)])
                    body = bytearray()
                    async for part in body_of(backend, head):
                        body += part
                        if len(body) > MOST:
                            raise Refused(f"{path} is too large")
                finally:
                    backend.close()
        except (TimeoutError, OSError, Unreachable, Unresolved, ValueError) as e:
            raise Refused(f"{path}: {e}") from e
        if head.status != 200:
            raise Refused(f"{path}: status {head.status}")
        try:
            found = orjson.loads(bytes(body))
        except orjson.JSONDecodeError as e:
            raise Refused(f"{path}: {e}") from e
        if not isinstance(found, dict):
            raise Refused(f"{path}: not an object")
        return found

    # ---- for discovery

    def groups(
        self, own: list[tuple[str, tuple[str, ...]]], *, available: bool, only: str | None = None
    ) -> list[tuple[str, tuple[str, ...]]]:
        """`own` groups and those of others (only what is available, if asked), as clients should try them.

        `only` names one group, to which `own` is restricted already.
        """
        others = [
            proxied.api_service
            for (group, _), proxied in self._routes.elsewhere.items()
            if only is None or group == only
        ]
        if not others:
            return own
        if available:
            others = [o for o in others if availability.is_available(o)]
        return _merged(own, others, self._reader)

    def available(self, group: str, version: str) -> bool | None:
        """None: served here."""
        proxied = self._routes.elsewhere.get((group, version))
        return None if proxied is None else availability.is_available(proxied.api_service)

    def discovery(self, group: str, version: str) -> Object | None:
        """The entry of a version that another server serves; None for those that are served here."""
        if (group, version) not in self._routes.elsewhere:
            return None
        said = self._said.get((group, version))
        known = said.discovery if said is not None else None
        if known is None:
            return {"version": version, "freshness": "Stale"}
        freshness = "Current" if self.available(group, version) else "Stale"
        return {**known, "freshness": freshness}

    # ---- for OpenAPI

    def v3_paths(self) -> dict[str, Any]:
        """Entries of the index, by `apis/GROUP/VERSION`."""
        return {
            f"apis/{group}/{version}": said.v3
            for (group, version), said in self._said.items()
            if isinstance(said.v3, dict) and (group, version) in self._routes.elsewhere
        }

    def v2_merged(self, own: bytes) -> bytes:
        """With the paths and definitions of the others; where both say something, this server is right."""
        others = [said.v2 for key, said in self._said.items() if said.v2 and key in self._routes.elsewhere]
        if not others:
            return own
        tree = orjson.loads(own)
        for key in ("definitions", "paths"):
            for other in others:
                for name, value in (other.get(key) or {}).items():
                    tree[key].setdefault(name, value)
        return orjson.dumps(tree)

    async def v3(self, group: str, version: str) -> bytes | None:
        """The document of a version that another server serves, from there; None for others. Raises StatusError."""
        proxied = self._routes.elsewhere.get((group, version))
        if proxied is None:
            return None
        try:
            return orjson.dumps(await self._get(proxied.api_service, f"/openapi/v3/apis/{group}/{version}"))
        except Refused as e:
            raise errors.ServiceUnavailable(f"error trying to reach service: {e}") from e


def _merged(
    own: list[tuple[str, tuple[str, ...]]], others: list[Object], reader: Reader
) -> list[tuple[str, tuple[str, ...]]]:
    """By the priorities of all APIServices; those of groups that have none yet are as they would be made."""
    stand_ins: dict[GroupVersion, Object] = {}
    for group, versions in own:
        for version in versions:
            found = reader.get(RESOURCE, "", priorities.name_of(group, version))
            if found is not None and availability.service_of(found) is not None:
                continue
            stand_ins[group, version] = found or priorities.local(
                group, version, managed="", priorities=priorities.of_built_in(group, version)
            )
    stand_ins |= {group_version(o): o for o in others}
    ordered = list(priorities.in_order(stand_ins.values()))
    first = [entry for entry in ordered if entry[0] == priorities.OWN_GROUP]
    return first + [entry for entry in ordered if entry[0] != priorities.OWN_GROUP]


def of_resource_list(document: Any, group: str, version: str) -> Object:
    """An APIResourceList as an entry of aggregated discovery."""
    resources: dict[str, Object] = {}
    listed = [
        r for r in document.get("resources") or () if isinstance(r, dict) and isinstance(r.get("name"), str)
    ]
    for entry in sorted(listed, key=lambda r: "/" in r["name"]):
        name, _, part = entry["name"].partition("/")
        kind = {
            "group": entry.get("group") or group,
            "version": entry.get("version") or version,
            "kind": entry.get("kind", ""),
        }
        verbs = entry.get("verbs") or []
        if part:
            owner = resources.setdefault(name, {"resource": name, "scope": "Cluster"})
            owner.setdefault("subresources", []).append(
                {"subresource": part, "responseKind": kind, "verbs": verbs}
            )
            continue
        resources[name] = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName", ""),
            "verbs": verbs,
            **{key: entry[key] for key in ("shortNames", "categories") if entry.get(key)},
        }
    return {"version": version, "resources": list(resources.values())}
