"""What has a time of its own, where time is turned a long way at once: it happens then, and not at the end."""

from __future__ import annotations

import base64
import datetime
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster.harness import World, cluster, template, workload
from tests.cluster.simulated import simulated
from timonel.aio.clock import VirtualClock
from timonel.client.rest import Client
from timonel.distro import pki
from timonel.distro.cluster import Secrets
from timonel.objects.meta import Key, Object, format_time, parse_time
from timonel.server.request import User

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def simulating(behaviour: dict[str, Any], **spec: Any) -> dict[str, Any]:
    found = template(**spec)
    found["metadata"]["annotations"] = {"timonel.dev/simulate": json.dumps(behaviour)}
    return found


def every_minute(policy: str, run_for: str) -> Object:
    pod = simulating({"runFor": run_for}, restartPolicy="Never")
    spec = {
        "schedule": "* * * * *",
        "concurrencyPolicy": policy,
        "successfulJobsHistoryLimit": 100,
        "jobTemplate": {"spec": {"template": pod}},
    }
    return {"metadata": {"name": "tick"}, "spec": spec}


@pytest.mark.parametrize(
    ("policy", "started", "running"),
    [
        ("Allow", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 3),
        ("Forbid", [1, 3, 6, 8], 1),  # of the minutes in which one runs the last is made up
        ("Replace", [10], 1),
    ],
)
async def test_runs_that_take_longer_than_they_are_apart_go_by_their_policy(
    policy: str, started: list[int], running: int
) -> None:
    async with cluster() as world:
        begun = (world.clock.now() // MINUTE) * MINUTE
        await world.create("cronjobs.batch", every_minute(policy, "150s"))
        await world.pass_by(begun + 10.5 * MINUTE - world.clock.now())

        jobs = await world.all("jobs.batch")
        due = sorted(int(job["metadata"]["name"].rpartition("-")[2]) for job in jobs)
        assert [at - int(begun // MINUTE) for at in due] == started
        assert len([job for job in jobs if (job.get("status") or {}).get("active")]) == running


async def events(world: World, reason: str) -> list[float]:
    found = [e for e in await world.all("events") if e["reason"] == reason]
    return sorted(parse_time(e["firstTimestamp"]) or 0.0 for e in found)


async def test_a_rollout_that_hangs_is_given_up_at_its_deadline_on_a_long_way() -> None:
    async with simulated(1) as (world, _, _):
        begun = world.clock.now()
        waits = simulating({"waiting": "ImagePullBackOff"})
        await world.create("deployments.apps", workload(template=waits, progressDeadlineSeconds=600))
        await world.pass_by(30 * DAY)

        (progressing,) = [
            c
            for c in (await world.status("deployments.apps", "web"))["conditions"]
            if c["type"] == "Progressing"
        ]
        assert progressing["reason"] == "ProgressDeadlineExceeded"
        at = parse_time(progressing["lastTransitionTime"])
        assert at is not None
        assert 600 <= at - begun <= 602


async def test_what_crashes_is_tried_again_as_its_back_off_says() -> None:
    async with cluster() as world:
        pod = simulating({"exitCode": 1, "runFor": "1s"}, restartPolicy="Always")
        await world.create("pods", {**pod, "metadata": {**pod["metadata"], "name": "crash"}})
        await world.pass_by(HOUR)

        (container,) = (await world.status("pods", "crash"))["containerStatuses"]
        # after 10, 20, 40, 80 and 160 s, then every 300 s
        assert 14 <= container["restartCount"] <= 17
        assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"


@pytest.mark.parametrize("way", [HOUR, 365 * DAY])
async def test_a_node_that_is_switched_off_is_missed_in_its_time_on_any_way(way: float) -> None:
    async with simulated(2) as (world, _, _):
        await world.create("deployments.apps", workload(replicas=1))
        await world.pass_by(DAY)
        (pod,) = await world.ready_pods()
        name = pod["spec"]["nodeName"]
        off = {"metadata": {"annotations": {"timonel.dev/simulated": "stopped"}}}
        await world.client.patch("nodes", Key("", name), off)
        stopped = world.clock.now()
        await world.pass_by(way)

        node = await world.client.find("nodes", Key("", name))
        assert node is not None
        (ready,) = [c for c in node["status"]["conditions"] if c["type"] == "Ready"]
        missed = parse_time(ready["lastTransitionTime"])
        assert ready["status"] == "Unknown"
        assert missed is not None
        assert missed - stopped <= 51
        (fresh,) = await world.ready_pods()
        assert fresh["spec"]["nodeName"] != name
        born = parse_time(fresh["metadata"]["creationTimestamp"])
        assert born is not None
        assert 300 <= born - missed <= 310  # as long as its pods tolerate it


TOKEN = {"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token"}


async def test_bootstrap_tokens_end_when_they_say() -> None:
    async with cluster() as world:
        ends = format_time(world.clock.now() + HOUR)
        data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": ends}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        await world.client.create("secrets", {**TOKEN, "data": encoded}, namespace="kube-system")

        async def there() -> bool:
            return (
                await world.client.find("secrets", Key("kube-system", "bootstrap-token-abcdef")) is not None
            )

        await world.pass_by(HOUR - 5)
        assert await there()
        await world.pass_by(10)
        assert not await there()


async def test_tokens_of_service_accounts_end_by_the_time_of_the_cluster() -> None:
    async with cluster() as world:
        path = "/api/v1/namespaces/shop/serviceaccounts/default/token"
        request = {"spec": {"expirationSeconds": 3600}}
        token = (await world.client.transport.raw("POST", path, body=request))["status"]["token"]

        async def is_valid() -> bool:
            review = {"metadata": {}, "spec": {"token": token}}
            found = await world.client.create("tokenreviews.authentication.k8s.io", review)
            return bool(found["status"].get("authenticated"))

        assert await is_valid()
        await world.pass_by(HOUR - 10)
        assert await is_valid()
        await world.pass_by(20)
        assert not await is_valid()


def asks_for_a_certificate(name: str) -> Object:
    key = ec.generate_private_key(ec.SECP256R1())
    who = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "system:node:test-1")]
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in who])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "client auth"],
        "expirationSeconds": 30 * 86_400,
    }
    return {"metadata": {"name": name}, "spec": spec}


