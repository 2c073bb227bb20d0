"""Actions: bindings, evictions, token requests and reviews."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.fakes import ALICE, FakeObjects, FakeReader, pod
from timonel.aio.clock import VirtualClock
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.auth import jwt
from timonel.server.auth.authn import TokenUnion
from timonel.server.auth.tokens import Tokens
from timonel.server.request import ActionCall, Attributes, Decision, Verdict
from timonel.server.subresources.binding import Binding
from timonel.server.subresources.eviction import BUDGETS, Eviction
from timonel.server.subresources.reviews import SubjectAccessReview, TokenReview
from timonel.server.subresources.tokenrequest import TokenRequest

ISSUER = "https://kubernetes.default.svc"


class World:
    def __init__(self) -> None:
        self.reader, self.clock = FakeReader(), VirtualClock()
        self.objects = FakeObjects(self.reader)
        self.tokens = Tokens(
            keys=jwt.Keys(jwt.new_key()),
            issuer=ISSUER,
            audiences=(ISSUER,),
            reader=self.reader,
            clock=self.clock,
        )
        metadata = {"name": "sa", "namespace": "shop", "uid": "u1"}
        self.reader.put("serviceaccounts", {"kind": "ServiceAccount", "metadata": metadata})

    async def bind(self, obj: Object, name: str = "p") -> Object:
        return await Binding(self.objects, self.reader, self.clock).act(call(obj, name))

    async def evict(self, **options: Any) -> Object:
        obj = {"metadata": {"name": "p"}, **({"deleteOptions": options} if options else {})}
        return await Eviction(self.objects, self.reader, self.clock).act(call(obj, "p"))

    async def request(self, spec: Object) -> Object:
        body = {"kind": "TokenRequest", "metadata": {}, "spec": spec}
        return await TokenRequest(self.tokens, self.objects, self.clock).act(call(body, "sa"))


def call(obj: Object, name: str, namespace: str = "shop") -> ActionCall:
    return ActionCall(ALICE, namespace, name, obj)


def binding(node: str = "n", name: str = "p", **metadata: Any) -> Object:
    return {"metadata": {"name": name, **metadata}, "target": {"kind": "Node", "name": node}}


async def test_a_binding_places_the_pod_and_says_so() -> None:
    world = World()
    world.reader.put("pods", pod())
    labels = {"topology.kubernetes.io/zone": "z", "other": "x"}
    world.reader.put("nodes", {"metadata": {"name": "n", "labels": labels}})

    await world.bind(binding(annotations={"x": "y"}))

    found = world.reader.get("pods", "shop", "p")
    assert found is not None
    assert found["spec"]["nodeName"] == "n"
    assert found["metadata"]["annotations"] == {"x": "y"}
    assert found["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}
    assert [(c["type"], c["status"]) for c in found["status"]["conditions"]] == [("PodScheduled", "True")]


async def test_after_a_binding_no_node_is_expected_any_more() -> None:
    world = World()
    world.reader.put("pods", {**pod(), "status": {"nominatedNodeName": "n"}})
    await world.bind(binding())

    found = world.reader.get("pods", "shop", "p")
    assert found is not None
    assert "nominatedNodeName" not in found["status"]


@pytest.mark.parametrize(
    ("state", "obj", "message"),
    [
        ({}, binding(name="other"), "name in URL does not match name in Binding object"),
        (
            {"nodeName": "old"},
            binding(),
            'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "old"',
        ),
        (
            {"schedulingGates": [{"name": "g"}]},
            binding(),
            'Operation cannot be fulfilled on pods/binding "p": pod p has non-empty .spec.schedulingGates',
        ),
        ({}, {"metadata": {"name": "p"}, "target": {}}, "target.name: Required value"),
    ],
)
async def test_bindings_that_are_refused(state: Object, obj: Object, message: str) -> None:
    world = World()
    world.reader.put("pods", pod(**state))

    with pytest.raises(errors.StatusError) as error:
        await world.bind(obj)

    assert error.value.message == message


def running(**status: Any) -> Object:
    found = pod()
    found["metadata"].update(labels={"a": "b"}, resourceVersion="7")
    found["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], **status}
    return found


def budget(name: str = "b", **status: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": "shop", "generation": 1},
        "spec": {"selector": {"matchLabels": {"a": "b"}}},
        "status": {"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, **status},
    }


async def test_an_eviction_takes_one_from_the_budget() -> None:
    world = World()
    world.reader.put("pods", running())
    world.reader.put(BUDGETS, budget(disruptionsAllowed=1))

    await world.evict(gracePeriodSeconds=7)

    found = world.reader.get(BUDGETS, "shop", "b")
    assert found is not None
    assert found["status"]["disruptionsAllowed"] == 0
    assert list(found["status"]["disruptedPods"]) == ["p"]
    assert found["status"]["conditions"][0]["reason"] == "InsufficientPods"
    assert world.objects.deleted == [("pods", "p", {"gracePeriodSeconds": 7})]


@pytest.mark.parametrize(
    ("budgets", "code", "text"),
    [
        (
            [budget(observedGeneration=0)],
            429,
            "The disruption budget b is still being processed by the server.",
        ),
        (
            [budget(disruptionsAllowed=0)],
            429,
            "The disruption budget b needs 1 healthy pods and has 2 currently",
        ),
        ([budget("b"), budget("c")], 500, ""),
    ],
)
async def test_budgets_that_refuse(budgets: list[Object], code: int, text: str) -> None:
    world = World()
    world.reader.put("pods", running())
    for each in budgets:
        world.reader.put(BUDGETS, each)

    with pytest.raises(errors.StatusError) as error:
        await world.evict()

    assert error.value.status_code == code
    assert not text or error.value.details["causes"][0] == {"reason": "DisruptionBudget", "message": text}
    assert world.objects.deleted == []


async def test_a_pod_that_has_ended_needs_no_budget() -> None:
    world = World()
    world.reader.put("pods", running(phase="Failed"))
    world.reader.put(BUDGETS, budget(disruptionsAllowed=0))

    await world.evict()

    assert [name for _, name, _ in world.objects.deleted] == ["p"]


async def test_an_unready_pod_goes_if_the_others_suffice() -> None:
    world = World()
    world.reader.put("pods", running(conditions=[]))
    world.reader.put(BUDGETS, budget(disruptionsAllowed=0))

    await world.evict()

    assert world.objects.deleted[0][2]["preconditions"] == {"resourceVersion": "7"}


async def test_a_requested_token_works() -> None:
    world = World()

    answer = await world.request({})

    assert answer["spec"]["expirationSeconds"] == 3600
    assert world.tokens.verify(answer["status"]["token"]).user.uid == "u1"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"expirationSeconds": 60}, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 1 << 33}, "may not specify a duration larger than 2^32 seconds"),
        (
            {"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}},
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
        (
            {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "absent"}},
            'pods "absent" not found',
        ),
    ],
)
async def test_token_requests_that_are_refused(spec: Object, message: str) -> None:
    with pytest.raises(errors.StatusError) as error:
        await World().request(spec)

    assert message in error.value.message


async def test_a_token_is_bound_to_pods_of_its_account_only() -> None:
    world = World()
    world.reader.put("pods", pod(serviceAccountName="other"))

    with pytest.raises(errors.BadRequest, match="different serviceaccount name"):
        await world.request({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}})


async def test_a_token_review_says_who_it_is_or_why_not() -> None:
    world = World()
    token = (await world.request({}))["status"]["token"]
    review = TokenReview(TokenUnion((world.tokens,)))

    good = await review.act(call({"spec": {"token": token}}, ""))
    bad = await review.act(call({"spec": {"token": "wrong"}}, ""))

    assert good["status"]["user"]["username"] == "system:serviceaccount:shop:sa"
    assert "system:authenticated" in good["status"]["user"]["groups"]
    assert bad["status"] == {"user": {}, "error": "invalid bearer token"}


class Asked:
    """An authorizer that allows and remembers the question."""

    def __init__(self) -> None:
        self.asked: list[Attributes] = []

    def authorize(self, attributes: Attributes) -> Decision:
        self.asked.append(attributes)
        return Decision(Verdict.ALLOW, "because")


async def test_an_access_review_asks_for_somebody_else() -> None:
    asked = Asked()
    spec = {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "shop"}}

    answer = await SubjectAccessReview(asked).act(call({"spec": spec}, ""))

    assert answer["status"] == {"allowed": True, "reason": "because"}
    assert (asked.asked[0].user.name, asked.asked[0].resource) == ("bob", "pods")


async def test_a_local_review_stays_in_its_namespace() -> None:
    spec = {"user": "bob", "resourceAttributes": {"verb": "get", "namespace": "other"}}

    with pytest.raises(errors.Invalid, match=r"must match metadata\.namespace"):
        await SubjectAccessReview(Asked(), local=True).act(call({"spec": spec}, ""))


async def test_a_selector_that_cannot_be_read_is_left_out() -> None:
    asked = Asked()
    selector = {"requirements": [{"key": "a", "operator": "Near", "values": ["b"]}]}
    spec = {"user": "bob", "resourceAttributes": {"verb": "list", "labelSelector": selector}}

    answer = await SubjectAccessReview(asked).act(call({"spec": spec}, ""))

    problem = "spec.resourceAttributes.labelSelector ignored due to parse error"
    assert answer["status"]["evaluationError"] == problem
    assert asked.asked[0].label_selector == ""
