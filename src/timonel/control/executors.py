"""Carries out actions: the one place where a plan meets a cluster.

An executor gets the reconciled object (`owner`, None where it is gone) and the action, and returns the server's answer.
Creates of one resource in a row go out in batches of 1, 2, 4, …, so that a refusal costs one request, not a hundred.

Upstream: pkg/controller/controller_utils.go (RealPodControl, slowStartBatch), controller_ref_manager.go.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from timonel.client.discovery import ResourceIndex
from timonel.client.rest import Client
from timonel.client.transport import Unreachable
from timonel.control import actions as a
from timonel.machinery.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    StatusError,
    is_namespace_terminating,
    not_found,
)
from timonel.objects.meta import Object, controller_of, controller_ref, key_of

logger = logging.getLogger(__name__)


class Recorder(Protocol):
    def record(self, about: Object, type: str, reason: str, message: str) -> None: ...


Wrote = Callable[[str, Object], None]
REQUESTS = "certificatesigningrequests.certificates.k8s.io"


class Authority(Protocol):
    """What holds the cluster's keys."""

    def certificate(self, request: bytes, *, usages: Sequence[str], seconds: int | None, now: float) -> bytes:
        """For a request for a certificate, both as PEM. Raises ValueError."""

    def token(self, account: Object, secret: Object) -> str:
        """For a Secret of type kubernetes.io/service-account-token."""


