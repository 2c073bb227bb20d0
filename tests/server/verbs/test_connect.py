"""The options of connections as objects, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.fakes import ALICE
from tests.server.starting import send, started
from timonel.apis.resource import ResourceType
from timonel.server import dispatch
from timonel.server.request import AdmissionCall, Answer, ConnectCall, Duplex, Operation, Upgraded
from timonel.server.verbs import connect
from timonel.server.verbs.call import Admission


def calling(subresource: str, query: str = "", path: str = "") -> ConnectCall:
    return ConnectCall(ALICE, "POST", "shop", "p", subresource, path, query, ())


@pytest.mark.parametrize(
    ("resource", "call", "wanted"),
    [
        (
            "pods",
            calling("exec", "command=sh&command=-c&stdin=1&tty=0&container=c"),
            {"kind": "PodExecOptions", "stdin": True, "container": "c", "command": ["sh", "-c"]},
        ),
        ("pods", calling("attach", "stdout=true"), {"kind": "PodAttachOptions", "stdout": True}),
        ("pods", calling("portforward", "ports=80,81"), {"kind": "PodPortForwardOptions", "ports": [80, 81]}),
        ("services", calling("proxy", path="/a/b"), {"kind": "ServiceProxyOptions", "path": "/a/b"}),
        ("nodes", calling("proxy"), {"kind": "NodeProxyOptions"}),
    ],
)
def test_options_are_an_object(resource: str, call: ConnectCall, wanted: dict[str, object]) -> None:
    assert connect.options_of(resource, call) == {"apiVersion": "v1", **wanted}


def test_logs_are_no_connection() -> None:
    assert connect.options_of("pods", calling("log", "follow=1")) is None


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "stdin": st.just(True),
            "container": words,
            "command": st.lists(words, min_size=1, max_size=3),
        },
    )
)
def test_changed_options_are_what_the_call_says_then(changed: dict[str, object]) -> None:
    call = calling("exec", "command=ls&tty=1&other=kept")
    options = {"kind": "PodExecOptions", "apiVersion": "v1", **changed}

    connect.change("pods", call, options)

    assert connect.options_of("pods", call) == options
    assert "other=kept" in call.query


class Warner:
    name = "Warner"

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return operation is Operation.CONNECT

    async def admit(self, call: AdmissionCall) -> None:
        call.warnings.append("shells are watched")

    async def validate(self, call: AdmissionCall) -> None:
        """Nothing to refuse."""


class Opened:
    async def connect(self, call: ConnectCall) -> Answer:
        return Answer(200, [("X-Own", "kept")], b"open")


@pytest.mark.looptime(False)
async def test_warnings_about_connections_reach_who_connects() -> None:
    async with started() as server:
        server.core.admission = Admission((Warner(),))
        server.registry.by_qualified["pods"].connects["exec"] = Opened()

        found = await send(server, "POST", "/api/v1/namespaces/shop/pods/p/exec?command=sh")

    assert (found.status, found.body, found.headers["x-own"]) == (200, "open", "kept")
    assert found.headers["warning"] == '299 - "shells are watched"'


def test_a_line_that_is_handed_over_begins_with_the_warnings() -> None:
    async def relay(client: Duplex) -> None:
        await client.write_eof()

    found = dispatch.answered(Upgraded(101, [("Upgrade", "x")], relay), ["w"])

    assert isinstance(found, Upgraded)
    assert found.headers == [("Upgrade", "x"), ("Warning", '299 - "w"')]
