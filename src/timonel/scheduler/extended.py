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
from timonel.scheduler.extenders import Extender, ExtenderFailed, Victims
from timonel.scheduler.framework import ALL_CANDIDATES, Diagnosis, Nomination, Refusal, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.preemption import Candidate, by_importance, cheapest
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
        await _post_filter(profile, state, extenders, diagnosis)
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


async def _post_filter(
    profile: Profile, state: State, extenders: Sequence[Extender], diagnosis: Diagnosis
) -> None:
    """Extenders with a say about victims are asked about all nodes that would do; the best of what they leave wins."""
    asked = [extender for extender in extenders if extender.config.preempt_verb]
    if asked:
        state.notes[ALL_CANDIDATES] = True
    cycle.post_filter(profile, state, diagnosis)
    if not asked or diagnosis.nomination is None or not diagnosis.nomination.node:
        return
    try:
        left = await _left_of(diagnosis.candidates, state, asked)
        why = "no candidate node for preemption"
    except ExtenderFailed as exc:
        left, why = [], str(exc)
    if left:
        best = cheapest(left)
        diagnosis.nomination = Nomination(state.nodes.name(best.row), best.victims)
    else:
        diagnosis.nomination = None
        diagnosis.post_filter = ", ".join([*diagnosis.said, f"preemption: {why}"])


async def _left_of(
    candidates: Sequence[Candidate], state: State, extenders: Sequence[Extender]
) -> list[Candidate]:
    """Raises ExtenderFailed."""
    left = list(candidates)
    for extender in extenders:
        proposed = {state.nodes.name(c.row): ([v.pod for v in c.victims], c.violations) for c in left}
        try:
            found = await extender.victims(state.info.pod, proposed)
            left = [c for c in (_candidate(extender, state, n, v) for n, v in found.items()) if c is not None]
        except ExtenderFailed as exc:
            if not extender.config.ignorable:
                raise
            logger.info("Skipping extender as it returned error and has ignorable flag set: %s", exc)
        if not left:
            break
    return left


def _candidate(extender: Extender, state: State, node: str, victims: Victims) -> Candidate | None:
    """What an extender wants to go from a node; raises ExtenderFailed."""
    row = state.nodes.row.get(node)
    if row is None:
        raise ExtenderFailed(f'nodeinfo not found for node name "{node}"')
    there = state.nodes.pods[row]
    for uid in victims.uids:
        if uid not in there:
            raise ExtenderFailed(
                f"extender: {extender.config.url} claims to preempt pod (UID: {uid}) on node: {node}, "
                "but the pod is not found on that node"
            )
    if not victims.uids:
        if extender.config.ignorable:
            return None
        raise ExtenderFailed(f'expected at least one victim pod on node "{node}"')
    return Candidate.of(row, by_importance(there[uid] for uid in victims.uids), victims.violations)
