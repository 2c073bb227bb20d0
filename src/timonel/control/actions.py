"""What a reconcile may ask for. Plain values: compared in tests, executed by the runtime.

A `resource` is `plural` or `plural.group` (`pods`, `deployments.apps`). Every action on an existing object may carry
`uid`: the server refuses it (Conflict) when the object was replaced by a namesake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from timonel.objects.meta import Key, Object, key_of, uid_of
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class Told:
    """The reason of an Event about an action, and its message; of a Warning, what it says before the error."""

    reason: str
    text: str
    about: Object | None = None  # None: the reconciled object


@dataclass(frozen=True, slots=True)
class Create:
    """Runs of Creates of one resource are sent in slow-start batches (1, 2, 4, …).

    `exists_ok`: AlreadyExists counts as done. `event`: record SuccessfulCreate/FailedCreate on the owner, as
    upstream's RealPodControl does. `made` and `failed`: what else to record on the owner when it was created, or cannot
    be.
    """

    resource: str
    obj: Object
    exists_ok: bool = False
    event: bool = False
    failed: Told | None = None
    made: Told | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """PUT of a whole object, with its resourceVersion; `subresource` is "", "status", "scale" or "finalize".

    `failed`: what to record when it is refused for another reason than that somebody else was faster.
    """

    resource: str
    obj: Object
    subresource: str = ""
    failed: Told | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """`kind` is merge, strategic, json or apply."""

    resource: str
    key: Key
    patch: Any
    kind: str = "merge"
    subresource: str = ""
    uid: str = ""
    missing_ok: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """NotFound counts as done. `event`: record SuccessfulDelete/FailedDelete on the owner; `failed`: or say this."""

    resource: str
    key: Key
    uid: str  # precondition: never delete a namesake
    resource_version: str = ""
    grace_period: int | None = None
    propagation: str = ""  # Foreground, Background, Orphan; empty: the server's default
    event: bool = False
    failed: Told | None = None


@dataclass(frozen=True, slots=True)
class DeleteCollection:
    """Everything of `resource` in `namespace`. The result is how many objects still exist."""

    resource: str
    namespace: str


@dataclass(frozen=True, slots=True)
class DeleteContent:
    """Everything in a namespace, pods first. Fails with ContentRemains while anything is left; else a Content."""

    namespace: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a namespace still holds: how many of each `plural.group`, how many wait for each finalizer."""

    remaining: Mapping[str, int] = field(default_factory=dict)
    finalizers: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    wait: int = 0  # the longest grace period (seconds) that something is given
    failed_groups: Mapping[str, str] = field(default_factory=dict)  # group/version -> why it was not asked

    @property
    def is_gone(self) -> bool:
        return not (self.remaining or self.errors or self.failed_groups)


class ContentRemains(Exception):
    def __init__(self, content: Content) -> None:
        super().__init__(
            f"{sum(content.remaining.values())} objects remain; {', '.join(content.errors) or 'no errors'}"
        )
        self.content = content


@dataclass(frozen=True, slots=True)
class Adopt:
    """Set a controller reference to the reconciled object, after re-reading it live (deleted or replaced: refused)."""

    resource: str
    key: Key
    uid: str
    finalizers: tuple[str, ...] = ()  # to add in the same write


@dataclass(frozen=True, slots=True)
class Release:
    """Remove the owner reference to the reconciled object."""

    resource: str
    key: Key
    uid: str
    finalizers: tuple[str, ...] = ()  # to remove in the same write


@dataclass(frozen=True, slots=True)
class Evict:
    key: Key
    uid: str


@dataclass(frozen=True, slots=True)
class Approve:
    """Approve a CertificateSigningRequest if who made it may: (subresource to be allowed to create, what to say then).

    The first question that is answered with yes decides; with none of them, nothing is done.
    """

    request: Object
    questions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """Have the cluster's CA sign an approved CertificateSigningRequest; `pem` is what it asks for."""

    request: Object
    pem: bytes
    usages: tuple[str, ...]
    seconds: int | None  # None: as long as certificates live


@dataclass(frozen=True, slots=True)
class FillToken:
    """Write a Secret (as it is given) with the token of its service account."""

    secret: Object
    account: Object


@dataclass(frozen=True, slots=True)
class Record:
    """An Event on the reconciled object, or on `about`."""

    type: str  # Normal or Warning
    reason: str
    message: str
    about: Object | None = None


Action = (
    Create
    | Update
    | Patch
    | Delete
    | DeleteCollection
    | DeleteContent
    | Adopt
    | Release
    | Evict
    | Approve
    | Sign
    | FillToken
    | Record
)


def claims(
    resource: str, *, adopt: Iterable[Object], release: Iterable[Object], finalizers: tuple[str, ...] = ()
) -> list[Action]:
    """The actions of an `objects.workloads.Claim`; `finalizers` come and go with the ownership."""
    return [
        *(Adopt(resource, key_of(obj), uid_of(obj), finalizers) for obj in adopt),
        *(Release(resource, key_of(obj), uid_of(obj), finalizers) for obj in release),
    ]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in order, and when to look again (seconds) if nothing changes before."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan. `results[action index]` is the server's answer of those that were done.

    The first failure stops the plan and is in `error`, its action in `failed`; the status function may report it.
    """

    plan: Plan = field(default_factory=Plan)
    error: Exception | None = None
    results: Mapping[int, Any] = field(default_factory=dict)
    failed: Action | None = None


Status = dict[str, Any]


class Terminal(Exception):
    """Retrying cannot help: report it and wait for the object to change."""
