"""One call of one webhook.

Upstream: callHook of apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go.
"""

from __future__ import annotations

import logging

from timonel.aio.clock import stopwatch
from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.server.admission.figures import CALLING, INTERNAL, NO_ERROR, Figures
from timonel.server.admission.forms import Form
from timonel.server.admission.requesttree import request_tree
from timonel.server.admission.webhooks import review
from timonel.server.admission.webhooks.hooks import Around, Hook, Shown
from timonel.server.admission.webhooks.review import InvalidAnswer, Verdict
from timonel.server.outbound import CallFailed
from timonel.server.request import AdmissionCall
from timonel.server.responses import internal_error

logger = logging.getLogger(__name__)


class Unanswered(Exception):
    """The webhook gave no usable answer: its failure policy decides."""

    def __init__(self, hook: str, why: str) -> None:
        super().__init__(f"failed calling webhook {quote(hook)}: {why}")

    def as_error(self) -> errors.InternalError:
        return internal_error(str(self))


class Asked:
    """The stopwatch of one call, from the moment it is made; one of the others tells how it ended."""

    def __init__(self, figures: Figures, hook: Hook, call: AdmissionCall, kind: str) -> None:
        self._figures, self._hook = figures, hook
        self._place = (hook.name, kind, call.operation.value)
        self._started = stopwatch()

    def answered(self) -> None:
        self._called(200, rejected=False)

    def refused(self, error: errors.StatusError) -> None:
        is_refusal = isinstance(error, review.Refused)
        code = min(error.status_code, 600)
        self._called(code, rejected=True)
        self._figures.rejected(*self._place, NO_ERROR if is_refusal else INTERNAL, code if is_refusal else 0)

    def unanswered(self) -> None:
        rejected = not self._hook.fails_open
        self._called(503, rejected=rejected)
        if rejected:
            self._figures.rejected(*self._place, CALLING, 503)
        else:
            name, kind, _ = self._place
            self._figures.failed_open(name, kind)

    def _called(self, code: int, *, rejected: bool) -> None:
        seconds = stopwatch() - self._started
        self._figures.called(*self._place, code=code, rejected=rejected, seconds=seconds)


async def ask(
    around: Around, hook: Hook, call: AdmissionCall, form: Form, own: Form, shown: Shown, *, mutates: bool
) -> Verdict:
    """Raises Unanswered, BadRequest. Warnings and audit annotations of the answer are kept with the call."""
    tree = hook.tree
    if call.dry_run and tree.get("sideEffects") not in ("None", "NoneOnDryRun"):
        raise review.dry_run_unsupported(hook.name)
    uid = review.new_uid()
    obj, old = await shown.of(form)
    try:
        version = review.version_of(tree.get("admissionReviewVersions") or ())
    except InvalidAnswer as problem:
        raise Unanswered(hook.name, f"could not create admission objects: {problem}") from problem
    request = {"uid": uid, **request_tree(call, form, own, call.dry_run), "object": obj, "oldObject": old}
    body = review.review(version, request)
    try:
        reply = await around.outbound.post(
            tree["clientConfig"], "", body, timeout=hook.timeout, user_agent="kube-apiserver-admission"
        )
        answer = reply.tree()
    except CallFailed as failure:
        raise Unanswered(hook.name, f"failed to call webhook: {failure}") from failure
    except Exception as failure:  # whatever it was, the failure policy says what it means for the request
        logger.exception("A webhook could not be called", extra={"webhook": hook.name})
        raise Unanswered(hook.name, f"failed to call webhook: {failure!r}") from failure
    try:
        found = review.verdict(answer, version=version, uid=uid, mutates=mutates)
    except InvalidAnswer as problem:
        raise Unanswered(hook.name, f"received invalid webhook response: {problem}") from problem
    for key, value in found.annotations.items():
        call.annotations.setdefault(f"{hook.name}/{key}", value)
    call.warnings += found.warnings
    return found
