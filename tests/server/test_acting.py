"""Who may only read a pod's subresources must not act through them, whatever method a protocol begins with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.starting import send, started
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
POD = "/api/v1/namespaces/default/pods/p"


async def allow_bob(to: ApiServer, resource: str, verbs: list[str]) -> None:
    rules = [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]
    await send(to, "POST", f"{RBAC}/roles", {"metadata": {"name": "r"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}
    binding: dict[str, Any] = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [subject]}
    await send(to, "POST", f"{RBAC}/rolebindings", binding)


@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward"])
async def test_a_get_that_opens_a_session_needs_the_right_to_create_one(subresource: str) -> None:
    async with started() as to:
        await allow_bob(to, f"pods/{subresource}", ["get"])

        answer = await send(to, "GET", f"{POD}/{subresource}?command=ls&stdout=1", token="bobs")

        assert answer.status == 403
        assert answer.body["message"].startswith(
            f'pods "p" is forbidden: User "bob" cannot create resource "pods/{subresource}"'
        )


@pytest.mark.parametrize(("subresource", "verbs"), [("exec", ["get", "create"]), ("log", ["get"])])
async def test_who_has_the_rights_gets_as_far_as_the_pod(subresource: str, verbs: list[str]) -> None:
    async with started() as to:
        await allow_bob(to, f"pods/{subresource}", verbs)

        answer = await send(to, "GET", f"{POD}/{subresource}?command=ls&stdout=1", token="bobs")

        assert (answer.status, answer.body["message"]) == (404, 'pods "p" not found')
