"""Plugins that complete pods: Priority, DefaultTolerationSeconds, RuntimeClass.

Upstream: plugin/pkg/admission/{priority,defaulttolerationseconds,runtimeclass}/admission.go.
"""

from __future__ import annotations

from typing import Any

from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object
from timonel.server.admission.attributes import WRITES, creates, forbidden
from timonel.server.request import AdmissionCall, OnlyMutates, Operation, Reader

PRIORITY_CLASSES = "priorityclasses.scheduling.k8s.io"
_POLICY = "PreemptLowerPriority"
TOLERATED = 300  # seconds


class Priority:
    name = "Priority"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if resource.qualified == PRIORITY_CLASSES:
            return not subresource and operation in WRITES
        return resource.qualified == "pods" and not subresource and operation in WRITES

    async def admit(self, call: AdmissionCall) -> None:
        if call.resource.qualified != "pods":
            return
        assert call.obj is not None
        spec = call.obj["spec"]
        if call.old is not None:
            for key in ("priority", "preemptionPolicy"):  # an update that leaves them out means no change
                if key in call.old["spec"]:
                    spec.setdefault(key, call.old["spec"][key])
            return
        value, policy = 0, _POLICY
        found = self._class_of(call, spec)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
            value, policy = found.get("value", 0), found.get("preemptionPolicy") or _POLICY
        computed = "must not be provided in pod spec; priority admission controller computed"
        if spec.get("priority", value) != value:
            why = f"the integer value of priority ({spec['priority']}) {computed} {value}"
            raise forbidden(call, f"{why} from the given PriorityClass name")
        if spec.get("preemptionPolicy", policy) != policy:
            why = f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) {computed} {policy}"
            raise forbidden(call, f"{why} from the given PriorityClass name")
        spec["priority"], spec["preemptionPolicy"] = value, policy

    async def validate(self, call: AdmissionCall) -> None:
        if call.resource.qualified != PRIORITY_CLASSES or not (call.obj or {}).get("globalDefault"):
            return
        default = self._default()
        if default is not None and default["metadata"]["name"] != call.name:
            name = default["metadata"]["name"]
            raise forbidden(
                call,
                f"PriorityClass {name} is already marked as default. Only one default can exist",
            )

    def _class_of(self, call: AdmissionCall, spec: Object) -> Object | None:
        name = spec.get("priorityClassName")
        if not name:
            return self._default()
        found = self._reader.get(PRIORITY_CLASSES, "", name)
        if found is None:
            raise forbidden(call, f"no PriorityClass with name {name} was found")
        return found

    def _default(self) -> Object | None:
        marked = [c for c in self._reader.list(PRIORITY_CLASSES) if c.get("globalDefault")]
        return min(marked, key=lambda c: (c.get("value", 0), c["metadata"]["name"])) if marked else None


class DefaultTolerationSeconds(OnlyMutates):
    """Pods stay five minutes on a node that is not ready or cannot be reached, unless they say otherwise."""

    name = "DefaultTolerationSeconds"

    def __init__(self, not_ready: int = TOLERATED, unreachable: int = TOLERATED) -> None:
        self._seconds = {
            "node.kubernetes.io/not-ready": not_ready,
            "node.kubernetes.io/unreachable": unreachable,
        }

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return resource.qualified == "pods" and not subresource and operation in WRITES

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj["spec"]
        for key, seconds in self._seconds.items():
            tolerations: list[dict[str, Any]] = spec.get("tolerations") or []
            if not any(_tolerates(t, key) for t in tolerations):
                added = {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": seconds,
                }
                spec["tolerations"] = [*tolerations, added]


def _tolerates(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key", "") in (key, "") and toleration.get("effect", "") in ("NoExecute", "")


class RuntimeClass:
    """The overhead, node selector and tolerations of a pod's runtime class become the pod's."""

    name = "RuntimeClass"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return creates(resource, subresource, operation, "pods")

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj["spec"]
        chosen = self._class_of(call, spec)
        if chosen is None:
            return
        overhead = (chosen.get("overhead") or {}).get("podFixed")
        if overhead is not None:
            if spec.get("overhead", overhead) != overhead:
                raise forbidden(
                    call, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                )
            spec["overhead"] = dict(overhead)
        scheduling = chosen.get("scheduling") or {}
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in sorted((scheduling.get("nodeSelector") or {}).items()):
            if selector.setdefault(key, value) != value:
                own = f"pod.spec.nodeSelector[{key}] = {selector[key]}"
                where = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
                raise forbidden(call, f"conflict: {where}; {own}")
        if selector:
            spec["nodeSelector"] = selector
        tolerations: list[dict[str, Any]] = list(spec.get("tolerations") or ())
        tolerations += [t for t in scheduling.get("tolerations") or () if t not in tolerations]
        if tolerations:
            spec["tolerations"] = tolerations

    async def validate(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj["spec"]
        chosen = self._class_of(call, spec)
        defined = ((chosen or {}).get("overhead") or {}).get("podFixed")
        if spec.get("overhead") and not defined:
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden(call, why)

    def _class_of(self, call: AdmissionCall, spec: Object) -> Object | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        found = self._reader.get("runtimeclasses.node.k8s.io", "", name)
        if found is None:
            raise forbidden(call, f'pod rejected: RuntimeClass "{name}" not found')
        return found
