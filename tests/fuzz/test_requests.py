"""Whatever is sent, the server says what is wrong with it: no 500, no hang, no exception that nobody expected.

`TIMONEL_FUZZ=20000 scripts/test tests/fuzz` looks longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.strategies import Sent, requests
from tests.fuzz.target import Target, target

EXAMPLES = int(os.environ.get("TIMONEL_FUZZ", "600"))
# A version from the future is a timeout; a pod that has two disruption budgets is an error of who made them.
LATER = {503, 504}


@pytest.fixture(scope="module")
def aim() -> Iterator[Target]:
    with target() as found:
        yield found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=requests())
def test_a_request_that_is_nearly_right_gets_an_answer(aim: Target, sent: Sent) -> None:
    answer = aim.send(sent.method, sent.path, sent.body, sent.headers)

    assert answer.status < 500 or answer.status in LATER, answer.body[:2000]
    assert aim.errors == []
    if answer.status >= 400 and sent.method != "HEAD" and answer.tree is not None:
        assert answer.tree["kind"] == "Status", answer.body[:500]


def test_the_server_is_well_afterwards(aim: Target) -> None:
    assert aim.send("GET", "/readyz", None, {}).status == 200
