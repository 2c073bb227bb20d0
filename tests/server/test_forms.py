"""What form an answer may have."""

from __future__ import annotations

import pytest

from tests.server.starting import send, started

pytestmark = pytest.mark.looptime(False)

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
BODY = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [(TABLE, 406, "Status"), (f"{TABLE},application/json", 201, "SelfSubjectAccessReview")],
)
async def test_a_review_has_no_table(accept: str, status: int, kind: str) -> None:
    async with started() as to:
        answer = await send(to, "POST", REVIEW, BODY, Accept=accept)

        assert (answer.status, answer.body["kind"]) == (status, kind)
