"""ValidatingAdmissionWebhook: all webhooks that want to see a write are asked at once, and each may refuse it.

Upstream: apiserver/pkg/admission/plugin/webhook/validating/dispatcher.go.
"""

from __future__ import annotations

import asyncio
import logging

from timonel.apis.resource import ResourceType
from timonel.machinery.errors import StatusError
from timonel.server.admission.webhooks import review
from timonel.server.admission.webhooks.dispatch import Asked, Unanswered, ask
from timonel.server.admission.webhooks.hooks import Around, Hooks, Shown
from timonel.server.request import AdmissionCall, OnlyValidates, Operation

logger = logging.getLogger(__name__)

CONFIGURATIONS = "validatingwebhookconfigurations.admissionregistration.k8s.io"
FAILED_OPEN = "failed-open.validating.webhook.admission.k8s.io/"


class ValidatingWebhooks(OnlyValidates):
    name = "ValidatingAdmissionWebhook"

    def __init__(self, around: Around) -> None:
        self._around = around
        self._hooks = Hooks(CONFIGURATIONS, around)

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return self._hooks.handles(resource, subresource, operation)

    async def validate(self, call: AdmissionCall) -> None:
        shown = Shown(call)
        wanted = await self._hooks.wanted(call, shown)
        if not wanted:
            return
        own, _ = self._around.forms.of(call)
        refusals: dict[int, StatusError] = {}

        async def one(index: int) -> None:
            _, hook, form = wanted[index]
            asked = Asked(self._around.figures, hook, call, "validating")
            try:
                verdict = await ask(self._around, hook, call, form, own, shown, mutates=False)
                if not verdict.allowed:
                    raise review.refusal(hook.name, verdict.status)
            except StatusError as error:
                asked.refused(error)
                refusals[index] = error
            except Unanswered as failure:
                asked.unanswered()
                if not hook.fails_open:
                    refusals[index] = failure.as_error()
                    return
                logger.warning("Failed calling webhook, failing open", extra={"webhook": hook.name})
                call.annotations[f"{FAILED_OPEN}round_0_index_{index}"] = hook.name
            else:
                asked.answered()

        for _, _, form in wanted:
            await shown.of(form)
        async with asyncio.TaskGroup() as group:
            for index in range(len(wanted)):
                group.create_task(one(index))
        if refusals:
            raise refusals[min(refusals)]
