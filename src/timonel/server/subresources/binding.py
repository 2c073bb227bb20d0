"""pods/binding and bindings: a pod gets its node, once.

Upstream: pkg/registry/core/pod/storage/storage.go (BindingREST), plugin/pkg/admission/podtopologylabels.
"""

from __future__ import annotations

from timonel.aio.clock import Clock
from timonel.machinery import errors, field
from timonel.machinery.errors import Cause
from timonel.machinery.field import quote
from timonel.objects.meta import Object, annotations_of, format_time, is_deleting, labels_of
from timonel.server.request import ActionCall, Objects, Reader

SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")


class Binding:
    def __init__(self, objects: Objects, reader: Reader, clock: Clock) -> None:
        self._objects = objects
        self._reader = reader
        self._clock = clock

    async def act(self, call: ActionCall) -> Object:
        binding = call.obj
        metadata, target = binding.get("metadata") or {}, binding.get("target") or {}
        name = metadata.get("name", "")
        if call.name and name != call.name:
            raise errors.BadRequest("name in URL does not match name in Binding object")
        causes = _causes(target)
        if causes:
            texts = [str(c) for c in causes]
            raise errors.BadRequest(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
        now = format_time(self._clock.now())
        labels = {**self._topology_of(target["name"]), **(metadata.get("labels") or {})}

        def assign(pod: Object) -> None:
            _check(pod, call.namespace, metadata)
            pod["spec"]["nodeName"] = target["name"]
            _merge(pod, "annotations", annotations_of(pod), metadata.get("annotations") or {})
            _merge(pod, "labels", labels_of(pod), labels)
            _schedule(pod.setdefault("status", {}), now)

        await self._objects.change("pods", call.namespace, name, assign, dry_run=call.dry_run)
        return dict(SUCCESS)

    def _topology_of(self, node: str) -> dict[str, str]:
        found = self._reader.get("nodes", "", node)
        labels = labels_of(found) if found is not None else {}
        return {key: labels[key] for key in _TOPOLOGY if key in labels}


def _causes(target: Object) -> list[Cause]:
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(field.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        causes.append(field.required("target.name"))
    return causes


def _check(pod: Object, namespace: str, binding: Object) -> None:
    name, own = pod["metadata"]["name"], pod["metadata"]
    for key, title in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if binding.get(key) and binding[key] != own.get(key):
            what = f"{title} in precondition: {binding[key]}, {title} in object meta: {own.get(key, '')}"
            where = f"Key: /registry/pods/{namespace}/{name}, ResourceVersion: 0"
            why = f"StorageError: invalid object, Code: 4, {where}, AdditionalErrorMsg: Precondition failed: {what}"
            raise errors.conflict("pods", name, why)
    if is_deleting(pod):
        raise _refusal(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        node = quote(pod["spec"]["nodeName"])
        raise _refusal(name, f"pod {name} is already assigned to node {node}")
    if pod["spec"].get("schedulingGates"):
        raise _refusal(name, f"pod {name} has non-empty .spec.schedulingGates")


def _refusal(name: str, why: str) -> errors.Conflict:
    return errors.conflict("pods/binding", name, why)


def _merge(pod: Object, key: str, own: dict[str, str], more: dict[str, str]) -> None:
    if more:
        pod["metadata"][key] = {**own, **more}


def _schedule(status: Object, now: str) -> None:
    conditions = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    status["conditions"] = [*conditions, scheduled]
    status.pop("nominatedNodeName", None)  # it has said where the pod was expected
