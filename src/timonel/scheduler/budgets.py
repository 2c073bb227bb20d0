"""Which of a node's pods may not be disrupted, as budgets have it.

Upstream: pkg/scheduler/framework/plugins/defaultpreemption (filterPodsWithPDBViolation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timonel.machinery.selectors import LabelSelector, from_label_selector
from timonel.objects.meta import Object, labels_of
from timonel.scheduler.podinfo import PodInfo

BUDGETS = "poddisruptionbudgets.policy"


class Budgets:
    """Disruption budgets, parsed once for many nodes."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self.all: list[tuple[str, LabelSelector, int, frozenset[str]]] = []
        for budget in objects:
            selector = budget["spec"].get("selector")
            if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
                continue  # here, other than at eviction, one that selects everything selects nothing
            status = budget.get("status") or {}
            self.all.append(
                (
                    budget["metadata"]["namespace"],
                    from_label_selector(selector),
                    status.get("disruptionsAllowed") or 0,
                    frozenset(status.get("disruptedPods") or ()),
                )
            )

    def violated(self, pods: Sequence[PodInfo]) -> set[str]:
        """Uids of pods that cannot go besides those before them."""
        if not self.all:
            return set()
        left = [allowed for _, _, allowed, _ in self.all]
        found: set[str] = set()
        for info in pods:
            labels = labels_of(info.pod)
            if not labels:
                continue
            for number, (namespace, selector, _, disrupted) in enumerate(self.all):
                if namespace != info.key.namespace or not selector.matches(labels):
                    continue
                if info.key.name in disrupted:
                    continue  # counted already
                left[number] -= 1
                if left[number] < 0:
                    found.add(info.uid)
        return found
