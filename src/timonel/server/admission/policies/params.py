"""The parameters of a binding: objects of any kind that the cluster serves.

Upstream: CollectParams of apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.machinery import selectors
from timonel.objects.meta import Object
from timonel.server.registry import Endpoint, Registry


class BadParams(ValueError):
    """They cannot be found, or must be and are not; the text is upstream's."""


def shown_kind(kind: Object) -> str:
    group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
    return f"{group}/{version}, Kind={kind.get('kind', '')}"


class Params:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def endpoint(self, kind: Object) -> Endpoint | None:
        group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
        name = kind.get("kind")
        return next(
            (
                e
                for e in self._registry.served()
                if (e.rtype.group, e.rtype.version, e.rtype.kind) == (group, version, name)
            ),
            None,
        )

    async def of(self, kind: Object | None, ref: Object | None, namespace: str) -> Sequence[Object | None]:
        """One None where the policy takes no parameters; nothing where it does without. Raises BadParams."""
        if kind is None or ref is None:
            return (None,)
        endpoint = self.endpoint(kind)
        if endpoint is None:
            raise BadParams(f"paramKind kind `{shown_kind(kind)}` not known")
        where = ref.get("namespace") or ""
        if endpoint.rtype.namespaced:
            where = where or namespace
            if not where:
                raise BadParams(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif where:
            raise BadParams("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        found = await self._found(endpoint, ref, where)
        if not found and ref.get("parameterNotFoundAction") == "Deny":
            raise BadParams("no params found for policy binding with `Deny` parameterNotFoundAction")
        return found

    async def _found(self, endpoint: Endpoint, ref: Object, namespace: str) -> list[Object]:
        await self._registry.caches.ensure(endpoint.cache)
        entries = endpoint.cache.entries
        if ref.get("name"):
            entry = entries.get(endpoint.kind.key(namespace, ref["name"]))
            return [] if entry is None else [endpoint.obj(entry)]
        selector = selectors.from_label_selector(ref.get("selector") or {})
        prefix = endpoint.kind.prefix + (f"{namespace}/" if namespace else "")
        objects = [endpoint.obj(entry) for entry in endpoint.cache.select(prefix)]
        return [obj for obj in objects if selector.matches(obj["metadata"].get("labels"))]
