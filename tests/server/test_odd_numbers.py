"""What looks like a number and is none is the client's mistake, and no line in the log."""

from __future__ import annotations

import pytest

from tests.server.starting import send, started

pytestmark = pytest.mark.looptime(False)

PODS = "/api/v1/namespaces/default/pods"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
ODD = [
    "%C2%B2",
    "--5",
    "9" * 5000,
    "1e3",
    "%00",
]  # the first is a superscript two, which str.isdigit takes for a digit


@pytest.mark.parametrize("odd", ODD)
async def test_odd_numbers_are_refused(odd: str, caplog: pytest.LogCaptureFixture) -> None:
    async with started() as to:
        await send(to, "POST", PODS, POD)
        targets = [
            f"{PODS}?limit={odd}", f"{PODS}?timeoutSeconds={odd}", f"{PODS}?resourceVersion={odd}",
            f"{PODS}/p/log?tailLines={odd}", f"{PODS}/p/log?sinceSeconds={odd}", f"{PODS}/p/log?limitBytes={odd}",
            f"/api/v1/nodes/n:{odd}/proxy/",
        ]  # fmt: skip
        answers = [await send(to, "GET", target) for target in targets]

    assert {answer.status for answer in answers} <= {400, 404}
    assert not caplog.records


@pytest.mark.parametrize("version", ["²", "7", "9" * 5000])
async def test_a_version_that_is_none_does_no_harm(version: str, caplog: pytest.LogCaptureFixture) -> None:
    async with started() as to:
        made = {"metadata": {"name": "m", "resourceVersion": version}}
        answer = await send(to, "POST", "/api/v1/namespaces/default/configmaps", made)

    assert "Internal error" not in str(answer.body)
    assert not caplog.records