async def test_a_node_gets_a_fresh_certificate_whenever_its_own_is_about_to_end(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path, now=VirtualClock().now())
    secrets = Secrets(ca_pem=authority.pem, ca_key=authority.key)
    async with cluster(secrets=secrets) as world:
        node = Client(
            world.plane.transport_for(User("system:node:test-1", ("system:nodes",))), world.plane.index
        )
        for round_ in range(4):
            name = f"round-{round_}"
            await node.create("certificatesigningrequests", asks_for_a_certificate(name))
            approved = {"type": "Approved", "status": "True", "reason": "Test", "message": ""}
            patch = {"status": {"conditions": [approved]}}
            await world.client.patch(
                "certificatesigningrequests", Key("", name), patch, subresource="approval"
            )
            await world.pass_by(1)
            asked = await world.client.find("certificatesigningrequests", Key("", name))
            assert asked is not None
            assert "certificate" in asked["status"], asked["status"]
            found = x509.load_pem_x509_certificate(base64.b64decode(asked["status"]["certificate"]))
            now = datetime.datetime.fromtimestamp(world.clock.now(), datetime.UTC)
            assert found.not_valid_before_utc <= now
            assert found.not_valid_after_utc - now >= datetime.timedelta(days=30, minutes=-6)

            await world.pass_by(24 * DAY)  # 80 % of its life
            # requests that were answered are kept for an hour
            assert await world.client.find("certificatesigningrequests", Key("", name)) is None


async def test_what_its_signer_refuses_fails_at_a_time(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path, now=VirtualClock().now())
    async with cluster(secrets=Secrets(ca_pem=authority.pem, ca_key=authority.key)) as world:
        asked = asks_for_a_certificate("wrong")
        asked["spec"] |= {"signerName": "kubernetes.io/kube-apiserver-client", "usages": ["server auth"]}
        await world.client.create("certificatesigningrequests", asked)
        decided = {"type": "Approved", "status": "True", "reason": "Test", "message": ""}
        patch = {"status": {"conditions": [decided]}}
        await world.client.patch(
            "certificatesigningrequests", Key("", "wrong"), patch, subresource="approval"
        )
        await world.pass_by(1)

        found = await world.client.find("certificatesigningrequests", Key("", "wrong"))
        assert found is not None
        approved, failed = found["status"]["conditions"]
        assert (approved["type"], failed["type"]) == ("Approved", "Failed")
        for condition in (approved, failed):
            assert condition["lastTransitionTime"] == condition["lastUpdateTime"] != ""

        mine = {"type": "Mine", "status": "True", "reason": "", "message": ""}
        found["status"]["conditions"].append(mine)
        await world.pass_by(60)
        after = await world.client.update("certificatesigningrequests", found, subresource="status")
        assert after["status"]["conditions"][:2] == [approved, failed]
        assert after["status"]["conditions"][2]["lastTransitionTime"] > failed["lastTransitionTime"]


async def history(way: float) -> list[tuple[str, ...]]:
    """All Events of some busy hours in the order in which they were stored, without what is random in names."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(cluster(nodes=2))
        await world.create("cronjobs.batch", every_minute("Replace", "90s"))
        await world.create("deployments.apps", workload(replicas=3))
        crash = simulating({"exitCodes": [1, 0]}, restartPolicy="OnFailure")
        await world.create("jobs.batch", {"metadata": {"name": "once"}, "spec": {"template": crash}})
        await world.pass_by(way)
        found = sorted(await world.all("events"), key=lambda e: int(e["metadata"]["resourceVersion"]))
        return [
            (e["reason"], e["involvedObject"]["kind"], e["firstTimestamp"] or "", e["lastTimestamp"] or "")
            for e in found
        ]


async def test_the_same_way_gives_the_same_events_in_the_same_order() -> None:
    first = await history(20 * MINUTE)

    assert len(first) > 50
    assert await history(20 * MINUTE) == first
