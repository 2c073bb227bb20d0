"""DefaultPreemption: when no node will do, says whether removing pods of lower priority could help.

Upstream: pkg/scheduler/framework/plugins/defaultpreemption, framework/preemption.
"""

from __future__ import annotations

from collections import Counter

from timonel.scheduler.framework import Diagnosis, State, histogram


class DefaultPreemption:
    name = "DefaultPreemption"
    events = frozenset({"pod-deleted"})

    def post_filter(self, state: State, diagnosis: Diagnosis) -> str:
        if diagnosis.rejected:
            return "not found"
        prefix = "no new claims to deallocate, preemption: "
        if state.info.spec.get("preemptionPolicy") == "Never":
            return f"{prefix}not eligible due to preemptionPolicy=Never."
        hopeless = int(diagnosis.unresolvable.sum())
        reasons = Counter(
            {
                "Preemption is not helpful for scheduling": hopeless,
                "No preemption victims found for incoming pod": diagnosis.count - hopeless,
            }
        )
        return f"{prefix}0/{diagnosis.count} nodes are available: {histogram(+reasons)}."
