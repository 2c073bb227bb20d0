from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from timonel.aio.clock import SystemClock
from timonel.node.httpserver import Peer, Request
from timonel.node.simulation import life as lives
from timonel.node.simulation.addresses import Addresses
from timonel.node.simulation.api import NodeAnswers
from timonel.node.simulation.engine import NodeSimulator
from timonel.node.simulation.holdings import Held, Node
from timonel.objects.meta import Object, key_of

START = 1_700_000_000.0


class OnePod:
    """What of the engine is asked for logs."""

    def __init__(self, pod: Object) -> None:
        self._pod = pod
        life = lives.restored(pod, "10.0.0.1", START)
        node = Node("n", {}, "10.0.0.1", Addresses("10.1.0.0/24"))
        self.held = Held(key_of(pod), node, life, pod, 1)
        status = lives.step(life, pod, START, self.held.take_address).status
        self._pod = {**pod, "status": status}

    def pods_of(self, node: str) -> Iterator[Held]:
        yield self.held

    async def pod(self, held: Held) -> Object:
        return self._pod


def pod(annotations: dict[str, str], **spec: Any) -> Object:
    return {
        "metadata": {"name": "p", "namespace": "shop", "uid": "u-1", "annotations": annotations},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "web:1"}], **spec},
        "status": {},
    }


INITS = {"initContainers": [{"name": "i", "image": "i:1"}, {"name": "j", "image": "j:1"}]}


@pytest.mark.parametrize(
    ("annotations", "spec", "container", "why"),
    [
        ({"timonel.dev/simulate": '{"startDelay": "5s"}'}, {}, "c", "ContainerCreating"),
        ({"timonel.dev/simulate": '{"startDelay": "5s"}'}, INITS, "c", "PodInitializing"),
        ({"timonel.dev/simulate": '{"startDelay": "5s"}'}, INITS, "i", "PodInitializing"),
        ({"timonel.dev/simulate.i": '{"runFor": "1h"}'}, INITS, "c", "PodInitializing"),
        ({"timonel.dev/simulate.i": '{"runFor": "1h"}'}, INITS, "j", "PodInitializing"),
        ({"timonel.dev/simulate": '{"waiting": "ErrImagePull"}'}, {}, "c", "image can't be pulled"),
        (
            {"timonel.dev/simulate": '{"waiting": "ImagePullBackOff"}'},
            {},
            "c",
            "trying and failing to pull image",
        ),
        ({"timonel.dev/simulate": "{"}, {}, "c", "CreateContainerConfigError"),
    ],
)
async def test_logs_of_what_waits_say_for_what(
    annotations: dict[str, str], spec: dict[str, Any], container: str, why: str
) -> None:
    simulator = cast(NodeSimulator, OnePod(pod(annotations, **spec)))
    answers = NodeAnswers(simulator, SystemClock(), "n")

    response = await answers.handle(Request("GET", f"/containerLogs/shop/p/{container}", {}, (), Peer(), b""))

    assert response.status == 400
    assert response.body == f'container "{container}" in pod "p" is waiting to start: {why}'.encode()