class Executor:
    """Executes the plans of one controller. `wrote(resource, answer)` is told every object that a write answered."""

    def __init__(
        self,
        client: Client,
        index: ResourceIndex,
        recorder: Recorder,
        wrote: Wrote,
        authority: Authority | None = None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._client, self._index, self._recorder, self._wrote = client, index, recorder, wrote
        self._authority, self._now = authority, now

    async def apply(self, owner: Object | None, plan: a.Plan) -> a.Outcome:
        """In order, up to the first failure."""
        results: dict[int, Any] = {}
        at = 0
        while at < len(plan.actions):
            run = _run_length(plan.actions, at)
            try:
                if run > 1:
                    await self._in_batches(owner, plan.actions, at, run, results)
                else:
                    results[at] = await self.execute(owner, plan.actions[at])
            except Exception as exc:  # whatever it is, the status says so before it is raised
                return a.Outcome(plan, exc, results, plan.actions[at])
            at += run
        return a.Outcome(plan, None, results)

    async def _in_batches(
        self,
        owner: Object | None,
        actions: Sequence[a.Action],
        start: int,
        count: int,
        results: dict[int, Any],
    ) -> None:
        size, done = 1, 0
        while done < count:
            batch = range(start + done, start + min(done + size, count))
            failures: list[Exception] = []

            async def one(index: int, failures: list[Exception] = failures) -> None:
                try:
                    results[index] = await self.execute(owner, actions[index])
                except Exception as exc:  # the others of the batch are not stopped halfway
                    failures.append(exc)

            async with asyncio.TaskGroup() as group:
                for index in batch:
                    group.create_task(one(index))
            if failures:
                # one of which nobody knows whether it was done asks for more care than the others
                raise next((f for f in failures if isinstance(f, Unreachable)), failures[0])
            done += len(batch)
            size *= 2

    async def execute(self, owner: Object | None, action: a.Action) -> Any:
        match action:
            case a.Create():
                return await self._create(owner, action)
            case a.Update():
                return await self._update(owner, action)
            case a.Patch():
                return await self._patch(action)
            case a.Delete():
                return await self._delete(owner, action)
            case a.DeleteCollection():
                return await self._delete_collection(action)
            case a.DeleteContent():
                return await self._delete_content(action)
            case a.Adopt():
                return await self._adopt(_present(owner), action)
            case a.Release():
                return await self._release(_present(owner), action)
            case a.Evict():
                return await self._evict(action)
            case a.Approve():
                return await self._approve(action)
            case a.Sign():
                return await self._sign(action)
            case a.FillToken():
                return await self._fill_token(action)
            case a.Record():
                self._recorder.record(
                    action.about or _present(owner), action.type, action.reason, action.message
                )
                return None

    async def _create(self, owner: Object | None, action: a.Create) -> Object | None:
        obj = action.obj
        if "apiVersion" not in obj or "kind" not in obj:
            info = self._index.find(action.resource)
            obj = {"apiVersion": info.api_version, "kind": info.kind, **obj}
        try:
            made = await self._client.create(action.resource, obj)
        except StatusError as exc:
            if action.exists_ok and isinstance(exc, AlreadyExists):
                return None
            # A namespace that is going away refuses new objects; that is no news for its owners.
            if action.event and owner is not None and not is_namespace_terminating(exc):
                self._recorder.record(owner, "Warning", "FailedCreate", f"Error creating: {exc.message}")
            told = action.failed
            passing = is_namespace_terminating(exc) or isinstance(exc, AlreadyExists)
            if told is not None and not passing:
                self._complain(owner, told, exc)
            raise
        if action.event and owner is not None:
            what = self._index.find(action.resource).kind.lower()
            name = made["metadata"]["name"]
            self._recorder.record(owner, "Normal", "SuccessfulCreate", f"Created {what}: {name}")
        if action.made is not None and owner is not None:
            self._recorder.record(owner, "Normal", action.made.reason, action.made.text)
        self._wrote(action.resource, made)
        return made

    async def _update(self, owner: Object | None, action: a.Update) -> Object:
        try:
            found = await self._client.update(action.resource, action.obj, subresource=action.subresource)
        except StatusError as exc:
            if action.failed is not None and not isinstance(exc, Conflict | NotFound):
                self._complain(owner, action.failed, exc)
            raise
        self._wrote(action.resource, found)
        return found

    def _complain(self, owner: Object | None, told: a.Told, error: StatusError) -> None:
        about = told.about or owner
        if about is not None:
            self._recorder.record(about, "Warning", told.reason, told.text + error.message)

    async def _patch(self, action: a.Patch) -> Object | None:
        try:
            found = await self._client.patch(
                action.resource,
                action.key,
                action.patch,
                kind=action.kind,
                subresource=action.subresource,
                uid=action.uid,
                force=action.kind == "apply",
            )
        except NotFound:
            if action.missing_ok:
                return None
            raise
        self._wrote(action.resource, found)
        return found

    async def _delete(self, owner: Object | None, action: a.Delete) -> Object | None:
        try:
            gone = await self._client.delete(
                action.resource,
                action.key,
                uid=action.uid,
                resource_version=action.resource_version,
                grace_period=action.grace_period,
                propagation=action.propagation,
            )
        except StatusError as exc:
            if action.event and owner is not None:
                self._recorder.record(owner, "Warning", "FailedDelete", f"Error deleting: {exc.message}")
            if action.failed is not None and owner is not None:
                told = action.failed
                self._recorder.record(owner, "Warning", told.reason, told.text + exc.message)
            raise
        if action.event and owner is not None and gone is not None:
            what = self._index.find(action.resource).kind.lower()
            message = f"Deleted {what}: {action.key.name}"
            self._recorder.record(owner, "Normal", "SuccessfulDelete", message)
        if gone is not None:
            self._wrote(action.resource, gone)
        return gone

    async def _delete_collection(self, action: a.DeleteCollection) -> int:
        resource = self._index.resource(action.resource)
        await self._client.transport.delete_collection(resource, action.namespace)
        return len((await self._client.transport.list(resource, action.namespace)).items)

    async def _delete_content(self, action: a.DeleteContent) -> a.Content:
        """Delete what the namespace holds, pods before all else, as other objects may serve them to the end."""
        infos = [i for i in self._index.preferred() if i.resource.namespaced and "delete" in i.verbs]
        pods = [i for i in infos if str(i.resource) == "pods"]
        rest = [i for i in infos if str(i.resource) not in ("pods", "events.events.k8s.io")]
        remaining: dict[str, int] = {}
        finalizers: dict[str, int] = {}
        errors: list[str] = []
        wait = 0
        for stage in (pods, rest):
            for info in stage:
                try:
                    if "deletecollection" in info.verbs:
                        await self._client.transport.delete_collection(info.resource, action.namespace)
                    left = (await self._client.transport.list(info.resource, action.namespace)).items
                    if left and "deletecollection" not in info.verbs:
                        for obj in left:
                            await self._client.delete(str(info.resource), key_of(obj))
                        left = (await self._client.transport.list(info.resource, action.namespace)).items
                except NotFound:
                    continue  # not served by this cluster
                except StatusError as exc:
                    errors.append(exc.message)
                    continue
                if left:
                    remaining[f"{info.resource.plural}.{info.resource.group}"] = len(left)
                for obj in left:
                    for finalizer in obj["metadata"].get("finalizers") or ():
                        finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
                    wait = max(wait, obj["metadata"].get("deletionGracePeriodSeconds") or 0)
            if remaining or errors:
                break
        content = a.Content(remaining, finalizers, tuple(errors), wait, dict(self._index.failed_groups))
        if not content.is_gone:
            raise a.ContentRemains(content)
        return content

    async def _adopt(self, owner: Object, action: a.Adopt) -> Object:
        kind = self._index.by_kind(owner["apiVersion"], owner["kind"])
        assert kind is not None
        live = await self._client.get(str(kind.resource), key_of(owner))
        if live["metadata"]["uid"] != owner["metadata"]["uid"]:
            raise RuntimeError(f"original {owner['kind']} {key_of(owner)} is gone: a namesake has its place")
        if live["metadata"].get("deletionTimestamp"):
            raise RuntimeError(
                f"{key_of(owner)} has just been deleted at {live['metadata']['deletionTimestamp']}"
            )
        return await self._change_owners(owner, action, adopt=True)

    async def _release(self, owner: Object, action: a.Release) -> Object | None:
        try:
            return await self._change_owners(owner, action, adopt=False)
        except NotFound:
            return None

    async def _change_owners(self, owner: Object, action: a.Adopt | a.Release, *, adopt: bool) -> Object:
        current = await self._client.get(action.resource, action.key)
        meta = current["metadata"]
        if meta["uid"] != action.uid:
            raise not_found(action.resource, action.key.name)
        refs = [ref for ref in meta.get("ownerReferences") or [] if ref["uid"] != owner["metadata"]["uid"]]
        if adopt:
            other = controller_of({"metadata": {"ownerReferences": refs}})
            if other is not None:
                raise RuntimeError(f"{action.key} is controlled by {other['kind']} {other['name']} already")
            refs.append(controller_ref(owner))
        changed = {"ownerReferences": refs or None, "resourceVersion": meta["resourceVersion"]}
        if action.finalizers:
            others = [f for f in meta.get("finalizers") or () if f not in action.finalizers]
            changed["finalizers"] = [*others, *(action.finalizers if adopt else ())] or None
        patch = {"metadata": changed}
        found = await self._client.patch(action.resource, action.key, patch, uid=action.uid)
        self._wrote(action.resource, found)
        return found

    async def _evict(self, action: a.Evict) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": action.key.namespace, "name": action.key.name},
            "deleteOptions": {"preconditions": {"uid": action.uid}},
        }
        try:
            await self._client.create("pods", body, name=action.key.name, subresource="eviction")
        except NotFound:
            return

    async def _approve(self, action: a.Approve) -> Object | None:
        spec = action.request["spec"]
        who = {key: spec[key] for key in ("uid", "groups", "extra") if spec.get(key)}
        for subresource, message in action.questions:
            asked = {
                "group": "certificates.k8s.io",
                "resource": "certificatesigningrequests",
                "verb": "create",
                "subresource": subresource,
            }
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "metadata": {},
                "spec": {"user": spec.get("username", ""), **who, "resourceAttributes": asked},
            }
            answer = await self._client.create("subjectaccessreviews.authorization.k8s.io", review)
            if answer["status"].get("allowed"):
                condition = {
                    "type": "Approved",
                    "status": "True",
                    "reason": "AutoApproved",
                    "message": message,
                }
                return await self._decide(action.request, "approval", condition)
        return None

    async def _decide(self, request: Object, subresource: str, condition: Object) -> Object:
        status = request.get("status") or {}
        conditions = [*(status.get("conditions") or ()), condition]
        changed = {**request, "status": {**status, "conditions": conditions}}
        found = await self._client.update(REQUESTS, changed, subresource=subresource)
        self._wrote(REQUESTS, found)
        return found

    async def _sign(self, action: a.Sign) -> Object | None:
        if self._authority is None:
            return None
        pem = self._authority.certificate(
            action.pem, usages=action.usages, seconds=action.seconds, now=self._now()
        )
        status = {**(action.request.get("status") or {}), "certificate": base64.b64encode(pem).decode()}
        found = await self._client.update(
            REQUESTS, {**action.request, "status": status}, subresource="status"
        )
        self._wrote(REQUESTS, found)
        return found

    async def _fill_token(self, action: a.FillToken) -> Object | None:
        if self._authority is None:
            return None
        token = self._authority.token(action.account, action.secret)
        data = {**(action.secret.get("data") or {}), "token": base64.b64encode(token.encode()).decode()}
        found = await self._client.update("secrets", {**action.secret, "data": data})
        self._wrote("secrets", found)
        return found


def _present(owner: Object | None) -> Object:
    if owner is None:
        raise ValueError("this action needs the reconciled object, which is gone")
    return owner


def _run_length(actions: Sequence[a.Action], start: int) -> int:
    first = actions[start]
    if not isinstance(first, a.Create):
        return 1
    end = start + 1
    while end < len(actions):
        action = actions[end]
        if not isinstance(action, a.Create) or action.resource != first.resource:
            break
        end += 1
    return end - start
