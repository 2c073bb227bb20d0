"""ComponentStatuses: three components, healthy or with a reason, and never a revision."""

from __future__ import annotations

import pytest

from tests.server.starting import send, started
from timonel.objects.meta import Object, format_micro_time
from timonel.server.components import lease_problem

CS = "/api/v1/componentstatuses"


@pytest.mark.looptime(False)
async def test_components_are_listed_as_they_are_and_have_no_revision() -> None:
    async with started() as server:
        server.components.here["scheduler"] = lambda: ""

        found = (await send(server, "GET", CS)).body
        one = await send(server, "GET", f"{CS}/etcd-0")
        table = (await send(server, "GET", CS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")).body
        missing = await send(server, "GET", f"{CS}/kubelet")

    assert found["metadata"] == {}
    items = {item["metadata"]["name"]: item for item in found["items"]}
    assert list(items) == ["controller-manager", "etcd-0", "scheduler"]
    assert items["scheduler"] == {
        "metadata": {"name": "scheduler"},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }
    assert items["controller-manager"]["conditions"][0]["status"] == "False"
    assert (one.body["kind"], one.body["metadata"]) == ("ComponentStatus", {"name": "etcd-0"})
    assert [row["cells"][:3] for row in table["rows"]][1] == ["etcd-0", "Healthy", "ok"]
    assert missing.status == 404


@pytest.mark.looptime(False)
async def test_a_component_of_another_process_is_healthy_while_it_renews_its_lease() -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    async with started() as server:
        now = format_micro_time(server.clock.now())
        spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": now}
        await send(server, "POST", leases, {"metadata": {"name": "kube-scheduler"}, "spec": spec})

        found = (await send(server, "GET", f"{CS}/scheduler")).body

    assert found["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "no kube-scheduler has taken"),
        ({"holderIdentity": "", "renewTime": "2026-01-01T00:00:00.000000Z"}, "no kube-scheduler has taken"),
        (
            {
                "holderIdentity": "a",
                "renewTime": "2026-01-01T00:00:00.000000Z",
                "leaseDurationSeconds": 15,
            },
            "kube-scheduler has not renewed",
        ),
    ],
)
def test_a_lease_that_nobody_holds_is_a_problem(spec: Object, problem: str) -> None:
    assert lease_problem({"spec": spec}, "kube-scheduler", 2e9).startswith(problem)
