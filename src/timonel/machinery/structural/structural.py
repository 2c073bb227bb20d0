"""One version's schema, as the server uses it for the objects of that version.

Parts are compiled when they are first needed: a version that is only read needs no validation.

Upstream: apiextensions-apiserver/pkg/registry/customresource/{strategy,validator}.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.machinery.structural import findings
from timonel.machinery.structural.checks import compile_check
from timonel.machinery.structural.correlation import Old
from timonel.machinery.structural.defaulting import compile_default
from timonel.machinery.structural.embedded import Metadata, compile_coerce, compile_embedded
from timonel.machinery.structural.lists import compile_lists
from timonel.machinery.structural.pruning import compile_prune
from timonel.machinery.structural.schema import Schema, Tree

if TYPE_CHECKING:
    from timonel.machinery.structural.rules import Rules

Object = dict[str, Any]
BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
"""Causes after which no rule is evaluated: a rule may rely on what the schema promises."""
UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


class Structural:
    """`metadata` knows the metadata of resources inside of the objects; None: it is taken as it is.

    `keeps_unknown`: nothing is pruned, as definitions of old could ask for.
    """

    def __init__(
        self, schema: Tree | None, *, metadata: Metadata | None = None, keeps_unknown: bool = False
    ) -> None:
        self._keeps_unknown = keeps_unknown or schema is None
        self._metadata: Metadata = metadata if metadata is not None else AnyMetadata()
        self.schema = Schema.of(schema or {})

    # ---- in place

    def prune(self, obj: Object) -> list[str]:
        """Drops unknown fields and nulls that are no values; the paths of unknown fields, sorted.

        Raises `Malformed` for a resource inside whose kind or metadata is of a wrong type.
        """
        found = [] if self._keeps_unknown else [path.removeprefix(".") for path in self._prune(obj) or ()]
        if self._coerce is not None:
            self._coerce(obj, "", found)
        return sorted(found) if found else found

    def default(self, obj: Object) -> None:
        if self._default is not None:
            self._default(obj)

    # ---- rules

    def validate(self, obj: Object, old: Object | None = None) -> Iterator[Cause]:
        """What is wrong; on an update, not what was so before."""
        found = list(self._causes(obj, old))
        yield from found
        if self.rules is None:
            return
        if any(cause.type in BLOCKING for cause in found):
            yield field.invalid(findings.NOWHERE, None, UNCHECKED)
        else:
            yield from self.rules.validate(obj, old)

    def warnings(self, obj: Object, old: Object) -> list[str]:
        """The rules that a valid update breaks, but on values that are as they were."""
        found: list[str] = []
        if self.rules is not None:
            list(self.rules.validate(obj, old, found))
        return found

    def _causes(self, obj: Object, old: Object | None) -> Iterator[Cause]:
        if self._check is not None and not self._check(obj):
            before = None if old is None else Old(old, self.schema)
            yield from findings.causes(findings.explain(self.schema, obj, "", before).errors)
        if self._embedded is not None:
            yield from self._embedded(obj, "")
        if self._lists is not None:
            repeated = list(self._lists(obj, ""))
            if repeated and (old is None or next(self._lists(old, ""), None) is None):
                yield from repeated

    # ---- compiled

    @cached_property
    def _prune(self) -> Any:
        return compile_prune(self.schema, root=True)

    @cached_property
    def _coerce(self) -> Any:
        return compile_coerce(self.schema, self._metadata, own=False)

    @cached_property
    def _default(self) -> Any:
        return compile_default(self.schema)

    @cached_property
    def _check(self) -> Any:
        return compile_check(self.schema)

    @cached_property
    def _embedded(self) -> Any:
        return compile_embedded(self.schema, self._metadata, own=False)

    @cached_property
    def _lists(self) -> Any:
        return compile_lists(self.schema)

    @cached_property
    def rules(self) -> Rules | None:
        """None: the schema has no rules, and CEL is not even imported."""
        if not has_rules(self.schema):
            return None
        from timonel.machinery.structural.rules import Rules

        return Rules(self.schema)


def has_rules(schema: Schema) -> bool:
    below = (schema.items, schema.additional, *schema.properties.values(), *schema.all_of)
    return bool(schema.rules) or any(has_rules(one) for one in below if one is not None)


class AnyMetadata:
    """Takes every metadata as it is."""

    def normalize(self, metadata: Any, path: str) -> tuple[Object, list[str]]:
        return metadata, []

    def validate(self, metadata: Object, path: str) -> Iterator[Cause]:
        return iter(())
