"""Bootstrap tokens that sign, and tokens of accounts that nobody uses."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from tests.controllers.world import START, World, pod
from timonel.controllers.bootstrap_signer import BOOTSTRAP_SIGNER
from timonel.controllers.legacy_serviceaccount_token_cleaner import (
    DAY,
    LEGACY_SERVICEACCOUNT_TOKEN_CLEANER,
    TRACKING,
    secrets_of,
)
from timonel.objects.meta import Key, Object, format_time

YEAR = 365 * DAY


def token(id_: str, secret: str = "0123456789abcdef", **data: str) -> Object:
    data = {"token-id": id_, "token-secret": secret, "usage-bootstrap-signing": "true", **data}
    return {
        "metadata": {"name": f"bootstrap-token-{id_}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }


def cluster_info(**data: str) -> Object:
    return {
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": "who", **data},
    }


def signed(world: World) -> dict[str, str]:
    config = world.get("configmaps", Key("kube-public", "cluster-info"))
    assert config is not None
    return {k: v for k, v in config["data"].items() if k != "kubeconfig"}


def test_every_token_that_may_sign_does() -> None:
    world = World(
        ("configmaps", cluster_info(**{"jws-kubeconfig-gone00": "old"})),
        ("secrets", token("abcdef")),
        ("secrets", token("silent", **{"usage-bootstrap-signing": "false"})),
        ("secrets", token("ended0", expiration=format_time(START - 1))),
    )
    world.settle(BOOTSTRAP_SIGNER)

    (name, text), *others = signed(world).items()
    assert (name, others) == ("jws-kubeconfig-abcdef", [])
    header, payload, mac = text.split(".")
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","kid":"abcdef"}'
    assert payload == ""
    body = f"{header}.{base64.urlsafe_b64encode(b'who').rstrip(b'=').decode()}".encode()
    assert (
        base64.urlsafe_b64decode(mac + "==") == hmac.new(b"0123456789abcdef", body, hashlib.sha256).digest()
    )


def test_a_signature_ends_with_its_token() -> None:
    world = World(
        ("configmaps", cluster_info()), ("secrets", token("abcdef", expiration=format_time(START + 60)))
    )
    world.settle(BOOTSTRAP_SIGNER)
    assert list(signed(world)) == ["jws-kubeconfig-abcdef"]

    world.time = START + 61
    world.settle(BOOTSTRAP_SIGNER)
    assert signed(world) == {}


def test_other_configmaps_and_secrets_wake_nobody() -> None:
    other = {"metadata": {"name": "x", "namespace": "kube-public"}}
    assert [list(w.wakes(other, World())) for w in BOOTSTRAP_SIGNER.watches] == [[], []]


def secret(created: float, **labels: str) -> Object:
    return {
        "metadata": {
            "name": "sa-token",
            "namespace": "shop",
            "creationTimestamp": format_time(created),
            "labels": labels,
            "annotations": {"kubernetes.io/service-account.name": "sa"},
        },
        "type": "kubernetes.io/service-account-token",
    }


def world_of(
    made: Object, *, listed: bool = True, tracked: float = START - 3 * YEAR, mounted: bool = False
) -> World:
    refs = [{"name": "sa-token"}] if listed else []
    account = {"metadata": {"name": "sa", "namespace": "shop"}, "secrets": refs}
    since = {"data": {"since": format_time(tracked)[:10]}}
    tracking = {"metadata": {"name": TRACKING.name, "namespace": TRACKING.namespace}, **since}
    user = pod("user")
    if mounted:
        user["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "sa-token"}}]
    return World(("secrets", made), ("serviceaccounts", account), ("configmaps", tracking), ("pods", user))


USED, INVALID = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"


@pytest.mark.parametrize(
    ("made", "options", "marked"),
    [
        (secret(START - 2 * YEAR), {}, True),
        (secret(START - YEAR + DAY), {}, False),
        (secret(START - 2 * YEAR), {"listed": False}, False),
        (secret(START - 2 * YEAR), {"mounted": True}, False),
        (secret(START - 2 * YEAR), {"tracked": START - YEAR}, False),
        (secret(START - 2 * YEAR, **{USED: format_time(START - DAY)[:10]}), {}, False),
        (secret(START - 3 * YEAR, **{USED: format_time(START - 2 * YEAR)[:10]}), {}, True),
        (secret(START - 2 * YEAR, **{USED: "soon"}), {}, False),
    ],
)
def test_unused_tokens_are_marked_after_a_year(made: Object, options: dict[str, Any], marked: bool) -> None:
    world = world_of(made, **options)
    world.settle(LEGACY_SERVICEACCOUNT_TOKEN_CLEANER)

    labels = world.list("secrets")[0]["metadata"]["labels"]
    assert (INVALID in labels) == marked


@pytest.mark.parametrize(
    ("before", "after", "woken"),
    [
        ([], ["sa-token"], True),  # the usual order
        (["sa-token"], [], True),
        (["sa-token"], ["sa-token"], False),
        ([], ["lost"], False),  # no such Secret
        ([], ["plain"], False),  # no token
    ],
)
def test_a_token_is_looked_at_when_its_account_comes_to_list_it(
    before: list[str], after: list[str], woken: bool
) -> None:
    world = world_of(secret(START - 2 * YEAR), listed=False)
    world.add("secrets", {"metadata": {"name": "plain", "namespace": "shop"}, "type": "Opaque"})
    (watch,) = [w for w in LEGACY_SERVICEACCOUNT_TOKEN_CLEANER.watches if w.resource == "serviceaccounts"]
    old, new = (
        {"metadata": {"name": "sa", "namespace": "shop"}, "secrets": [{"name": n} for n in names]}
        for names in (before, after)
    )

    assert watch.matters is not None
    keys = {k for o in (old, new) for k in watch.wakes(o, world)} if watch.matters(old, new) else set()
    assert keys == ({Key("shop", "sa-token")} if woken else set())


@pytest.mark.parametrize("options", [{"listed": False}, {"mounted": True}, {"tracked": START + YEAR}])
def test_every_token_is_looked_at_again(options: dict[str, Any]) -> None:
    what, world = LEGACY_SERVICEACCOUNT_TOKEN_CLEANER, world_of(secret(START - 2 * YEAR), **options)
    (made,) = world.list("secrets")
    plan = what.reconcile(made, what.observe(made, world))

    assert plan.actions == ()
    assert plan.requeue_after is not None


def test_a_token_of_an_untracked_cluster_is_looked_at_every_day() -> None:
    what, world = LEGACY_SERVICEACCOUNT_TOKEN_CLEANER, World(("secrets", secret(START - 2 * YEAR)))
    (made,) = world.list("secrets")

    assert what.reconcile(made, what.observe(made, world)).requeue_after == DAY


def test_marked_tokens_go_a_year_later() -> None:
    world = world_of(secret(START - 2 * YEAR))
    world.settle(LEGACY_SERVICEACCOUNT_TOKEN_CLEANER)
    world.time += YEAR
    world.settle(LEGACY_SERVICEACCOUNT_TOKEN_CLEANER)
    assert world.list("secrets")

    world.time += 2 * DAY
    world.settle(LEGACY_SERVICEACCOUNT_TOKEN_CLEANER)
    assert not world.list("secrets")


def test_a_pod_uses_secrets_in_many_ways() -> None:
    spec: Object = {
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [
            {
                "envFrom": [{"secretRef": {"name": "all"}}],
                "env": [{"valueFrom": {"secretKeyRef": {"name": "one"}}}],
            }
        ],
        "volumes": [
            {"projected": {"sources": [{"secret": {"name": "part"}}]}},
            {"secret": {"secretName": "disk"}},
        ],
    }
    assert set(filter(None, secrets_of({"spec": spec}))) == {"pull", "all", "one", "part", "disk"}
