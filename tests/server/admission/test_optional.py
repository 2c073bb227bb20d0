"""Plugins that are off unless they are switched on, and the switches."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.server.starting import ADMIN, SCHEME, send
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.server.admission import switches
from timonel.server.app import ApiServer, Config
from timonel.server.auth import jwt
from timonel.server.compose import Settings, compose
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

HERE = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"


@asynccontextmanager
async def switched(enable: Sequence[str], disable: Sequence[str] = ()) -> AsyncIterator[ApiServer]:
    security = SecuritySettings(
        keys=jwt.Keys(jwt.new_key()),
        static_tokens={"secret": ADMIN, "bobs": User("bob")},
        admission=switches.parse(enable, disable),
    )
    made = compose(
        Settings(security, Config()), store=MemoryStore(), scheme=SCHEME, clock=SystemClock(), tls=None
    )
    async with running(made):
        yield made


async def allow_bob(server: ApiServer, resources: list[str], verbs: list[str]) -> None:
    rules = [{"apiGroups": [""], "resources": resources, "verbs": verbs}]
    await send(server, "POST", f"{RBAC}/roles", {"metadata": {"name": "r"}, "rules": rules})
    group = "rbac.authorization.k8s.io"
    binding: dict[str, Any] = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "bob"}],
    }
    await send(server, "POST", f"{RBAC}/rolebindings", binding)


def owned(*, blocks: bool = False) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": "u", "blockOwnerDeletion": blocks}
    return {"metadata": {"name": "m", "ownerReferences": [owner]}}


OWNERS = "OwnerReferencesPermissionEnforcement"


async def test_who_names_an_owner_must_be_allowed_to_delete() -> None:
    async with switched([OWNERS]) as server:
        await allow_bob(server, ["configmaps"], ["create"])

        answer = await send(server, "POST", f"{HERE}/configmaps", owned(), token="bobs")

        assert answer.status == 403
        assert answer.body["message"].startswith(
            'configmaps "m" is forbidden: cannot set an ownerRef on a resource you can\'t delete: '
        )


async def test_who_blocks_an_owners_deletion_must_be_allowed_to_set_its_finalizers() -> None:
    async with switched([OWNERS]) as server:
        await allow_bob(server, ["configmaps"], ["create", "delete"])

        plain = await send(server, "POST", f"{HERE}/configmaps?dryRun=All", owned(), token="bobs")
        blocking = await send(server, "POST", f"{HERE}/configmaps", owned(blocks=True), token="bobs")

        assert (plain.status, blocking.status) == (201, 403)
        assert (
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set"
            in (blocking.body["message"])
        )


async def test_without_the_switch_nobody_looks_at_owners() -> None:
    async with switched([]) as server:
        await allow_bob(server, ["configmaps"], ["create"])

        assert (await send(server, "POST", f"{HERE}/configmaps", owned(), token="bobs")).status == 201


async def test_images_are_always_pulled_and_external_addresses_denied() -> None:
    async with switched(["AlwaysPullImages", "DenyServiceExternalIPs"], ["ServiceAccount"]) as server:
        container = {"name": "c", "image": "i:1", "imagePullPolicy": "Never"}
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
        made = await send(server, "POST", f"{HERE}/pods", pod)
        spec = {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}
        service = await send(server, "POST", f"{HERE}/services", {"metadata": {"name": "s"}, "spec": spec})

        assert made.body["spec"]["containers"][0]["imagePullPolicy"] == "Always"
        assert "serviceAccountName" not in made.body["spec"]
        assert service.body["message"] == "Use of external IPs is denied by admission control."


@pytest.mark.parametrize(
    ("enable", "disable", "told"),
    [
        (["Nonsense"], [], 'enable-admission-plugins plugin "Nonsense" is unknown'),
        ([], ["Nonsense"], 'disable-admission-plugins plugin "Nonsense" is unknown'),
        (
            ["Priority"],
            ["Priority"],
            "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
    ],
)
def test_switches_that_cannot_be_meant(enable: list[str], disable: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        switches.parse(enable, disable)
