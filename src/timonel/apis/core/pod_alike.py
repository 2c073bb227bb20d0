"""Pods that are alike are looked at once.

Most pods are made from a template, so that the same spec comes again and again. What was found to be sound is
remembered as text and not walked through again; only what depends on the name of a pod is asked anew. The one thing in
which specs of one template differ is the random name of the volume with the token: it is left out of the text.

Nothing here changes an answer: a spec that is refused, or that earns a warning, is never remembered. The memory is a
Scheme's (`ResourceType.remembering`), so that clusters of one process do not share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import orjson

from timonel.objects.meta import Object

Found = TypeVar("Found")

REMEMBERED = 128  # specs; then everything is forgotten
LONGEST = 16 * 1024  # bytes of a spec that is worth remembering
NAMED = b'"ephemeral":'  # volumes whose claims are named after the pod

_token_volume = re.compile(rb'"(kube-api-access-[a-z0-9]{5})"').search
# No JSON text has this byte in it, so that no spec can be taken for another one.
_ANY_NAME = b"\0"


def spec_text(obj: Object) -> bytes | None:
    """What soundness depends on; None where it depends on more than the spec."""
    if obj["metadata"].get("annotations"):
        return None
    text = orjson.dumps(obj.get("spec"))
    if len(text) > LONGEST or NAMED in text:
        return None
    # One name alone is left out, and everywhere: that two volumes share a name still shows.
    found = _token_volume(text)
    return text if found is None else text.replace(found[1], _ANY_NAME)


class Alike:
    """What has passed one rule."""

    def __init__(self) -> None:
        self._passed: set[bytes] = set()

    def ask(self, obj: Object, rule: Callable[[Object], Iterable[Found]]) -> list[Found]:
        """What `rule` finds; it is not asked if a spec like this one has passed it."""
        text = spec_text(obj)
        if text is not None and text in self._passed:
            return []
        found = [*rule(obj)]
        if not found and text is not None:
            if len(self._passed) >= REMEMBERED:
                self._passed.clear()
            self._passed.add(text)
        return found


def asked(alike: Alike | None, obj: Object, rule: Callable[[Object], Iterable[Found]]) -> Iterable[Found]:
    """With a memory, if there is one."""
    return rule(obj) if alike is None else alike.ask(obj, rule)
