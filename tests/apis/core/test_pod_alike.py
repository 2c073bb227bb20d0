"""Specs that are alike are looked at once; memories belong to a Scheme."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from timonel.apis.core.pod_alike import REMEMBERED, Alike, asked
from timonel.apis.scheme import Scheme
from timonel.objects.meta import Object


def pod(image: str = "web:1", *, volume: str = "kube-api-access-abcde", **metadata: object) -> Object:
    return {
        "metadata": {"name": "a", **metadata},
        "spec": {
            "containers": [{"name": "web", "image": image, "volumeMounts": [{"name": volume}]}],
            "volumes": [{"name": volume}],
        },
    }


class Rule:
    """Counts what it is asked; finds fault with one image."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, obj: Object) -> Iterator[str]:
        self.asked += 1
        if obj["spec"]["containers"][0]["image"] == "bad":
            yield "bad image"


@pytest.mark.parametrize(
    "other",
    [pod(), pod(name="b"), pod(labels={"app": "b"}), pod(volume="kube-api-access-fghij")],
)
def test_the_same_spec_is_not_looked_at_again(other: Object) -> None:
    alike, rule = Alike(), Rule()

    found = [alike.ask(pod(), rule), alike.ask(other, rule)]

    assert found == [[], []]
    assert rule.asked == 1


@pytest.mark.parametrize("other", [pod("web:2"), pod(volume="data"), pod(annotations={"a": "b"})])
def test_another_spec_is(other: Object) -> None:
    alike, rule = Alike(), Rule()

    for obj in (pod(), other):
        alike.ask(obj, rule)

    assert rule.asked == 2


def test_what_is_refused_is_refused_each_time() -> None:
    alike, rule = Alike(), Rule()

    found = [alike.ask(pod("bad"), rule) for _ in range(2)]

    assert found == [["bad image"], ["bad image"]]


def test_memory_is_bounded() -> None:
    alike, rule = Alike(), Rule()
    for number in range(REMEMBERED + 1):
        alike.ask(pod(f"web:{number}"), rule)

    alike.ask(pod("web:0"), rule)

    assert rule.asked == REMEMBERED + 2


def test_without_a_memory_the_rule_is_asked_each_time() -> None:
    rule = Rule()

    for _ in range(2):
        assert list(asked(None, pod(), rule)) == []

    assert rule.asked == 2


@pytest.mark.parametrize(
    ("group", "plural"), [("", "pods"), ("apps", "deployments"), ("apps", "replicasets")]
)
def test_schemes_do_not_share_what_they_remember(group: str, plural: str) -> None:
    one, two = (scheme.resource(group, "v1", plural) for scheme in (Scheme(), Scheme()))

    assert one is not None
    assert two is not None
    assert one.validate is not two.validate
    assert one.validate_update is not two.validate_update
