"""The webhooks of all configurations of one kind, in order, and which of them a call is for.

Upstream: apiserver/pkg/admission/configuration/*_webhook_manager.go, admission/plugin/webhook/{accessors.go,generic}.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import partial

from timonel.aio.clock import Clock
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.admission.attributes import name_of
from timonel.server.admission.expressions import Conditions, EvaluationFailed, Given, settled
from timonel.server.admission.figures import Figures
from timonel.server.admission.forms import Form, Forms
from timonel.server.admission.matching import Match, is_exempt, match
from timonel.server.outbound import Outbound
from timonel.server.request import AdmissionCall, Authorizer, Operation, Reader

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Around:
    """What the webhooks of one server need."""

    reader: Reader
    forms: Forms
    authorizer: Authorizer
    outbound: Outbound
    clock: Clock
    figures: Figures
    forget: Callable[[], None]  # which plugins care for what: it changes with the configurations


@dataclass(frozen=True, slots=True)
class Hook:
    uid: str
    configuration: str
    tree: Object
    match: Match
    conditions: Conditions | None

    @property
    def name(self) -> str:
        return str(self.tree["name"])

    @property
    def fails_open(self) -> bool:
        return self.tree.get("failurePolicy") == "Ignore"

    @property
    def timeout(self) -> float:
        return float(self.tree.get("timeoutSeconds") or 10)


@dataclass(slots=True)
class Shown:
    """The objects of a call in the forms that its webhooks want, each made once."""

    call: AdmissionCall
    forms: dict[tuple[str, str, str, str], tuple[Object | None, Object | None]] = field(default_factory=dict)

    async def of(self, form: Form) -> tuple[Object | None, Object | None]:
        """The new and the old object."""
        found = self.forms.get(form.place)
        if found is None:
            call = self.call
            found = self.forms[form.place] = (
                None if call.obj is None else await form.show(call.obj),
                None if call.old is None else await form.show(call.old),
            )
        return found


class Hooks:
    """Follows one kind of configuration; `resource` is its qualified plural."""

    def __init__(self, resource: str, around: Around) -> None:
        self._around = around
        self._configurations: dict[str, list[Hook]] = {}
        self._ordered: list[Hook] = []
        around.reader.on_change(resource, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            name = str(new["metadata"]["name"])
            try:
                self._configurations[name] = list(_hooks(name, new))
            except ValueError as problem:  # written by somebody who did not validate it
                logger.error("Could not use the webhooks of %s: %s", name, problem)
                self._configurations.pop(name, None)
        elif old is not None:
            self._configurations.pop(str(old["metadata"]["name"]), None)
        self._ordered = [hook for name in sorted(self._configurations) for hook in self._configurations[name]]
        self._around.forget()

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if not self._ordered or is_exempt(resource.group, resource.plural):
            return False
        places = self._around.forms.places(resource.qualified, subresource)
        return any(hook.match.could_match(places, operation) for hook in self._ordered)

    async def wanted(self, call: AdmissionCall, shown: Shown) -> list[tuple[int, Hook, Form]]:
        """The webhooks that a call is for, each with its number and the form that it wants."""
        own, others = self._around.forms.of(call)
        found = []
        for index, hook in self.all():
            form = await self.form_for(hook, call, shown, own, others)
            if form is not None:
                found.append((index, hook, form))
        return found

    def all(self) -> Iterator[tuple[int, Hook]]:
        return iter(enumerate(list(self._ordered)))

    async def form_for(
        self, hook: Hook, call: AdmissionCall, shown: Shown, own: Form, others: Sequence[Form]
    ) -> Form | None:
        """The form in which `hook` is to see the call, None where it is not. Raises Forbidden, NotFound."""
        criteria = hook.match
        if not criteria.selects_object(call.obj, call.old):
            return None
        place = criteria.place(own.place, [f.place for f in others], call)
        if place is None or not criteria.selects(call, self._around.reader):
            return None
        form = own if place == own.place else next(f for f in others if f.place == place)
        if hook.conditions is not None and not await self._meets(hook, call, form, own, shown):
            return None
        return form

    async def _meets(self, hook: Hook, call: AdmissionCall, form: Form, own: Form, shown: Shown) -> bool:
        assert hook.conditions is not None
        obj, old = await shown.of(form)
        given = Given(call, form, own, obj, old, self._around.authorizer)
        try:
            return await settled(partial(hook.conditions.are_met, given))
        except EvaluationFailed as failure:
            if hook.fails_open:
                return False
            rtype = call.resource
            raise errors.forbidden(rtype.plural, name_of(call), str(failure), rtype.group) from failure


def _hooks(configuration: str, tree: Object) -> Iterator[Hook]:
    """Names are told apart by number, as upstream does it: configurations of old may repeat one."""
    counts: dict[str, int] = {}
    for each in tree.get("webhooks") or ():
        name = str(each["name"])
        number = counts[name] = counts.get(name, -1) + 1
        conditions = each.get("matchConditions")
        yield Hook(
            f"{configuration}/{name}/{number}",
            configuration,
            each,
            match(each),
            Conditions(conditions) if conditions else None,
        )
