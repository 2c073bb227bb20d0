"""What is served, for clients to find out: /api, /apis and the lists below them, plain and aggregated.

Documents are made on demand from the registry and remembered until it changes.

Upstream: apiserver/pkg/endpoints/discovery, aggregated discovery v2 (apidiscovery.k8s.io).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson

from timonel.client.discovery import version_rank
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server import negotiate, routes
from timonel.server.chain.info import Info
from timonel.server.exchange import JSON, Request, Response
from timonel.server.negotiate import clauses
from timonel.server.paths import Paths
from timonel.server.registry import Endpoint, Registry
from timonel.server.request import User
from timonel.server.responses import NOT_FOUND_PAGE, YAML, to_yaml

# groups in the order in which clients should try them; others follow
GROUP_ORDER = (
    "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling",
    "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
    "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
)  # fmt: skip
AGGREGATED_GROUP, AGGREGATED_VERSION, AGGREGATED_KIND = "apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"
STREAM_VERBS = ("create", "get")
PROXY_VERBS = ("create", "delete", "get", "patch", "update")
# kind and verbs of subresources that answer with bytes
CONNECTS: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("pods", "attach"): ("PodAttachOptions", STREAM_VERBS),
    ("pods", "exec"): ("PodExecOptions", STREAM_VERBS),
    ("pods", "portforward"): ("PodPortForwardOptions", STREAM_VERBS),
    ("pods", "proxy"): ("PodProxyOptions", PROXY_VERBS),
    ("pods", "log"): ("Pod", ("get",)),
    ("nodes", "proxy"): ("NodeProxyOptions", PROXY_VERBS),
    ("services", "proxy"): ("ServiceProxyOptions", PROXY_VERBS),
}
UPDATE_VERBS = ("get", "patch", "update")
UNSTORED = ("componentstatuses",)

GroupVersions = list[tuple[str, tuple[str, ...]]]  # groups with their versions, in the order to try them


class Elsewhere(Protocol):
    """What other servers serve behind this one (`aggregation.documents`)."""

    def groups(self, own: GroupVersions, *, available: bool, only: str | None = None) -> GroupVersions:
        """Those of this server and of the others; `available`: without what cannot be had now; `only`: of one group."""

    def discovery(self, group: str, version: str) -> Object | None:
        """A version's entry of aggregated discovery; None for what is served here."""


Part = tuple[str, Object, tuple[str, ...]]  # name of a subresource, its group/version/kind, its verbs


def parts(endpoint: Endpoint) -> list[Part]:
    """The subresources as discovery shows them, by name."""
    rtype = endpoint.rtype
    own = {"group": "", "version": "", "kind": rtype.kind}
    found: list[Part] = []
    for name in sorted(endpoint.subresources):
        if name == "scale":
            found.append((name, {"group": "autoscaling", "version": "v1", "kind": "Scale"}, UPDATE_VERBS))
        elif name in endpoint.connects:
            kind, verbs = CONNECTS.get((rtype.plural, name), (rtype.kind, STREAM_VERBS))
            found.append((name, {"group": "", "version": "", "kind": kind}, verbs))
        elif name in endpoint.actions:
            body = endpoint.actions[name].endpoint.rtype
            foreign = (body.group, body.version) != (rtype.group, rtype.version)
            shown = {
                "group": body.group if foreign else "",
                "version": body.version if foreign else "",
                "kind": body.kind,
            }
            found.append((name, shown, ("create",)))
        elif name in endpoint.partials:
            found.append((name, own, tuple(sorted(endpoint.partials[name].verbs))))
        elif name:
            found.append((name, own, UPDATE_VERBS))
    return found


