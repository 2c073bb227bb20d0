"""Carries out Stages: which one an object waits for, when its time has come, and the writes that it asks for."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from timonel.aio.backoff import doubled
from timonel.aio.clock import Clock
from timonel.client.transport import Resource, Transport
from timonel.machinery.errors import BadRequest, Invalid
from timonel.node.simulation import life as lives
from timonel.node.simulation import stagefunctions, stages
from timonel.node.simulation.addresses import NoAddress
from timonel.node.simulation.stages import Deed, Stage, Stages
from timonel.node.simulation.template import Function, TemplateError
from timonel.objects.meta import Object, key_of, uid_of

logger = logging.getLogger(__name__)

AGAIN = 1.0  # seconds that a Stage without delay rests before it may have the same object again
LONGEST_REST = 300.0  # of one that fails with the same object again and again

Record = Callable[[Object, str, str, str], None]


class StageWork:
    """`look` is called when an object has changed, and when it asked to be looked at again."""

    def __init__(self, found: Stages, transport: Transport, clock: Clock, record: Record) -> None:
        self._stages, self._transport, self._clock, self._record = found, transport, clock, record
        self._waiting: dict[str, tuple[Stage, float]] = {}  # by uid: what it waits for, until when
        self._played: dict[str, tuple[str, float]] = {}  # by uid: what came last, and when
        self._failures: dict[str, int] = {}  # by uid: of what came last, in a row

    def lives(self, kind: str) -> bool:
        return self._stages.lives(kind)

    def forget(self, uid: str) -> None:
        self._waiting.pop(uid, None)
        self._played.pop(uid, None)
        self._failures.pop(uid, None)

    async def look(
        self, resource: Resource, obj: Object, node: str, node_ip: str, address: Callable[[], str]
    ) -> float | None:
        """Do what is due; when to look again, if nothing happens before."""
        uid, now = uid_of(obj), self._clock.now()
        found = self._stages.matching("Node" if resource.plural == "nodes" else "Pod", obj)
        stage, due = self._waiting.get(uid, (None, 0.0))
        if stage is None or stage not in found:
            # the same object at the same point always takes the same way
            chance = random.Random(f"{uid}/{obj['metadata'].get('resourceVersion')}")
            stage = stages.chosen(found, obj, chance)
            if stage is None:
                self._waiting.pop(uid, None)
                return None
            due = now + stage.delay(obj, now, chance)
            last, at = self._played.get(uid, ("", 0.0))
            rest = doubled(AGAIN, self._failures.get(uid, 0), LONGEST_REST)
            due = max(due, at + rest) if last == stage.name else due
            self._waiting[uid] = (stage, due)
        if due > now:
            return due
        chance = random.Random(f"{uid}/{obj['metadata'].get('resourceVersion')}/{stage.name}")
        functions = stagefunctions.functions(
            obj, node=node, node_ip=node_ip, address=address, now=now, chance=chance
        )
        told: list[tuple[Object, str, str, str]] = []
        try:
            for deed in stage.deeds:
                obj = await self._carry_out(resource, obj, deed, functions, told)
        except NoAddress as e:
            why = lives.no_sandbox(uid, e)
            self._record(obj, why.type, why.reason, why.message)
            again = now + lives.SANDBOX_RETRY
            self._waiting[uid] = (stage, again)
            return again
        except (TemplateError, BadRequest, Invalid) as e:  # it would fail again
            if "metadata.uid: " in str(e):  # not the Stage's fault: a namesake has the object's place
                raise
            logger.info(
                "Stage failed", extra={"stage": stage.name, "object": str(key_of(obj)), "error": str(e)}
            )
            told = [(obj, "Warning", "StageFailed", f"stage {stage.name}: {e}")]
            self._failures[uid] = self._failures.get(uid, 0) + 1
        else:
            self._failures.pop(uid, None)
        for event in told:
            self._record(*event)
        self._waiting.pop(uid, None)
        self._played[uid] = (stage.name, now)
        return None

    async def _carry_out(
        self,
        resource: Resource,
        obj: Object,
        deed: Deed,
        functions: Mapping[str, Function],
        told: list[tuple[Object, str, str, str]],
    ) -> Object:
        """The object as it is then. `told` gets the events, which are recorded when the whole Stage has been done."""
        key, uid = key_of(obj), uid_of(obj)
        if deed.event is not None:
            message = deed.event.message.render(obj, functions)
            told.append((obj, deed.event.type, deed.event.reason, message))
        if deed.finalizers is not None:
            before = obj["metadata"].get("finalizers") or []
            after = deed.finalizers.applied(before)
            if after != before:
                body: Any = {"metadata": {"uid": uid, "finalizers": after or None}}
                obj = await self._transport.patch(resource, key, body)
        if deed.patch is not None:
            body = deed.patch.rendered(obj, functions)
            if isinstance(body, dict):
                body = {**body, "metadata": {**(body.get("metadata") or {}), "uid": uid}}
            if body:
                obj = await self._transport.patch(
                    resource, key, body, kind=deed.patch.kind, subresource=deed.patch.subresource
                )
        if deed.delete:
            await self._transport.delete(resource, key, uid=uid, grace_period=0)
        return obj
