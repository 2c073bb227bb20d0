"""Flow control of a running server: built-in objects, headers, queues and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.server.starting import ADMIN, SCHEME, Answer, send
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.server.app import ApiServer, Config
from timonel.server.auth import jwt
from timonel.server.compose import Settings, compose
from timonel.server.flowcontrol import Settings as FlowSettings
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.store.base import Record, Unreachable
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
BOB = User("bob", ("system:authenticated",))


class SlowStore(MemoryStore):
    """Does not come to an end with ConfigMaps named slow-… until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def create(self, key: str, value: bytes) -> Record:
        if "/slow-" in key:
            await self.go_on.wait()
        return await super().create(key, value)


@asynccontextmanager
async def serving(store: MemoryStore | None = None, **config: Any) -> AsyncIterator[ApiServer]:
    security = SecuritySettings(keys=jwt.Keys(jwt.new_key()), static_tokens={"secret": ADMIN, "bobs": BOB})
    made = compose(
        Settings(security, Config(**config)),
        store=store or MemoryStore(),
        scheme=SCHEME,
        clock=SystemClock(),
        tls=None,
    )
    async with running(made):
        yield made


async def allow_bob(server: ApiServer) -> None:
    binding = {
        "metadata": {"name": "bob"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "bob"}],
    }
    answer = await send(server, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    assert answer.status == 201


async def narrow(server: ApiServer, response: dict[str, Any], shares: int = 1) -> None:
    """All that bob does goes through a level of its own."""
    level = {
        "metadata": {"name": "narrow"},
        "spec": {
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": shares, "limitResponse": response},
        },
    }
    everything = {
        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True,
    }  # fmt: skip
    schema = {
        "metadata": {"name": "narrow"},
        "spec": {
            "priorityLevelConfiguration": {"name": "narrow"},
            "matchingPrecedence": 50,
            "rules": [
                {"subjects": [{"kind": "User", "user": {"name": "bob"}}], "resourceRules": [everything]}
            ],
        },
    }
    for plural, obj in (("prioritylevelconfigurations", level), ("flowschemas", schema)):
        answer = await send(server, "POST", f"{GROUP}/{plural}", obj)
        assert answer.status == 201, answer.body


async def uid(server: ApiServer, plural: str, name: str) -> str:
    answer = await send(server, "GET", f"{GROUP}/{plural}/{name}")
    found: str = answer.body["metadata"]["uid"]
    return found


def post(server: ApiServer, name: str, token: str = "bobs") -> asyncio.Task[Answer]:
    return asyncio.ensure_future(send(server, "POST", MAPS, {"metadata": {"name": name}}, token=token))


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_answers_name_the_schema_and_the_level_that_they_belong_to() -> None:
    async with serving() as server:
        await allow_bob(server)
        for token, method, path, schema, level in (
            ("secret", "GET", MAPS, "exempt", "exempt"),
            ("bobs", "GET", MAPS, "global-default", "global-default"),
            ("bobs", "GET", f"{MAPS}/none", "global-default", "global-default"),
            ("bobs", "GET", "/version", "global-default", "global-default"),
            ("", "GET", "/healthz", "probes", "exempt"),
        ):
            answer = await send(server, method, path, token=token)
            assert answer.headers["x-kubernetes-pf-flowschema-uid"] == await uid(
                server, "flowschemas", schema
            )
            wanted = await uid(server, "prioritylevelconfigurations", level)
            assert answer.headers["x-kubernetes-pf-prioritylevel-uid"] == wanted


async def test_a_new_schema_holds_for_the_next_request_and_one_that_goes_no_longer() -> None:
    async with serving() as server:
        await allow_bob(server)
        before = await send(server, "GET", MAPS, token="bobs")
        await narrow(server, {"type": "Reject"})
        now = await send(server, "GET", MAPS, token="bobs")
        assert now.headers["x-kubernetes-pf-flowschema-uid"] == await uid(server, "flowschemas", "narrow")
        await send(server, "DELETE", f"{GROUP}/flowschemas/narrow")
        after = await send(server, "GET", MAPS, token="bobs")

        header = "x-kubernetes-pf-flowschema-uid"
        assert after.headers[header] == before.headers[header] != now.headers[header]


async def test_a_level_without_queues_and_seats_answers_429() -> None:
    store = SlowStore()
    async with serving(store, flow=FlowSettings(max_inflight=200, max_mutating=50)) as server:
        await allow_bob(server)
        await narrow(server, {"type": "Reject"})
        slow = post(server, "slow-1")
        assert server.gate.flows is not None
        await until(lambda: server.gate.flows.levels["narrow"].executing == 1)
        # one share of 246, of 250 seats, is two seats
        second = post(server, "slow-2")
        await until(lambda: server.gate.flows.levels["narrow"].executing == 2)
        refused = await send(server, "GET", MAPS, token="bobs")
        allowed = await send(server, "GET", MAPS)
        store.go_on.set()
        await asyncio.wait([slow, second])
        freed = await send(server, "GET", MAPS, token="bobs")
        page = (await send(server, "GET", "/metrics")).body

        assert (refused.status, refused.body) == (429, "Too many requests, please try again later.\n")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-type"] == "text/plain; charset=utf-8"
        assert (allowed.status, freed.status) == (200, 200)
        assert (slow.result().status, second.result().status) == (201, 201)
        rejected = 'rejected_requests_total{flow_schema="narrow",priority_level="narrow",reason="concurrency-limit"} 1'
        assert f"apiserver_flowcontrol_{rejected}" in page


async def test_a_read_waits_in_its_queue_behind_writes_of_its_level() -> None:
    store = SlowStore()
    queuing = {"queues": 2, "handSize": 1, "queueLengthLimit": 10}
    async with serving(store, flow=FlowSettings(max_inflight=200, max_mutating=50)) as server:
        await allow_bob(server)
        await narrow(server, {"type": "Queue", "queuing": queuing})
        writes = [post(server, f"slow-{number}") for number in range(2)]
        level = server.gate.flows.levels  # type: ignore[union-attr]
        await until(lambda: level["narrow"].executing == 2)
        read = asyncio.ensure_future(send(server, "GET", MAPS, token="bobs"))
        await until(lambda: level["narrow"].waiting == 1)
        dump = await send(server, "GET", "/debug/api_priority_and_fairness/dump_requests")
        store.go_on.set()
        await asyncio.wait([read, *writes])

        assert read.result().status == 200
        assert "narrow" in dump.body
        assert f"list {MAPS}" in dump.body
        assert level["narrow"].at_rest


async def test_a_watch_holds_its_seat_only_until_it_has_begun() -> None:
    async with serving() as server:
        await allow_bob(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = "Host: x\r\nAuthorization: Bearer bobs\r\n\r\n"
        writer.write(f"GET {MAPS}?watch=true HTTP/1.1\r\n{head}".encode())
        await reader.readuntil(b"\r\n\r\n")
        assert server.gate.flows is not None

        assert server.gate.flows.levels["global-default"].in_use == 0
        assert 'apiserver_longrunning_requests{verb="WATCH"' in (await send(server, "GET", "/metrics")).body
        writer.close()


async def test_mandatory_objects_come_back_as_they_were() -> None:
    async with serving() as server:
        found = (await send(server, "GET", f"{GROUP}/prioritylevelconfigurations/catch-all")).body
        found["spec"]["limited"]["nominalConcurrencyShares"] = 77
        await send(server, "PUT", f"{GROUP}/prioritylevelconfigurations/catch-all", found)
        await send(server, "DELETE", f"{GROUP}/flowschemas/exempt")
        async with asyncio.timeout(10):
            while True:
                level = (await send(server, "GET", f"{GROUP}/prioritylevelconfigurations/catch-all")).body
                schema = await send(server, "GET", f"{GROUP}/flowschemas/exempt")
                if level["spec"]["limited"]["nominalConcurrencyShares"] == 5 and schema.status == 200:
                    break
                await asyncio.sleep(0.1)


async def test_a_suggested_object_whose_annotation_says_so_is_the_users() -> None:
    async with serving() as server:
        path = f"{GROUP}/prioritylevelconfigurations/workload-low"
        found = (await send(server, "GET", path)).body
        found["spec"]["limited"]["nominalConcurrencyShares"] = 77
        found["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = "false"
        await send(server, "PUT", path, found)
        await asyncio.sleep(1.2)

        kept = (await send(server, "GET", path)).body
        assert kept["spec"]["limited"]["nominalConcurrencyShares"] == 77


async def test_a_schema_without_its_level_dangles_until_there_is_one() -> None:
    async with serving() as server:
        spec = {"priorityLevelConfiguration": {"name": "later"}, "matchingPrecedence": 60}
        await send(server, "POST", f"{GROUP}/flowschemas", {"metadata": {"name": "early"}, "spec": spec})

        async def dangling(wanted: str) -> dict[str, str]:
            async with asyncio.timeout(10):
                while True:
                    schema = (await send(server, "GET", f"{GROUP}/flowschemas/early")).body
                    for condition in schema.get("status", {}).get("conditions") or ():
                        if condition["status"] == wanted:
                            return dict(condition)
                    await asyncio.sleep(0.1)

        missing = await dangling("True")
        limited = {"limitResponse": {"type": "Reject"}}
        level = {"metadata": {"name": "later"}, "spec": {"type": "Limited", "limited": limited}}
        await send(server, "POST", f"{GROUP}/prioritylevelconfigurations", level)
        found = await dangling("False")

        text = 'This FlowSchema references the PriorityLevelConfiguration object named "later"'
        assert (missing["reason"], missing["message"]) == ("NotFound", f"{text} but there is no such object")
        assert (found["reason"], found["message"]) == ("Found", f"{text} and it exists")


async def test_without_flow_control_there_is_a_plain_bound() -> None:
    store = SlowStore()
    flow = FlowSettings(enabled=False, max_inflight=10, max_mutating=1)
    async with serving(store, flow=flow) as server:
        await allow_bob(server)
        slow = post(server, "slow-1")
        await until(lambda: server.gate.inflight.at_work[True] == 1)  # type: ignore[union-attr]
        refused = await post(server, "other")
        privileged = await post(server, "mine", token="secret")
        store.go_on.set()
        await slow

        assert (refused.status, refused.headers["retry-after"], privileged.status) == (429, "1", 201)
        assert "x-kubernetes-pf-flowschema-uid" not in refused.headers


async def test_a_request_that_takes_too_long_is_given_up() -> None:
    store = SlowStore()
    async with serving(store, request_timeout=0.2) as server:
        late = await send(server, "POST", MAPS, {"metadata": {"name": "slow-1"}})
        found = await send(server, "GET", f"{MAPS}/slow-1")

        assert (late.status, late.body["reason"]) == (504, "Timeout")
        assert late.body["message"] == "Timeout: request did not complete within the allotted timeout"
        assert found.status == 404


@pytest.mark.parametrize(
    ("timeout", "status", "message"),
    [
        ("invalid", 400, 'time: invalid duration "invalid"'),
        ("5", 400, 'time: missing unit in duration "5"'),
        ("5y", 400, 'time: unknown unit "y" in duration "5y"'),
        ("", 200, ""),
        ("0s", 200, ""),
        ("500h", 200, ""),
        ("1m30.5s", 200, ""),
    ],
)
async def test_a_timeout_is_a_duration(timeout: str, status: int, message: str) -> None:
    async with serving() as server:
        for path in (MAPS, "/version"):
            answer = await send(server, "GET", f"{path}?timeout={timeout}")
            assert answer.status == status
            if message:
                assert answer.body["message"] == f"invalid timeout specified in the request URL - {message}"


async def test_a_store_that_cannot_be_written_for_a_while_costs_the_server_nothing() -> None:
    class Full(MemoryStore):
        is_full = False

        async def update(self, key: str, value: bytes, *, expected: int) -> Record:
            if self.is_full and "flowschemas" in key:
                raise Unreachable("disk full")
            return await super().update(key, value, expected=expected)

    store = Full()
    async with serving(store) as server:
        store.is_full = True
        spec = {"priorityLevelConfiguration": {"name": "later"}, "matchingPrecedence": 60}
        await send(server, "POST", f"{GROUP}/flowschemas", {"metadata": {"name": "early"}, "spec": spec})
        await asyncio.sleep(1.5)

        assert (await send(server, "GET", MAPS)).status == 200
