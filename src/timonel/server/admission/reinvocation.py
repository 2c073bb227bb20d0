"""Which webhooks and policies see a call a second time.

When one of them changed the object, all mutating plugins run once more. In this second round only those are asked that
were asked before, that want it (reinvocationPolicy IfNeeded) and after whose last look something was changed.

Upstream: apiserver/pkg/admission/plugin/webhook/mutating/reinvocationcontext.go.
"""

from __future__ import annotations

from dataclasses import field

from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.request import AdmissionCall
from timonel.server.verbs.call import cloned


@dataclass(slots=True)
class Reinvocation:
    """What one plugin remembers of the first round."""

    last: Object | None = None  # the object as the plugin left it
    invoked: set[str] = field(default_factory=set)  # asked, and willing to be asked again
    again: set[str] = field(default_factory=set)  # of them, those after which something changed

    def changed(self) -> None:
        self.again |= self.invoked
        self.invoked.clear()

    def begin(self, call: AdmissionCall) -> None:
        if call.round and call.obj != self.last:
            self.changed()  # by other plugins, in between

    def skips(self, call: AdmissionCall, uid: str) -> bool:
        return bool(call.round) and uid not in self.again

    def end(self, call: AdmissionCall) -> None:
        self.last = None if call.obj is None else cloned(call.obj)
