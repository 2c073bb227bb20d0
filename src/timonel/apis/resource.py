"""How a resource type is declared. `timonel.server` reads these records and knows no kind by name.

A request passes through the hooks in upstream's order (apiserver/pkg/registry/rest/create.go BeforeCreate, update.go
BeforeUpdate). On create: decode (the schema's codec: prunes, checks types, drops empty values) → default → mutating
admission → prepare_create → validate → metadata validation → warnings → canonicalize → validating admission → store.
On update: decode → default → generation pinned to old → prepare_update → uid, creationTimestamp and deletion fields
restored → validate_update → warnings → canonicalize → validating admission → store.

Hooks take JSON trees. `default_*`, `prepare_*` and `canonicalize` mutate in place and return nothing; `validate_*`
never mutate and yield causes (`timonel.machinery.field`). By the time a hook runs, the tree has passed the codec: every
value has the type that the schema says, unknown fields are gone, and what Go's `omitempty` would drop is absent. So
`obj["spec"].get("replicas")` is an int or None, never a string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from timonel.machinery.errors import Cause
from timonel.objects.meta import Object
from timonel.records import dataclass


def _nothing(*_: object) -> None:
    pass


def _no_errors(*_: object) -> Iterator[Cause]:
    return iter(())


def _no_warnings(*_: object) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column after Name, which comes first unless a column is called so.

    `value` gets the object and the time now (seconds) and returns the cell.
    `type` is integer, number, string, boolean or date; `priority` above 0 shows with -o wide only. `doc` is the path
    of the field (`spec.ports`, `metadata.creationTimestamp`) whose published description the column shows when it has
    no `description` of its own.
    """

    name: str
    value: Callable[[Object, float], Any]
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """The /scale subresource, as paths into the object."""

    replicas: str = "spec.replicas"
    status_replicas: str = "status.replicas"
    selector: str = "spec.selector"  # a LabelSelector, or a plain map for ReplicationController


@dataclass(frozen=True, slots=True)
class Retired:
    """A version that upstream stopped serving: accepted with a Warning, stored as `stored_version`.

    `to_stored` and `from_stored` convert in place (apiVersion included).
    """

    stored_version: str  # the version, in `stored_group`, whose ResourceType does the work
    to_stored: Callable[[Object], None]
    from_stored: Callable[[Object], None]
    warning: str  # as upstream's deprecation warning for it read
    stored_group: str | None = None  # None: the same group


@dataclass(frozen=True, slots=True)
class Converted:
    """A served version whose objects are kept in another version's form (Events, HorizontalPodAutoscalers).

    `default` of this version's ResourceType sees its own form, then `to_stored` runs, and every later hook (prepare,
    validate, warnings, columns, selectable) sees the stored form. Answers pass through `from_stored`. Both convert in
    place, apiVersion included.
    """

    stored_group: str
    stored_version: str
    to_stored: Callable[[Object], None]
    from_stored: Callable[[Object], None]


ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class ResourceType:
    group: str
    version: str
    kind: str
    plural: str
    singular: str = ""  # empty: the lower-case kind
    list_kind: str = ""  # empty: the kind with List after it
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    columns: tuple[Column, ...] = ()  # without Name; empty: Name and Age
    subresources: tuple[str, ...] = ()  # besides status and scale, as ("log", "exec", "binding", "eviction")

    # has /status: updates of the object keep the stored status, updates of /status keep the stored rest
    status: bool = False
    scale: Scale | None = None
    generation: bool = (
        False  # metadata.generation is 1 on create and grows when anything but metadata/status changes
    )
    create_on_update: bool = False  # PUT to a name that does not exist creates it
    unconditional_update: bool = True  # PUT without a resourceVersion overwrites
    graceful: Callable[[Object, int | None], int] | None = (
        None  # (obj, asked) -> grace period in seconds; Pods only
    )
    # computed fields for field selectors, besides metadata.name and metadata.namespace: label -> getter of a string
    selectable: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    secret: bool = False  # encrypted at rest
    # objects are large and rarely read whole by the program itself: their trees are not kept in memory
    frugal: bool = False
    custom: bool = False  # of a CustomResourceDefinition: the schema is in the cluster, not in the program
    deprecated: str = ""  # a warning that every request for this version gets
    retired: Retired | None = None
    converted: Converted | None = None  # kept in the form of another served version
    # retired field shapes inside this version: sees the raw tree before the codec when legacy APIs are on, rewrites it
    # in place and returns warnings
    legacy_shape: Callable[[Object], list[str]] | None = None
    ttl: float | None = None  # seconds after which objects vanish (Events)

    # name rule for metadata.name: (name, is_prefix) -> messages; None: the usual DNS subdomain
    validate_name: Callable[[str, bool], Iterable[str]] | None = None
    default: Callable[[Object], None] = _nothing
    # what `default` does to the status, where it neither asks for the rest nor changes it on account of the status
    default_status: Callable[[Object], None] | None = None
    prepare_create: Callable[[Object], None] = _nothing
    prepare_update: Callable[[Object, Object], None] = _nothing  # (new, old)
    prepare_status_update: Callable[[Object, Object], None] = (
        _nothing  # (new, old): new has old's spec and metadata
    )
    validate: Callable[[Object], Iterable[Cause]] = _no_errors
    validate_update: Callable[[Object, Object], Iterable[Cause]] = (
        _no_errors  # (new, old); calls validate if it must
    )
    validate_status_update: Callable[[Object, Object], Iterable[Cause]] = _no_errors  # (new, old)
    warnings: Callable[[Object], Iterable[str]] = _no_warnings
    warnings_update: Callable[[Object, Object], Iterable[str]] = _no_warnings  # (new, old)
    canonicalize: Callable[[Object], None] = _nothing
    # hooks by name, in place of those above, that remember what they have seen: made anew for each Scheme, so that
    # what they remember is the Scheme's
    remembering: Callable[[], Mapping[str, Callable[..., Any]]] | None = None

    def with_memory(self) -> ResourceType:
        """The type with hooks of its own that remember, where it has such."""
        if self.remembering is None:
            return self
        hooks: Mapping[str, Any] = self.remembering()
        return replace(self, **hooks)

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind_name(self) -> str:
        return self.list_kind or f"{self.kind}List"

    @property
    def singular_name(self) -> str:
        return self.singular or self.kind.lower()
