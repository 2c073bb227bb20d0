"""A decision in which extenders have a say: as `cycle.choose`, but it waits for their answers.

Upstream: pkg/scheduler/schedule_one.go (findNodesThatPassExtenders, prioritizeNodes), framework/preemption
(callExtenders).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from timonel.scheduler import cycle
from timonel.scheduler.cycle import Unschedulable
from timonel.scheduler.extenders import Extender, ExtenderFailed
from timonel.scheduler.framework import Diagnosis, Nomination, Refusal, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.profile import Profile

logger = logging.getLogger(__name__)

EXTENDER = "Extender"  # among the plugins that refused a pod: anything may help, as extenders name no events


async def choose(profile: Profile, state: State, extenders: Sequence[Extender]) -> int:
    """The row of the best node; raises Unschedulable, ExtenderFailed."""
    diagnosis = Diagnosis(state.count)
    if not state.count:
        diagnosis.nomination = Nomination("")
        raise Unschedulable(diagnosis)
    rows = cycle.feasible(profile, state, diagnosis)
    own = cycle.nomination_of(state)
    if own >= 0 and own in rows:
        alone = np.array([own], dtype=np.int64)
        if len(await _left_by(extenders, state, alone, Diagnosis(state.count))):
            return own
    rows = cycle.sample(profile, state, diagnosis.looked_at, rows)
    rows = await _left_by(extenders, state, rows, diagnosis)
    if not len(rows):
        cycle.post_filter(profile, state, diagnosis)
        diagnosis.nomination = await _acceptable(state.info, diagnosis.nomination, extenders)
        raise Unschedulable(diagnosis)
    if len(rows) == 1:
        return int(rows[0])
    total = cycle.score(profile, state, rows)
    nodes = [state.nodes.objects[row] for row in rows.tolist()]
    for extender in extenders:
        if extender.config.prioritize_verb:
            try:
                points = await extender.prioritize(state.info.pod, nodes)
            except ExtenderFailed as exc:  # as upstream: its opinion is done without
                logger.info("Failed to run extender's priority function: %s", exc)
                continue
            total = total + np.array([points.get(n["metadata"]["name"], 0) for n in nodes], dtype=np.int64)
    return int(rows[np.argmax(total)])


async def _left_by(extenders: Sequence[Extender], state: State, rows: Ints, diagnosis: Diagnosis) -> Ints:
    """One after the other is asked about what those before it have left."""
    for extender in extenders:
        if len(rows) and extender.config.filter_verb:
            rows = await _filter(extender, state, rows, diagnosis)
    return rows


async def _filter(extender: Extender, state: State, rows: Ints, diagnosis: Diagnosis) -> Ints:
    nodes = [state.nodes.objects[row] for row in rows.tolist()]
    try:
        found = await extender.filter(state.info.pod, nodes)
    except ExtenderFailed as exc:
        if extender.config.ignorable:
            logger.warning("Skipping extender as it returned error and has ignorable flag set: %s", exc)
            return rows
        raise
    kept = np.array([n["metadata"]["name"] in found.names for n in nodes], dtype=np.bool_)
    if not kept.all():
        diagnosis.plugins.add(EXTENDER)
    for reasons, resolvable in ((found.hopeless, False), (found.failed, True)):
        for node, reason in reasons.items():
            row = state.nodes.row.get(node)
            if row is None or (resolvable and node in found.hopeless):
                continue
            cycle.refuse(diagnosis, np.array([row]), Refusal(np.ones(1, dtype=np.bool_), reason, resolvable))
    return rows[kept]


async def _acceptable(
    info: PodInfo, nomination: Nomination | None, extenders: Sequence[Extender]
) -> Nomination | None:
    """What extenders leave of the proposed victims; None where they want none of it."""
    for extender in extenders:
        if nomination is None or not nomination.node or not extender.config.preempt_verb:
            continue
        proposed = {nomination.node: [v.pod for v in nomination.victims]}
        try:
            found = await extender.victims(info.pod, proposed)
        except ExtenderFailed:
            if extender.config.ignorable:
                continue
            raise
        uids = found.get(nomination.node)
        if uids is None:
            return None
        nomination = Nomination(nomination.node, tuple(v for v in nomination.victims if v.uid in uids))
    return nomination
