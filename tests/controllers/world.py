"""A cluster in a dictionary: a Cache that actions are applied to, and actors who play the node's part.

`settle` runs controllers as the shell does, pass by pass, until nobody wants anything any more. It asserts that this
happens within a few rounds (no fights, no loops) and that no decision changed what it was shown.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from timonel.control import actions as a
from timonel.control.declare import AnyControllerType
from timonel.control.questions import Inquiry, Question
from timonel.machinery.errors import AlreadyExists, Conflict, NotFound
from timonel.objects.indexing import Entries
from timonel.objects.meta import (
    Key,
    Object,
    controller_of,
    controller_ref,
    format_time,
    key_of,
    labels_of,
    nested,
    parse_time,
)

START = 1_800_000_000.0
ROUNDS = 60


def _unanswered(question: Question) -> Any:
    raise AssertionError(f"nobody answers {question}")


class World:
    def __init__(self, *objects: tuple[str, Object]) -> None:
        self.time = START
        self.steady = 0.0
        self.vanished: dict[tuple[str, Key], float] = {}
        self.vanished_uids: dict[tuple[str, Key], str] = {}
        self.events: list[tuple[str, str, str]] = []
        self.applied: list[a.Action] = []
        self.answer: Callable[[Question], Any] = _unanswered
        self._memories: dict[tuple[str, str], Any] = {}
        self._serial = itertools.count(1)
        self._objects: dict[tuple[str, Key], Object] = {}
        for resource, obj in objects:
            self.add(resource, obj)

    # ---- the Cache protocol

    def now(self) -> float:
        return self.time

    def steady_since(self) -> float:
        return self.steady

    def gone_since(self, resource: str, key: Key) -> float:
        return self.vanished.get((resource, key), self.steady)

    def gone_uid(self, resource: str, key: Key) -> str:
        return self.vanished_uids.get((resource, key), "")

    def knows(self, resource: str) -> bool:
        return any(kind == resource for kind, _ in self._objects)

    def get(self, resource: str, key: Key) -> Object | None:
        return self._objects.get((resource, key))

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        return [
            obj
            for (kind, key), obj in self._objects.items()
            if kind == resource and namespace in (None, key.namespace)
        ]

    def controlled_by(self, owner: Object, resource: str) -> Sequence[Object]:
        uid, namespace = owner["metadata"]["uid"], owner["metadata"].get("namespace", "")
        return [o for o in self.list(resource, namespace) if (controller_of(o) or {}).get("uid") == uid]

    def orphans(
        self, resource: str, namespace: str, labels: Callable[[dict[str, str]], bool]
    ) -> Sequence[Object]:
        return [o for o in self.select(resource, namespace, labels) if controller_of(o) is None]

    def owned_by(self, uid: str, resource: str) -> Sequence[Object]:
        return [
            o
            for o in self.list(resource)
            if any(r["uid"] == uid for r in o["metadata"].get("ownerReferences") or ())
        ]

    def by(self, resource: str, entries: Entries, value: Hashable) -> Sequence[Object]:
        return [o for o in self.list(resource) if value in entries(o)]

    def count(self, resource: str) -> int:
        return len(self.list(resource))

    def select(
        self,
        resource: str,
        namespace: str,
        labels: Callable[[dict[str, str]], bool],
        having: Mapping[str, str] | None = None,
    ) -> Sequence[Object]:
        wanted = (having or {}).items()
        return [
            o
            for o in self.list(resource, namespace)
            if labels(labels_of(o)) and wanted <= labels_of(o).items()
        ]

    # ---- the API server's part

    def add(self, resource: str, obj: Object) -> Object:
        new = copy.deepcopy(obj)
        meta = new["metadata"]
        serial = next(self._serial)
        if "name" not in meta:
            meta["name"] = f"{meta.pop('generateName')}{serial:05d}"
        meta.setdefault("uid", f"uid-{serial}")
        meta.setdefault("creationTimestamp", format_time(self.time))
        meta.setdefault("generation", 1)
        meta["resourceVersion"] = str(serial)
        if (resource, key_of(new)) in self._objects:
            raise AlreadyExists(f'{resource} "{meta["name"]}" already exists')
        if resource == "pods":
            new.setdefault("status", {}).setdefault("phase", "Pending")
        self._objects[resource, key_of(new)] = new
        return new

    def put(self, resource: str, obj: Object) -> Object:
        new = copy.deepcopy(obj)
        new["metadata"]["resourceVersion"] = str(next(self._serial))
        meta = new["metadata"]
        released = meta.get("deletionTimestamp") and not meta.get("finalizers")
        if released and (resource != "pods" or meta.get("deletionGracePeriodSeconds") == 0):
            self._objects.pop((resource, key_of(new)), None)
            self.vanished[resource, key_of(new)] = self.time
            self.vanished_uids[resource, key_of(new)] = meta["uid"]
            return new
        self._objects[resource, key_of(new)] = new
        return new

    def change(self, resource: str, name: str, /, namespace: str = "shop", **parts: Any) -> Object:
        """Merge `parts` into an object, as a user would; the spec's generation moves on."""
        current = self.get(resource, Key(namespace, name))
        assert current is not None, f"no {resource} {name}"
        new = merged(current, parts)
        if "spec" in parts:
            new["metadata"]["generation"] += 1
        return self.put(resource, new)

    def remove(self, resource: str, key: Key, grace: int | None = None) -> None:
        current = self.get(resource, key)
        if current is None:
            return
        bound = resource == "pods" and current.get("spec", {}).get("nodeName")
        running = bound and current["status"].get("phase") not in ("Succeeded", "Failed") and grace != 0
        seconds = 30 if running else 0
        meta = {
            "deletionTimestamp": format_time(self.time + seconds),
            "deletionGracePeriodSeconds": seconds,
        }
        self.put(resource, merged(current, {"metadata": meta}))

    def apply(self, owner: Object | None, action: a.Action) -> Any:
        self.applied.append(action)
        match action:
            case a.Create():
                try:
                    new = self.add(action.resource, action.obj)
                except AlreadyExists:
                    if action.exists_ok:
                        return None
                    raise
                if action.made is not None:
                    self.events.append(("Normal", action.made.reason, action.made.text))
                return new
            case a.Update(subresource="scale"):
                target = self._present(action.resource, key_of(action.obj))
                size = action.obj["spec"]["replicas"]
                return self.put(action.resource, merged(target, {"spec": {"replicas": size}}))
            case a.Update():
                current = self._present(action.resource, key_of(action.obj))
                if current["metadata"]["resourceVersion"] != action.obj["metadata"]["resourceVersion"]:
                    raise Conflict("the object has been modified")
                return self.put(action.resource, action.obj)
            case a.Patch():
                if action.missing_ok and self.get(action.resource, action.key) is None:
                    return None
                return self._patch(action)
            case a.Delete():
                victim = self.get(action.resource, action.key)
                if victim is not None and victim["metadata"]["uid"] == action.uid:
                    self.remove(action.resource, action.key, action.grace_period)
                return None
            case a.Adopt():
                assert owner is not None
                current = self._present(action.resource, action.key)
                refs = [*(current["metadata"].get("ownerReferences") or ()), controller_ref(owner)]
                marks = [*(current["metadata"].get("finalizers") or ()), *action.finalizers]
                changed = {"ownerReferences": refs, "finalizers": marks or None}
                return self.put(action.resource, merged(current, {"metadata": changed}))
            case a.Release():
                current = self._present(action.resource, action.key)
                marks = [f for f in current["metadata"].get("finalizers") or () if f not in action.finalizers]
                changed = {"ownerReferences": None, "finalizers": marks or None}
                return self.put(action.resource, merged(current, {"metadata": changed}))
            case a.Approve():
                condition = {"type": "Approved", "status": "True", "message": action.questions[0][1]}
                return self._signed(action.request, {"conditions": [condition]})
            case a.Sign():
                return self._signed(action.request, {"certificate": "signed"})
            case a.FillToken():
                filled = {**action.secret, "data": {**action.secret["data"], "token": "signed"}}
                return self.put("secrets", filled)
            case a.Record():
                self.events.append((action.type, action.reason, action.message))
                return None
            case _:
                raise AssertionError(f"unexpected {action}")

    def _signed(self, request: Object, status: Object) -> Object:
        status = {**request.get("status", {}), **status}
        return self.put("certificatesigningrequests.certificates.k8s.io", {**request, "status": status})

    def _present(self, resource: str, key: Key) -> Object:
        found = self.get(resource, key)
        if found is None:
            raise NotFound(f'{resource} "{key.name}" not found')
        return found

    def _patch(self, action: a.Patch) -> Object:
        current = self._present(action.resource, action.key)
        assert action.uid in ("", current["metadata"]["uid"]), "a namesake"
        patch = copy.deepcopy(action.patch)
        version = (patch.get("metadata") or {}).get("resourceVersion")
        if version not in (None, current["metadata"]["resourceVersion"]):
            raise Conflict("the object has been modified")
        gone = (patch.get("metadata") or {}).pop("$deleteFromPrimitiveList/finalizers", ())
        if action.kind == "strategic" and nested(patch, "status", "conditions"):
            patch["status"]["conditions"] = _by_type(current, patch["status"]["conditions"])
        new = merged(current, patch)
        if gone:
            kept = [f for f in new["metadata"].get("finalizers") or () if f not in gone]
            new["metadata"]["finalizers"] = kept
        if "spec" in patch and not action.subresource:
            new["metadata"]["generation"] += 1
        return self.put(action.resource, new)

    # ---- the shell's part

    def sync(self, what: AnyControllerType, key: Key) -> bool:
        """One pass; whether it did anything. A failure is left to the next pass, as by the shell's back-off."""
        resource = what.watches[0].resource
        desired = self.get(resource, key)
        before = copy.deepcopy(self._objects)
        if desired is None:
            plan = what.absent(key, self) if what.absent is not None else a.Plan()
            seen = None
        else:
            seen = what.observe(desired, self)
            left = self._memories.get((what.name, desired["metadata"]["uid"]))
            if what.memory is not None and left is not None:
                seen = what.memory.recall(seen, left)
            if what.inquiry is not None:
                seen = self._asked(what.inquiry, desired, seen)
            plan = what.reconcile(desired, seen)
        assert self._objects == before, f"{what.name} changed what it was shown"
        outcome = self._outcome(desired, plan)
        if what.memory is not None and desired is not None:
            left = what.memory.remember(desired, seen, outcome)
            self._memories[what.name, desired["metadata"]["uid"]] = left
        busy = any(not isinstance(action, a.Record) for action in plan.actions)
        if desired is not None and what.status is not None:
            status = what.status(desired, seen, outcome)
            current = self.get(resource, key)
            if status is not None and status != desired.get("status", {}) and current is not None:
                if current["metadata"]["resourceVersion"] == desired["metadata"]["resourceVersion"]:
                    self.put(resource, {**current, "status": copy.deepcopy(status)})
                busy = True
        return busy

    def _asked(self, inquiry: Inquiry[Any], desired: Object, seen: Any) -> Any:
        answers: dict[Question, Any] = {}
        while fresh := [q for q in inquiry.questions(desired, seen) if q not in answers]:
            answers.update({question: self.answer(question) for question in fresh})
            seen = inquiry.told(seen, dict(answers))
        return seen

    def _outcome(self, desired: Object | None, plan: a.Plan) -> a.Outcome:
        results: dict[int, Any] = {}
        for number, action in enumerate(plan.actions):
            try:
                results[number] = self.apply(desired, action)
            except (AlreadyExists, Conflict, NotFound) as err:
                return a.Outcome(plan, err, results)
        return a.Outcome(plan, None, results)

    def settle(
        self, *types: AnyControllerType, actors: Sequence[Callable[[World], bool]] = (), rounds: int = ROUNDS
    ) -> int:
        """Everybody acts in turn until nobody does; how many rounds that took."""
        for number in range(rounds):
            busy = False
            for what in types:
                for obj in self.list(what.watches[0].resource):
                    busy |= self.sync(what, key_of(obj))
            for actor in actors:
                busy |= actor(self)
            if not busy:
                return number
            self.time += 1.0
        raise AssertionError(f"no rest after {rounds} rounds: {self.applied[-6:]}")


