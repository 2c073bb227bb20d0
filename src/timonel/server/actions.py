"""POSTs that act instead of storing: reviews, tokens, bindings, evictions.

An action is found by `resource` (a kind of its own, such as subjectaccessreviews.authorization.k8s.io) or
`resource/subresource` (pods/binding). `kind` names the type of its body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from timonel.records import dataclass
from timonel.server.request import ActionHandler

if TYPE_CHECKING:
    from timonel.server.registry import Endpoint


@dataclass(frozen=True, slots=True)
class Action:
    handler: ActionHandler
    endpoint: Endpoint  # of the body's type
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ActionType:
    """How an action is declared to the server. `kind` is (group, version, Kind) of the body."""

    resource: str  # qualified plural
    subresource: str  # empty for a virtual resource
    kind: tuple[str, str, str]
    handler: ActionHandler
    also: tuple[str, ...] = ()  # other apiVersions in which the body comes in the same form
