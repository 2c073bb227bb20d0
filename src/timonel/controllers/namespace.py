"""Namespace: empty a namespace that is being deleted, pods first, then let it go.

Watches   namespaces; pods and the metadata of every other namespaced resource (what leaves a dying namespace, or one
          of its own finalizers, wakes it)
Writes    everything in the namespace (delete); namespaces/status (conditions), namespaces/finalize
Upstream  pkg/controller/namespace/{namespace_controller,deletion/namespaced_resources_deleter}.go
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from timonel.control.actions import Content, ContentRemains, DeleteContent, Outcome, Plan, Status, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Key, Object, format_time, is_deleting
from timonel.records import dataclass

FINALIZER = "kubernetes"
MOMENT = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Observed:
    now: float


def observe(namespace: Object, cache: Cache) -> Observed:
    return Observed(cache.now())


def reconcile(namespace: Object, observed: Observed) -> Plan:
    finalizers = namespace.get("spec", {}).get("finalizers") or []
    if not is_deleting(namespace) or FINALIZER not in finalizers:
        return Plan()
    spec = {**namespace["spec"], "finalizers": [f for f in finalizers if f != FINALIZER]}
    released = Update("namespaces", {**namespace, "spec": spec}, subresource="finalize")
    return Plan((DeleteContent(namespace["metadata"]["name"]), released))


def status(namespace: Object, observed: Observed, outcome: Outcome) -> Status | None:
    """The conditions tell why a namespace lingers; one that goes away at once gets none."""
    if not outcome.plan.actions or not isinstance(outcome.error, ContentRemains):
        return None
    known = {c["type"]: c for c in namespace.get("status", {}).get("conditions") or ()}
    conditions = [
        _condition(known.get(type_), type_, failing, reason, message, observed.now)
        for type_, failing, reason, message in findings(outcome.error.content)
    ]
    kept = [c for c in known.values() if c["type"] not in {c["type"] for c in conditions}]
    return {**namespace.get("status", {}), "phase": "Terminating", "conditions": [*kept, *conditions]}


def findings(content: Content) -> Iterable[tuple[str, bool, str, str]]:
    """Per condition: type, whether it is True, reason, message."""
    groups, errors = content.failed_groups, content.errors
    if groups:
        shown = ", ".join(f"{name}: {why}" for name, why in sorted(groups.items()))
        message = f"Discovery failed for some groups, {len(groups)} failing: {shown}"
        yield "NamespaceDeletionDiscoveryFailure", True, "DiscoveryFailed", message
    else:
        message = "All resources successfully discovered"
        yield "NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", message
    message = "All legacy kube types successfully parsed"
    yield "NamespaceDeletionGroupVersionParsingFailure", False, "ParsedGroupVersions", message
    if errors:
        message = f"Failed to delete all resource types, {len(errors)} remaining: {', '.join(errors)}"
        yield "NamespaceDeletionContentFailure", True, "ContentDeletionFailed", message
    else:
        message = "All content successfully deleted, may be waiting on finalization"
        yield "NamespaceDeletionContentFailure", False, "ContentDeleted", message
    if content.remaining:
        message = (
            f"Some resources are remaining: {_counts(content.remaining, '{} has {} resource instances')}"
        )
        yield "NamespaceContentRemaining", True, "SomeResourcesRemain", message
    else:
        message = "All content successfully removed"
        yield "NamespaceContentRemaining", False, "ContentRemoved", message
    if content.finalizers:
        counts = _counts(content.finalizers, "{} in {} resource instances")
        message = f"Some content in the namespace has finalizers remaining: {counts}"
        yield "NamespaceFinalizersRemaining", True, "SomeFinalizersRemain", message
    else:
        message = "All content-preserving finalizers finished"
        yield "NamespaceFinalizersRemaining", False, "ContentHasNoFinalizers", message


def _counts(counts: Mapping[str, int], form: str) -> str:
    return ", ".join(form.format(name, count) for name, count in sorted(counts.items()))


def _condition(
    known: Object | None, type_: str, failing: bool, reason: str, message: str, now: float
) -> Object:
    state = "True" if failing else "False"
    condition = {"type": type_, "status": state, "reason": reason, "message": message}
    since = known["lastTransitionTime"] if known and known["status"] == state else format_time(now)
    return {**condition, "lastTransitionTime": since}


def _its_dying_namespace(obj: Object, cache: Cache) -> Iterable[Key]:
    """What was deleted by the last pass was gone when that looked; what took longer has a time of its deletion."""
    if not is_deleting(obj):
        return ()
    key = Key("", obj["metadata"]["namespace"])
    namespace = cache.get("namespaces", key)
    return (key,) if namespace is not None and is_deleting(namespace) else ()


def _content(resource: str) -> Watch:
    """Much may go in a moment: one look is for all of it."""
    return Watch(resource, wakes=_its_dying_namespace, delay=MOMENT)


NAMESPACE = ControllerType(
    name="namespace-controller",
    watches=(Watch("namespaces"), _content("pods")),
    observe=observe,
    reconcile=reconcile,
    status=status,
    workers=10,
    others=_content,
    longest_backoff=60.0,
)
