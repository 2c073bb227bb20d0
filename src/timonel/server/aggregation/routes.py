"""Which group versions another server serves, by the APIServices in the cache; asked for each request.

Upstream: kube-aggregator/pkg/apiserver/apiserver.go (AddAPIService), handler_apis.go.
"""

from __future__ import annotations

from collections.abc import Callable

from timonel.objects.meta import Object
from timonel.server.aggregation.availability import service_of
from timonel.server.aggregation.backend import Backends
from timonel.server.aggregation.proxy import Proxied
from timonel.server.chain.info import Info
from timonel.server.request import Reader

RESOURCE = "apiservices.apiregistration.k8s.io"

GroupVersion = tuple[str, str]


class AggregatedRoutes:
    """`changed` is called whenever an APIService of another server comes, goes or changes."""

    def __init__(self, reader: Reader, backends: Backends, changed: Callable[[], None]) -> None:
        self._backends = backends
        self._changed = changed
        self.elsewhere: dict[GroupVersion, Proxied] = {}
        reader.on_change(RESOURCE, self._follow)

    def of(self, info: Info) -> Proxied | None:
        """Where a request for a resource, or for the list of resources, goes; None: nowhere else."""
        if not self.elsewhere:
            return None
        if info.is_resource:
            return self.elsewhere.get((info.group, info.version))
        parts = info.path.split("/")
        if len(parts) < 4 or parts[1] != "apis":
            return None
        return self.elsewhere.get((parts[2], parts[3]))

    def _follow(self, old: Object | None, new: Object | None) -> None:
        concerns = False
        if old is not None:
            concerns = self.elsewhere.pop(group_version(old), None) is not None
        if new is not None and service_of(new) is not None:
            self.elsewhere[group_version(new)] = Proxied(new, self._backends)
            concerns = True
        if concerns:
            self._changed()


def group_version(api_service: Object) -> GroupVersion:
    spec = api_service["spec"]
    return spec.get("group", ""), spec["version"]