def _by_type(current: Object, changes: Sequence[Object]) -> list[Object]:
    """Conditions as a strategic patch merges them."""
    found = {c["type"]: c for c in nested(current, "status", "conditions") or ()}
    for change in changes:
        found[change["type"]] = merged(found.get(change["type"]), change)
    return list(found.values())


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch, into a new tree."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


# ---- actors


def scheduler(world: World) -> bool:
    """Binds pods: to the node their affinity names, else to n1."""
    busy = False
    for pod in world.list("pods"):
        if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            continue
        wanted = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
        terms = wanted.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms") or [
            {}
        ]
        fields = terms[0].get("matchFields") or [{"values": ["n1"]}]
        world.put("pods", merged(pod, {"spec": {"nodeName": fields[0]["values"][0]}}))
        busy = True
    return busy


def ready(world: World) -> Object:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": format_time(world.time)}
    return {"phase": "Running", "conditions": [condition], "podIP": "10.0.0.1"}


def is_settled(pod: Object) -> bool:
    status = pod["status"]
    conditions = status.get("conditions") or ()
    return status["phase"] in ("Succeeded", "Failed") or any(c["status"] == "True" for c in conditions)


def kubelet(world: World) -> bool:
    """Runs what is bound, makes it ready, ends what is being deleted."""
    busy = False
    for pod in world.list("pods"):
        if pod["metadata"].get("deletionTimestamp"):
            asked = (parse_time(pod["metadata"]["deletionTimestamp"]) or 0.0) - pod["metadata"].get(
                "deletionGracePeriodSeconds", 0
            )
            meta = {"deletionGracePeriodSeconds": 0, "deletionTimestamp": format_time(asked)}
            gone = merged(pod, {"metadata": meta})
            if gone["status"]["phase"] not in ("Succeeded", "Failed"):
                gone = merged(gone, {"status": {"phase": "Failed"}})
            if gone != pod:
                world.put("pods", gone)
                busy = True
        elif pod["spec"].get("nodeName") and not is_settled(pod):
            world.put("pods", merged(pod, {"status": ready(world)}))
            busy = True
    return busy