def storage_hash(endpoint: Endpoint) -> str:
    """Names the form that objects are stored in. Upstream: discovery.StorageVersionHash."""
    work = endpoint.work if endpoint.custom is None else endpoint.custom.storage
    digest = hashlib.sha256(f"{work.group}/{work.version}/{work.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def resource_list(endpoints: Iterable[Endpoint], group: str, version: str) -> Object:
    resources: list[Object] = []
    for endpoint in sorted(endpoints, key=lambda e: e.rtype.plural):
        rtype = endpoint.rtype
        shown: Object = {
            "name": rtype.plural,
            "singularName": rtype.singular_name,
            "namespaced": rtype.namespaced,
            "kind": rtype.kind,
            "verbs": sorted(rtype.verbs),
        }
        if rtype.short_names:
            shown["shortNames"] = list(rtype.short_names)
        if rtype.categories:
            shown["categories"] = list(rtype.categories)
        if "list" in rtype.verbs and rtype.plural not in UNSTORED:
            shown["storageVersionHash"] = storage_hash(endpoint)
        resources.append(shown)
        for name, kind, verbs in parts(endpoint):
            part: Object = {
                "name": f"{rtype.plural}/{name}",
                "singularName": "",
                "namespaced": rtype.namespaced,
                "kind": kind["kind"],
                "verbs": list(verbs),
            }
            if kind["version"]:
                part["group"], part["version"] = kind["group"], kind["version"]
            resources.append(part)
    tree: Object = {"kind": "APIResourceList"}
    if group:
        tree["apiVersion"] = "v1"
    tree["groupVersion"] = f"{group}/{version}" if group else version
    tree["resources"] = resources
    return tree


def by_version(registry: Registry) -> dict[tuple[str, str], list[Endpoint]]:
    found: dict[tuple[str, str], list[Endpoint]] = {}
    for endpoint in registry.served():
        found.setdefault((endpoint.rtype.group, endpoint.rtype.version), []).append(endpoint)
    return found


def aggregated(
    registry: Registry, groups: Iterable[tuple[str, tuple[str, ...]]], elsewhere: Elsewhere | None = None
) -> Object:
    items = []
    found = by_version(registry)
    for group, versions in groups:
        shown = []
        for version in versions:
            foreign = elsewhere.discovery(group, version) if elsewhere is not None else None
            if foreign is not None:
                shown.append(foreign)
                continue
            endpoints = sorted(found.get((group, version), ()), key=lambda e: e.rtype.plural)
            resources = [_aggregated_resource(e) for e in endpoints]
            shown.append({"version": version, "resources": resources, "freshness": "Current"})
        metadata = {"name": group} if group else {}
        items.append({"metadata": metadata, "versions": shown})
    api_version = f"{AGGREGATED_GROUP}/{AGGREGATED_VERSION}"
    return {"kind": AGGREGATED_KIND, "apiVersion": api_version, "metadata": {}, "items": items}


def _aggregated_resource(endpoint: Endpoint) -> Object:
    rtype = endpoint.rtype
    shown: Object = {
        "resource": rtype.plural,
        "responseKind": {"group": "", "version": "", "kind": rtype.kind},
        "scope": "Namespaced" if rtype.namespaced else "Cluster",
        "singularResource": rtype.singular_name,
        "verbs": sorted(rtype.verbs),
    }
    if rtype.short_names:
        shown["shortNames"] = list(rtype.short_names)
    if rtype.categories:
        shown["categories"] = list(rtype.categories)
    below = [
        {"subresource": name, "responseKind": kind, "verbs": list(verbs)}
        for name, kind, verbs in parts(endpoint)
    ]
    if below:
        shown["subresources"] = below
    return shown


def group_versions(registry: Registry) -> list[tuple[str, tuple[str, ...]]]:
    """Named groups with their versions, the preferred one first. Retired versions come last."""
    found: dict[str, dict[str, bool]] = {}
    for endpoint in registry.served():
        rtype = endpoint.rtype
        if rtype.group:
            versions = found.setdefault(rtype.group, {})
            versions[rtype.version] = versions.get(rtype.version, True) and rtype.retired is not None
    order = {group: n for n, group in enumerate(GROUP_ORDER)}
    groups = sorted(found, key=lambda g: (order.get(g, len(order)), g))
    return [(g, tuple(sorted(found[g], key=lambda v: (found[g][v], version_rank(v))))) for g in groups]


def api_group(group: str, versions: tuple[str, ...]) -> Object:
    shown = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions]
    return {"name": group, "versions": shown, "preferredVersion": shown[0]}


@dataclass(frozen=True, slots=True)
class Tagged:
    """A document as JSON, and its ETag."""

    text: bytes
    tag: bytes

    @classmethod
    def of(cls, tree: Object) -> Tagged:
        text = orjson.dumps(tree, option=orjson.OPT_APPEND_NEWLINE)
        return cls(text, hashlib.sha512(text).hexdigest().upper().encode())


