"""What an answer of a webhook means, and which answers are none."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.server.admission.webhooks import review

Object = dict[str, Any]
PATCH = base64.b64encode(b"[]").decode()


def answer(version: str = "v1", **response: Any) -> Object:
    return {
        "apiVersion": f"admission.k8s.io/{version}",
        "kind": "AdmissionReview",
        "response": {"uid": "u", "allowed": True, **response},
    }


def read(tree: Any, version: str = "v1", *, mutates: bool = True) -> review.Verdict:
    return review.verdict(tree, version=version, uid="u", mutates=mutates)


def test_an_answer_with_everything() -> None:
    found = read(
        answer(patch=PATCH, patchType="JSONPatch", warnings=["w", 3], auditAnnotations={"k": "v", "n": 1})
    )

    assert found == review.Verdict(True, None, b"[]", "JSONPatch", ["w"], {"k": "v"})


@pytest.mark.parametrize(
    ("tree", "mutates", "why"),
    [
        ([], True, "webhook response was absent"),
        ({"response": None}, True, "webhook response was absent"),
        (answer(uid="v"), True, 'expected response.uid="u", got "v"'),
        (
            answer("v1beta1"),
            True,
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, "
            "Kind=AdmissionReview",
        ),
        (answer(patch=PATCH), True, "webhook returned response.patch but not response.patchType"),
        (answer(patchType="JSONPatch"), True, "webhook returned response.patchType but not response.patch"),
        (answer(patch=PATCH, patchType="X"), True, 'webhook returned invalid response.patchType of "X"'),
        (answer(patch="%", patchType="JSONPatch"), True, "illegal base64 data in response.patch"),
        (
            answer(patch=PATCH, patchType="JSONPatch"),
            False,
            "validating webhook may not return response.patch",
        ),
        (answer(patchType="JSONPatch"), False, "validating webhook may not return response.patchType"),
    ],
)
def test_answers_that_are_none(tree: Any, mutates: bool, why: str) -> None:
    with pytest.raises(review.InvalidAnswer) as caught:
        read(tree, mutates=mutates)

    assert str(caught.value) == why


def test_the_older_version_asks_for_less() -> None:
    found = read({"response": {"allowed": True, "patch": PATCH}}, "v1beta1")

    assert (found.allowed, found.patch, found.patch_type) == (True, b"[]", "JSONPatch")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
responses = st.dictionaries(
    st.sampled_from(
        ["uid", "allowed", "status", "patch", "patchType", "warnings", "auditAnnotations", "other"]
    ),
    anything,
)


@given(
    anything | st.fixed_dictionaries({"response": responses}),
    st.sampled_from(["v1", "v1beta1"]),
    st.booleans(),
)
def test_whatever_a_webhook_answers_it_is_read_or_refused(tree: Any, version: str, mutates: bool) -> None:
    try:
        found = read(tree, version, mutates=mutates)
    except review.InvalidAnswer:
        return
    assert review.refusal("h", found.status).to_status()["code"] >= 400


@pytest.mark.parametrize(("supported", "version"), [(["v1"], "v1"), (["v9", "v1beta1", "v1"], "v1beta1")])
def test_the_first_known_version_is_spoken(supported: list[str], version: str) -> None:
    assert review.version_of(supported) == version
