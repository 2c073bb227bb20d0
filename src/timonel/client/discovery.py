"""What a cluster serves: resources found by plural, singular, short name, kind or `plural.version.group`.

Components that know only built-in resources take `builtin()`, which costs no request. Tools, and whoever must know
custom resources, ask the cluster with `discover`.

Upstream: client-go restmapper/{discovery,shortcut}.go.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from timonel.client.transport import Resource, Transport
from timonel.machinery.errors import NotFound, ServiceUnavailable, StatusError
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    resource: Resource
    kind: str
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return (
            f"{self.resource.group}/{self.resource.version}" if self.resource.group else self.resource.version
        )


class UnknownResource(Exception):
    """The cluster serves nothing by that name."""

    def __init__(self, text: str) -> None:
        super().__init__(f'the server doesn\'t have a resource type "{text}"')
        self.text = text


def split_api_version(api_version: str) -> tuple[str, str]:
    group, _, version = api_version.rpartition("/")
    return group, version


_VERSION = re.compile(r"^v(\d+)(?:(alpha|beta)(\d+))?$")


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sorts versions the most preferred first: v2, v1, v1beta2, v1beta1, v1alpha1, others."""
    match = _VERSION.match(version)
    if match is None:
        return (3, 0, 0, version)
    major, stage, minor = match.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), "")


class ResourceIndex:
    """Looks resources up. Given in order of preference: an earlier one wins among those with the same name.

    What a cluster serves may change: `become` takes over another index, and tells the listeners.
    """

    def __init__(
        self, infos: Iterable[ResourceInfo] = (), *, failed_groups: Mapping[str, str] | None = None
    ) -> None:
        self.listeners: list[Callable[[], None]] = []
        self._fill(infos, failed_groups or {})

    def _fill(self, infos: Iterable[ResourceInfo], failed_groups: Mapping[str, str]) -> None:
        self._infos = tuple(infos)
        self.failed_groups = dict(failed_groups)  # group/version -> why it could not be asked
        self._by_name: dict[str, ResourceInfo] = {}
        self._by_kind: dict[tuple[str, str], ResourceInfo] = {}
        self._found: dict[str, Resource] = {}
        for names in (_plurals, _singulars, _shorts):
            for info in self._infos:
                for name in names(info):
                    for form in _forms(name.lower(), info.resource):
                        self._by_name.setdefault(form, info)
        for info in self._infos:
            self._by_kind.setdefault((info.api_version, info.kind), info)

    def become(self, other: ResourceIndex) -> None:
        if (self._infos, self.failed_groups) != (other._infos, other.failed_groups):
            self._fill(other._infos, other.failed_groups)
            for listener in self.listeners:
                listener()

    def __iter__(self) -> Iterator[ResourceInfo]:
        return iter(self._infos)

    def preferred(self) -> list[ResourceInfo]:
        """One version of each resource, and each once although two groups serve it (Events)."""
        seen: dict[tuple[str, str], ResourceInfo] = {}
        for info in self._infos:
            seen.setdefault((info.resource.group, info.resource.plural), info)
        return list(seen.values())

    def find(self, text: str) -> ResourceInfo:
        """Raises UnknownResource."""
        info = self._by_name.get(text.lower())
        if info is None:
            raise UnknownResource(text)
        return info

    def resource(self, text: str) -> Resource:
        found = self._found.get(text)
        if found is None:
            found = self._found[text] = self.find(text).resource
        return found

    def by_kind(self, api_version: str, kind: str) -> ResourceInfo | None:
        """Falls back to another version of the group, as a reference outlives the version that it was written in."""
        exact = self._by_kind.get((api_version, kind))
        if exact is not None:
            return exact
        group = split_api_version(api_version)[0]
        return next((i for i in self._infos if i.kind == kind and i.resource.group == group), None)


def _plurals(info: ResourceInfo) -> Iterable[str]:
    return (info.resource.plural,)


def _singulars(info: ResourceInfo) -> Iterable[str]:
    return (info.singular or info.kind, info.kind)


def _shorts(info: ResourceInfo) -> Iterable[str]:
    return info.short_names


def _forms(name: str, resource: Resource) -> Iterable[str]:
    yield name
    if resource.group:
        yield f"{name}.{resource.group}"
    yield f"{name}.{resource.version}.{resource.group}"


_GROUPS_FIRST = ("", "apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io")


def builtin() -> ResourceIndex:
    """The resources that every cluster of this version serves, from the schema; no request is made."""
    from timonel import schema

    infos = [
        ResourceInfo(
            Resource(entry["group"], entry["version"], entry["plural"], entry["namespaced"]),
            entry["kind"],
            verbs=tuple(entry["verbs"]),
            subresources=tuple(entry["subresources"]),
        )
        for entry in schema.load().resource_index
    ]
    return ResourceIndex(sorted(infos, key=_preference))


def _preference(info: ResourceInfo) -> tuple[Any, ...]:
    group = info.resource.group
    rank = _GROUPS_FIRST.index(group) if group in _GROUPS_FIRST else len(_GROUPS_FIRST)
    return (rank, group, version_rank(info.resource.version), info.resource.plural)


async def discover(transport: Transport) -> ResourceIndex:
    """Ask a cluster what it serves. A group that cannot answer (its own server is down) is left out and named."""
    infos: list[ResourceInfo] = []
    failed: dict[str, str] = {}
    versions = ["v1"]
    groups: dict[str, Any] = await transport.raw("GET", "/apis")
    for group in groups.get("groups") or ():
        preferred = group.get("preferredVersion", {}).get("groupVersion")
        served = [v["groupVersion"] for v in group.get("versions") or ()]
        versions += sorted(served, key=partial(operator.ne, preferred))
    for api_version in versions:
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            document = await transport.raw("GET", path)
        except (NotFound, ServiceUnavailable) as exc:
            failed[api_version] = exc.message
        except StatusError as exc:
            if exc.status_code < 500:
                raise
            failed[api_version] = exc.message
        else:
            try:
                infos += parse_resource_list(document)
            except (AttributeError, KeyError, TypeError, ValueError):  # a server behind it may say anything
                failed[api_version] = f"{path} answers something else than a list of resources"
    return ResourceIndex(infos, failed_groups=failed)


def parse_resource_list(document: Mapping[str, Any]) -> list[ResourceInfo]:
    """The resources of an APIResourceList, each with its subresources."""
    group, version = split_api_version(document["groupVersion"])
    entries: list[Mapping[str, Any]] = document.get("resources") or []
    subresources: dict[str, list[str]] = {}
    for entry in entries:
        plural, slash, sub = entry["name"].partition("/")
        if slash:
            subresources.setdefault(plural, []).append(sub)
    return [
        ResourceInfo(
            Resource(group, version, entry["name"], entry["namespaced"]),
            entry["kind"],
            singular=entry.get("singularName", ""),
            short_names=tuple(entry.get("shortNames") or ()),
            categories=tuple(entry.get("categories") or ()),
            verbs=tuple(entry.get("verbs") or ()),
            subresources=tuple(subresources.get(entry["name"], ())),
        )
        for entry in entries
        if "/" not in entry["name"]
    ]
