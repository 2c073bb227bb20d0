"""Requests that are nearly right: valid objects of every kind with something broken, sent by every verb."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from tests.apis.examples import BODIES
from tests.server.starting import SCHEME
from timonel.apis.resource import ResourceType

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, -0.0, 1e308, "", " ", "a",
    "-", "A_B", "0", "-1", "1e9", "1Ki", "100%", "200%", "\x00", "é", "😀", "a" * 254, "a" * 5000, "a/b", "../..", "*",
    "2024-01-01T00:00:00Z", "2024-13-01T00:00:00Z", "::1", "256.1.1.1", "10.0.0.0/99", "$(X)", "{{", "[", [], {},
    [None], [[]], [{}], {"": ""}, {"a": None}, {"$patch": "delete"}, {"$patch": "nosuch"}, {"$retainKeys": 1},
    {"$setElementOrder/containers": "x"}, {"kind": "Secret", "apiVersion": "v1"},
)  # fmt: skip
odd = (
    st.sampled_from(ODD).map(copy.deepcopy)
    | st.text(max_size=20)
    | st.integers()
    | st.floats(allow_nan=False)
)

KINDS = tuple(
    (rtype, BODIES[f"{rtype.api_version}/{rtype.kind}"])
    for rtype in SCHEME.resources
    if f"{rtype.api_version}/{rtype.kind}" in BODIES and rtype.retired is None
)
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
TYPES = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
    "",
    'a/b;q="',
)
QUERIES = (
    "resourceVersion", "resourceVersionMatch", "limit", "continue", "labelSelector", "fieldSelector", "dryRun",
    "fieldManager", "fieldValidation", "force", "pretty", "gracePeriodSeconds", "propagationPolicy", "orphanDependents",
    "allowWatchBookmarks", "sendInitialEvents", "timeout",
)  # fmt: skip
VALUES = (
    "", "0", "1", "-1", "abc", "All", "NotOlderThan", "Exact", "Strict", "true", "false", "a=b", "a in (b,c)",
    "a!=b,!c", "metadata.name=x", "metadata.name!=x,metadata.namespace=y", "=", ",", "in (",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ",    "e30", "99999999999999999999", "Background", "Orphan", "m", "1s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]


def _places(tree: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here] if here else []
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in members:
        found += _places(value, (*here, key))
    return found


def _put(tree: Any, place: tuple[Any, ...], value: Any) -> None:
    for step in place[:-1]:
        tree = tree[step]
    tree[place[-1]] = value


@st.composite
def broken(draw: st.DrawFn, body: dict[str, Any]) -> dict[str, Any]:
    """The body with up to three values replaced, and perhaps a field that nobody knows."""
    tree = copy.deepcopy(body)
    for _ in range(draw(st.integers(0, 3))):
        if places := _places(tree):
            _put(tree, draw(st.sampled_from(places)), draw(odd))
    if draw(st.booleans()):
        tree[draw(st.sampled_from(("spec", "status", "bogus", "metadata", "items")))] = draw(odd)
    return tree


def _bytes(tree: Any) -> bytes:
    try:
        return json.dumps(tree).encode()
    except UnicodeEncodeError:
        return json.dumps(tree, ensure_ascii=True).encode()


@st.composite
def raw(draw: st.DrawFn, tree: Any) -> bytes:
    """The tree as JSON; sometimes cut, doubled or with bytes in between."""
    text = _bytes(tree)
    match draw(st.integers(0, 9)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.binary(max_size=4)) + text[at:]
        case 2:
            return draw(st.binary(max_size=64))
        case 3:
            return b"[" * draw(st.integers(1, 5000)) + text
    return text


operation = st.fixed_dictionaries(
    {
        "op": st.sampled_from(("add", "remove", "replace", "move", "copy", "test", "nosuch", 1)),
        "path": st.sampled_from(
            ("", "/", "/spec", "/metadata/name", "/spec/-", "/data/a~1b", "/a~2", "x", "/spec/0", 7)
        ),
    },
    optional={"value": odd, "from": st.sampled_from(("/spec", "/metadata", "", "/nosuch")), "bogus": odd},
)


@st.composite
def query(draw: st.DrawFn) -> str:
    found = draw(
        st.lists(
            st.tuples(st.sampled_from(QUERIES), st.sampled_from(VALUES) | st.text(max_size=8)), max_size=3
        )
    )
    return "&".join(f"{key}={quote(value)}" for key, value in found)


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    rtype, body = draw(st.sampled_from(KINDS))
    path = collection_of(rtype)
    name = draw(
        st.sampled_from(
            (body.get("metadata", {}).get("name") or "x", "nosuch", quote("a b"), "%00", "..", "a" * 300)
        )
    )
    method = draw(st.sampled_from(("POST", "PUT", "PATCH", "GET", "DELETE", "HEAD", "OPTIONS")))
    content = draw(st.sampled_from(TYPES)) if draw(st.integers(0, 5)) == 0 else "application/json"
    sent: bytes | None = None
    if method in ("POST", "PUT"):
        sent = draw(raw(draw(broken(body))))
    elif method == "PATCH":
        content = draw(st.sampled_from(PATCHES))
        tree = draw(st.lists(operation, max_size=4)) if content == PATCHES[0] else draw(broken(body))
        sent = draw(raw(tree))
    elif method == "DELETE":
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": {"uid": "x"},
            "gracePeriodSeconds": 0,
        }
        sent = draw(raw(draw(broken(options)))) if draw(st.booleans()) else None
    if method != "POST" and draw(st.integers(0, 4)):
        path += f"/{name}" + draw(st.sampled_from(("", "", "", "/status", "/scale", "/nosuch")))
    asked = draw(query())
    accept = draw(
        st.sampled_from(("*/*", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/yaml", "x"))
    )
    return Sent(
        method, f"{path}?{asked}" if asked else path, sent, {"Content-Type": content, "Accept": accept}
    )


def collection_of(rtype: ResourceType) -> str:
    root = f"/apis/{rtype.api_version}" if rtype.group else f"/api/{rtype.version}"
    return f"{root}/namespaces/default/{rtype.plural}" if rtype.namespaced else f"{root}/{rtype.plural}"