def finish(phase: str, pick: Callable[[Object], bool] = lambda pod: True) -> Callable[[World], bool]:
    """Ends running pods in a phase."""

    def actor(world: World) -> bool:
        busy = False
        for pod in world.list("pods"):
            if pod["status"]["phase"] == "Running" and pick(pod):
                world.put("pods", merged(pod, {"status": {"phase": phase, "conditions": []}}))
                busy = True
        return busy

    return actor


# ---- builders


def template(image: str = "v1", **spec: Any) -> Object:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}], **spec},
    }


def workload(
    kind: str, *, name: str = "web", api: str = "apps/v1", meta: Object | None = None, **spec: Any
) -> Object:
    selector = (
        {} if kind == "Service" else {"selector": {"matchLabels": {"app": "web"}}, "template": template()}
    )
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", **(meta or {})},
        "spec": {**selector, **spec},
    }


def pod(name: str, *, owner: Object | None = None, node: str = "n1", phase: str = "Running",
        is_ready: bool = True, labels: dict[str, str] | None = None, **meta: Any) -> Object:  # fmt: skip
    refs = {"ownerReferences": [controller_ref(owner)]} if owner is not None else {}
    status = "True" if is_ready and phase == "Running" else "False"
    condition = {"type": "Ready", "status": status, "lastTransitionTime": format_time(START)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "labels": {"app": "web"} if labels is None else labels,
            "creationTimestamp": format_time(START),
            **refs,
            **meta,
        },
        "spec": {"containers": [{"name": "web", "image": "v1"}], **({"nodeName": node} if node else {})},
        "status": {"phase": phase, "conditions": [condition], "podIP": "10.0.0.9"},
    }


def node(name: str, *, taints: Sequence[Object] = (), labels: dict[str, str] | None = None) -> Object:
    condition = {
        "type": "Ready",
        "status": "True",
        "lastHeartbeatTime": format_time(START),
        "lastTransitionTime": format_time(START),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels or {}},
        "spec": {"taints": list(taints)} if taints else {},
        "status": {"conditions": [condition]},
    }
