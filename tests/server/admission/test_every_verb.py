"""Every way to write meets admission, and shows what upstream shows of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.admission.test_webhooks import Bench, bench_in
from tests.server.starting import send

pytestmark = pytest.mark.looptime(False)

Object = dict[str, Any]
HERE = "/api/v1/namespaces/default"
EVERYTHING = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
MERGE = "application/merge-patch+json"
POD: Object = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        await made.create(f"{HERE}/serviceaccounts", {"metadata": {"name": "default"}})
        await made.create(f"{HERE}/pods", POD)
        await made.create("/api/v1/nodes", {"metadata": {"name": "n"}})
        await made.configure("validating", made.hook("all", rules=[EVERYTHING]))
        yield made


def shown(request: Object) -> tuple[str, str, str, str]:
    """Operation, resource with its subresource, kind, and the kind of the options."""
    resource, kind = request["resource"], request["kind"]
    place = "/".join(filter(None, (resource["resource"], request.get("subResource", ""))))
    return request["operation"], place, kind["kind"], (request["options"] or {}).get("kind", "")


CASES: list[tuple[str, str, Object | None, tuple[str, str, str, str]]] = [
    (
        "POST",
        f"{HERE}/secrets",
        {"metadata": {"name": "s"}},
        ("CREATE", "secrets", "Secret", "CreateOptions"),
    ),
    (
        "PATCH",
        f"{HERE}/pods/p",
        {"metadata": {"labels": {"a": "b"}}},
        ("UPDATE", "pods", "Pod", "UpdateOptions"),
    ),
    (
        "PATCH",
        f"{HERE}/pods/p/status",
        {"status": {"reason": "r"}},
        ("UPDATE", "pods/status", "Pod", "UpdateOptions"),
    ),
    ("DELETE", f"{HERE}/pods/p", None, ("DELETE", "pods", "Pod", "DeleteOptions")),
    ("DELETE", f"{HERE}/pods", None, ("DELETE", "pods", "Pod", "DeleteOptions")),
    (
        "POST",
        f"{HERE}/serviceaccounts/default/token",
        {"spec": {}},
        ("CREATE", "serviceaccounts/token", "TokenRequest", "CreateOptions"),
    ),
    (
        "POST",
        f"{HERE}/pods/p/binding",
        {"metadata": {"name": "p"}, "target": {"name": "n"}},
        ("CREATE", "pods/binding", "Binding", "CreateOptions"),
    ),
    (
        "POST",
        f"{HERE}/pods/p/eviction",
        {"metadata": {"name": "p"}},
        ("CREATE", "pods/eviction", "Eviction", "CreateOptions"),
    ),
    ("POST", f"{HERE}/pods/p/attach?stdin=1", None, ("CONNECT", "pods/attach", "PodAttachOptions", "")),
    ("GET", f"{HERE}/pods/p/proxy/x", None, ("CONNECT", "pods/proxy", "PodProxyOptions", "")),
    (
        "POST",
        f"{HERE}/pods/p/portforward?ports=80",
        None,
        ("CONNECT", "pods/portforward", "PodPortForwardOptions", ""),
    ),
    (
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}},
        ("CREATE", "selfsubjectaccessreviews", "SelfSubjectAccessReview", "CreateOptions"),
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "wanted"), CASES)
async def test_a_write_is_shown_as_upstream_shows_it(
    bench: Bench, method: str, path: str, body: Object | None, wanted: tuple[str, str, str, str]
) -> None:
    content = MERGE if method == "PATCH" else "application/json"

    await send(bench.server, method, path, body, Content_Type=content)

    [(_, request)] = bench.requests
    assert shown(request) == wanted


async def test_a_namespace_is_said_to_be_in_itself(bench: Bench) -> None:
    await bench.create("/api/v1/namespaces", {"metadata": {"name": "new"}})

    [(_, request)] = bench.requests
    assert (request["namespace"], request["name"]) == ("new", "new")


async def test_an_apply_that_creates_is_a_create(bench: Bench) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}
    path = f"{HERE}/configmaps/m?fieldManager=me"
    for _ in range(2):
        await send(bench.server, "PATCH", path, body, Content_Type="application/apply-patch+yaml")

    assert [shown(request)[0] for _, request in bench.requests] == ["CREATE", "UPDATE"]


@pytest.mark.parametrize("path", [f"{HERE}/pods/p", f"{HERE}/pods", f"{HERE}/pods/p/log", "/apis"])
async def test_reads_meet_nobody(bench: Bench, path: str) -> None:
    await send(bench.server, "GET", path)

    assert bench.requests == []
