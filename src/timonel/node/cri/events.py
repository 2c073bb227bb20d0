"""containerd's event stream as `RuntimeEvent`s. Its own API, since 1.6 does not offer CRI's GetContainerEvents.

The stream has no replay: whoever listens looks at everything once after each `lost` (the first event included).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio

from timonel.aio.clock import Clock
from timonel.node.cri.pb import events_pb2 as pb
from timonel.node.cri.runtime import RuntimeEvent

logger = logging.getLogger(__name__)

RETRY = 0.2
FILTERS = ('namespace==k8s.io,topic=="/tasks/exit"', 'namespace==k8s.io,topic=="/tasks/oom"')  # either
_METHOD = "/containerd.services.events.v1.Events/Subscribe"


def _event_of(envelope: Any) -> RuntimeEvent | None:
    if envelope.topic == "/tasks/oom":
        return RuntimeEvent("oom", pb.TaskOOM.FromString(envelope.event.value).container_id)
    exit_ = pb.TaskExit.FromString(envelope.event.value)
    # the end of an exec has an id of its own and changes nothing about the container
    return RuntimeEvent("exit", exit_.container_id) if exit_.id == exit_.container_id else None


async def subscribe(channel: grpc.aio.Channel, clock: Clock) -> AsyncGenerator[RuntimeEvent, None]:
    """Events for as long as the caller listens, over restarts of containerd."""
    method = channel.unary_stream(
        _METHOD,
        request_serializer=pb.SubscribeRequest.SerializeToString,
        response_deserializer=pb.Envelope.FromString,
    )
    while True:
        call = method(pb.SubscribeRequest(filters=FILTERS), wait_for_ready=True)
        try:
            yield RuntimeEvent("lost")
            async for envelope in call:
                event = _event_of(envelope)
                if event is not None:
                    yield event
        except grpc.aio.AioRpcError as e:
            # mostly: containerd went away; subscribe again when it is back
            logger.info("Lost containerd's events", extra={"error": e.details()})
        finally:
            call.cancel()
        await clock.sleep(RETRY)
