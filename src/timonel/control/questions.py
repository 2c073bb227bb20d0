"""What a controller may ask the cluster beside its cache: values, as actions are, answered before it decides.

Most controllers ask nothing. One that must know what no watch tells (how loaded pods are) lists questions, is told the
answers, and may ask again; only then does it reconcile. An answer that could not be had is the error itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from timonel.objects.meta import Key, Object
from timonel.records import dataclass

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class ScaleOf:
    """The scale of an object of some kind. The answer is a `Scaled`."""

    api_version: str
    kind: str
    key: Key


@dataclass(frozen=True, slots=True)
class Scaled:
    """`resource` is what an Update of the subresource scale is sent to."""

    resource: str
    scale: Object


@dataclass(frozen=True, slots=True)
class ResourceOf:
    """What a kind is called in paths. The answer is a `client.transport.Resource`."""

    api_version: str
    kind: str


@dataclass(frozen=True, slots=True)
class Read:
    """GET of a path; `what` says in upstream's words what was asked for. The answer is the document."""

    path: str
    query: tuple[tuple[str, str], ...] = ()
    what: str = ""


Question = ScaleOf | ResourceOf | Read
Answers = Mapping[Question, Any]


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[Seen]):
    """`questions` are asked until all of them are answered; `told` puts the answers into what was observed."""

    questions: Callable[[Object, Seen], Iterable[Question]]
    told: Callable[[Seen, Answers], Seen]
