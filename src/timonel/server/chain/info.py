"""What a request is about: verb, group, version, namespace, resource, subresource, name.

Upstream: apiserver/pkg/endpoints/request/requestinfo.go.
"""

from __future__ import annotations

from dataclasses import field
from urllib.parse import parse_qsl, unquote

from timonel.records import dataclass

VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
NAMESPACE_SUBRESOURCES = ("status", "finalize")
FALSE_WORDS = ("", "0", "false")

Query = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Info:
    method: str
    path: str  # decoded
    verb: str
    query: Query = field(default_factory=dict)
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    rest: str = ""  # what follows the subresource, with its slash
    named: bool = False  # the name stands in the path, not in a field selector

    def first(self, key: str) -> str:
        found = self.query.get(key)
        return found[0] if found else ""


def flag(text: str) -> bool:
    """A boolean query parameter as upstream converts it: only these words are false."""
    return text.lower() not in FALSE_WORDS


def parse(method: str, raw_path: str, raw_query: str) -> Info:
    query: Query = {}
    if raw_query:
        for key, value in parse_qsl(raw_query, keep_blank_values=True):
            query.setdefault(key, []).append(value)
    path = unquote(raw_path)
    verb = method.lower()
    parts = path[1:].rstrip("/").split("/")
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return Info(method, path, verb, query)
    group = ""
    if parts[0] == "apis":
        if len(parts) < 4:
            return Info(method, path, verb, query)
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        version, parts = parts[1], parts[2:]
    verb = VERBS.get(method, "")
    watch_path = parts[0] == "watch" and len(parts) > 1
    if watch_path:
        parts, verb = parts[1:], "watch"
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    resource = parts[0]
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 and not watch_path else ""
    rest = "/" + "/".join(parts[3:]) if len(parts) > 3 else ""
    named = bool(name)
    if not name and verb == "get":
        verb = "watch" if "watch" in query and flag(query["watch"][0]) else "list"
    if not name and verb == "delete":
        verb = "deletecollection"
    if not name and verb in ("list", "watch", "deletecollection"):
        name = name_in_selector(query)
    return Info(
        method, path, verb, query, True, group, version, namespace, resource, subresource, name, rest, named
    )  # fmt: skip


def name_in_selector(query: Query) -> str:
    """`metadata.name=x` alone lets the authorizer decide by name."""
    for term in query.get("fieldSelector", [""])[0].split(","):
        key, _, value = term.replace("==", "=").partition("=")
        if key == "metadata.name" and value and not value.startswith("="):
            return value
    return ""
