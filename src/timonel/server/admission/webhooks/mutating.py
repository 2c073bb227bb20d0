"""MutatingAdmissionWebhook: webhooks change a write one after the other, and some see it again when others changed it.

The first round asks every webhook that wants the call. When one changed the object, all mutating plugins run once more;
in this second round only those webhooks are asked that were asked before, that want it (reinvocationPolicy IfNeeded)
and after whose last look something was changed.

Upstream: apiserver/pkg/admission/plugin/webhook/mutating/{dispatcher,reinvocationcontext}.go.
"""

from __future__ import annotations

import logging
from typing import Any

import orjson

from timonel.apis.resource import ResourceType
from timonel.machinery.errors import StatusError
from timonel.machinery.field import quote
from timonel.machinery.patch.json import PatchFailed, PatchMalformed, json_patch
from timonel.server.admission.forms import Form
from timonel.server.admission.reinvocation import Reinvocation
from timonel.server.admission.webhooks import review
from timonel.server.admission.webhooks.dispatch import Asked, Unanswered, ask
from timonel.server.admission.webhooks.hooks import Around, Hook, Hooks, Shown
from timonel.server.admission.webhooks.review import Verdict
from timonel.server.request import AdmissionCall, OnlyMutates, Operation
from timonel.server.responses import internal_error

logger = logging.getLogger(__name__)

CONFIGURATIONS = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
MUTATION = "mutation.webhook.admission.k8s.io/"
PATCH = "patch.webhook.admission.k8s.io/"
FAILED_OPEN = f"failed-open.{MUTATION}"


class MutatingWebhooks(OnlyMutates):
    name = "MutatingAdmissionWebhook"

    def __init__(self, around: Around) -> None:
        self._around = around
        self._hooks = Hooks(CONFIGURATIONS, around)

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return self._hooks.handles(resource, subresource, operation)

    async def admit(self, call: AdmissionCall) -> None:
        memory: Reinvocation = call.memory.setdefault(self.name, Reinvocation())
        memory.begin(call)
        own, others = self._around.forms.of(call)
        shown = Shown(call)
        for index, hook in self._hooks.all():
            form = await self._hooks.form_for(hook, call, shown, own, others)
            if form is None or memory.skips(call, hook.uid):
                continue
            is_changed = await self._invoke(hook, index, call, form, own, shown)
            if is_changed:
                memory.changed()
                call.again = True
                shown = Shown(call)
            if hook.tree.get("reinvocationPolicy") == "IfNeeded":
                memory.invoked.add(hook.uid)
        memory.end(call)

    async def _invoke(
        self, hook: Hook, index: int, call: AdmissionCall, form: Form, own: Form, shown: Shown
    ) -> bool:
        place = f"round_{call.round}_index_{index}"
        is_changed = False
        asked = Asked(self._around.figures, hook, call, "admit")
        try:
            verdict = await ask(self._around, hook, call, form, own, shown, mutates=True)
            if not verdict.allowed:
                raise review.refusal(hook.name, verdict.status)
            if verdict.patch:
                is_changed = await self._patch(hook, verdict, call, form, shown, place)
            asked.answered()
        except StatusError as error:
            asked.refused(error)
            raise
        except Unanswered as failure:
            asked.unanswered()
            if not hook.fails_open:
                raise failure.as_error() from failure
            logger.warning("Failed calling webhook, failing open", extra={"webhook": hook.name})
            call.annotations[FAILED_OPEN + place] = hook.name
        finally:
            call.annotations[MUTATION + place] = _annotation(hook, mutated=is_changed)
        return is_changed

    async def _patch(
        self, hook: Hook, verdict: Verdict, call: AdmissionCall, form: Form, shown: Shown, place: str
    ) -> bool:
        """Whether the patch of an answer changed the object. Raises InternalError."""
        try:
            operations = orjson.loads(verdict.patch)
            if not isinstance(operations, list) or not all(isinstance(o, dict) for o in operations):
                raise ValueError("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
        except ValueError as exc:
            text = f"received undecodable patch in webhook response: {exc}"
            raise Unanswered(hook.name, text) from exc
        if not operations:
            return False
        if call.obj is None:
            raise internal_error(
                f"admission webhook {quote(hook.name)} attempted to modify the object, which is not supported for this "
                "operation"
            )
        before, _ = await shown.of(form)
        try:
            patched = json_patch(before, operations)
        except (PatchFailed, PatchMalformed) as exc:
            raise internal_error(str(exc)) from exc
        after = await form.take(patched, call.obj)
        call.annotations[PATCH + place] = _annotation(hook, patch=operations, patchType="JSONPatch")
        is_changed = after != call.obj
        call.obj = after
        return is_changed


def _annotation(hook: Hook, **more: Any) -> str:
    return orjson.dumps({"configuration": hook.configuration, "webhook": hook.name, **more}).decode()
