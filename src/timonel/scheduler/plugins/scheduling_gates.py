"""SchedulingGates: a pod with gates is not looked at until they are gone."""

from __future__ import annotations

from timonel.objects.meta import Object


class SchedulingGates:
    name = "SchedulingGates"
    events = frozenset({"pod-changed"})

    def pre_enqueue(self, pod: Object) -> str | None:
        if pod["spec"].get("schedulingGates"):
            return "Scheduling is blocked due to non-empty scheduling gates"
        return None