class Discovery:
    def __init__(
        self,
        registry: Registry,
        paths: Paths,
        address: Callable[[], str],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._registry = registry
        self._elsewhere = elsewhere
        self._paths = paths
        self._address = address
        self._of: tuple[int, dict[str, Tagged]] = (0, {})  # what was made of the registry's generation
        self._own: tuple[int, GroupVersions] = (-1, [])  # likewise

    def _kept(self, name: str, make: Callable[[], Object]) -> Tagged:
        """Aggregated documents are long, and asked for again and again."""
        generation, documents = self._of
        if generation != self._registry.generation:
            self._of = (self._registry.generation, documents := {})
        found = documents.get(name)
        if found is None:
            found = documents[name] = Tagged.of(make())
        return found

    def add_to(self, paths: Paths) -> None:
        paths.add("/", self.root)
        paths.add("/api", self.api)
        paths.add("/apis", self.apis)
        paths.add("/apis/", self.below_apis)
        paths.add("/api/", self.below_api)

    def _groups(self, *, available: bool = True, only: str | None = None) -> GroupVersions:
        """With `only`, that one group, if there is such a group."""
        own = self._own_groups()
        if only is not None:
            own = [entry for entry in own if entry[0] == only]
        return own if self._elsewhere is None else self._elsewhere.groups(own, available=available, only=only)

    def _own_groups(self) -> GroupVersions:
        generation, groups = self._own
        if generation != self._registry.generation:
            groups = group_versions(self._registry)
            self._own = (self._registry.generation, groups)
        return groups

    def _addresses(self) -> list[Object]:
        return [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address()}]

    async def root(self, request: Request, info: Info, user: User) -> Response:
        groups = self._groups()
        own = {"/api", "/api/v1", "/apis", "/apis/", *self._paths.listed()} - {"/"}
        own |= {f"/apis/{g}" for g, _ in groups} | {f"/apis/{g}/{v}" for g, vs in groups for v in vs}
        return Response(200, orjson.dumps({"paths": sorted(own)}, option=orjson.OPT_INDENT_2))

    async def api(self, request: Request, info: Info, user: User) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise routes.not_allowed()
        plain = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": self._addresses()}
        return self._either(
            request, plain, lambda: self._kept("", lambda: aggregated(self._registry, [("", ("v1",))]))
        )

    async def apis(self, request: Request, info: Info, user: User) -> Response:
        shown = [api_group(g, vs) for g, vs in self._groups()]
        plain = {"kind": "APIGroupList", "apiVersion": "v1", "groups": shown}
        return self._either(request, plain, lambda: self._kept("named", self._named))

    def _named(self) -> Object:
        return aggregated(self._registry, self._groups(available=False), self._elsewhere)

    async def below_api(self, request: Request, info: Info, user: User) -> Response:
        if info.path.rstrip("/") != "/api/v1":
            raise routes.unknown()
        return self._plain(request, self._resources("", "v1"))

    async def below_apis(self, request: Request, info: Info, user: User) -> Response:
        steps = info.path.strip("/").split("/")
        versions = dict(self._groups(only=steps[1])).get(steps[1])
        if versions is None:
            return NOT_FOUND_PAGE
        if len(steps) == 2:
            tree = {"kind": "APIGroup", "apiVersion": "v1", **api_group(steps[1], versions)}
            return self._plain(request, tree)
        if len(steps) > 3 or steps[2] not in versions:
            raise routes.unknown()
        return self._plain(request, self._resources(steps[1], steps[2]))

    def _resources(self, group: str, version: str) -> Object:
        endpoints = [
            e for e in self._registry.served() if (e.rtype.group, e.rtype.version) == (group, version)
        ]
        return resource_list(endpoints, group, version)

    def _plain(self, request: Request, tree: Object) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise routes.not_allowed()
        form = negotiate.negotiate(request.header(b"accept"), transforms=False)
        return _written(tree, form.yaml, JSON)

    def _either(self, request: Request, plain: Any, document: Callable[[], Tagged]) -> Response:
        """Aggregated where the client accepts it, else plain."""
        accept = request.header(b"accept")
        transforms = False
        for clause in clauses(accept):
            if clause.media not in ("application/json", "application/yaml", "*/*", "application/*"):
                continue
            wanted = clause.params.get("as")
            if wanted is None:
                return _written(plain, clause.media == "application/yaml", JSON)
            transforms = True
            version = clause.params.get("v")
            if (wanted, clause.params.get("g"), version) == (
                AGGREGATED_KIND,
                AGGREGATED_GROUP,
                AGGREGATED_VERSION,
            ):
                kind = b"application/%b;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
                in_yaml = clause.media == "application/yaml"
                return _tagged(request, document(), in_yaml, kind % (b"yaml" if in_yaml else b"json"))
        if transforms:
            raise errors.NotAcceptable(f"only the following media types are accepted: {negotiate.ACCEPTED}")
        form = negotiate.negotiate(accept)
        return _written(plain, form.yaml, JSON)


def _tagged(request: Request, document: Tagged, in_yaml: bool, content_type: bytes) -> Response:
    tag = document.tag
    headers = ((b"Vary", b"Accept"), (b"ETag", b'"%b"' % tag), (b"Cache-Control", b"public"))
    if tag in request.header(b"if-none-match").encode():
        return Response(304, b"", b"", headers)
    if in_yaml:
        return Response(200, to_yaml(orjson.loads(document.text)), content_type, headers)
    return Response(200, document.text, content_type, headers)


def _written(tree: Any, in_yaml: bool, content_type: bytes) -> Response:
    headers = ((b"Vary", b"Accept"),)
    if in_yaml:
        content = YAML if content_type == JSON else content_type
        return Response(200, to_yaml(tree), content, headers)
    return Response(200, orjson.dumps(tree, option=orjson.OPT_APPEND_NEWLINE), content_type, headers)


def add_to(
    paths: Paths, registry: Registry, address: Callable[[], str], elsewhere: Elsewhere | None = None
) -> None:
    Discovery(registry, paths, address, elsewhere).add_to(paths)
