"""DynamicResources: claims for devices. A pod without any has nothing to do with it."""

from __future__ import annotations

from timonel.scheduler.framework import Diagnosis, PostFiltered, Skip, State, Suppose


class DynamicResources:
    name = "DynamicResources"
    scope = "cluster"
    events = frozenset({"resource-claim", "resource-slice", "device-class", "node-added", "pod-changed"})

    def pre_filter(self, state: State) -> set[str] | None:
        state.notes[self.name] = ()
        raise Skip

    def post_filter(self, state: State, diagnosis: Diagnosis, suppose: Suppose) -> PostFiltered:
        if self.name not in state.notes:  # an earlier plugin has rejected the pod
            return PostFiltered("not found", final=True)
        return PostFiltered("no new claims to deallocate")
