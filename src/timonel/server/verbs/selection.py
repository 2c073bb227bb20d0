"""Label and field selectors of a request as one predicate on entries."""

from __future__ import annotations

from functools import lru_cache

from timonel.machinery import errors, field, selectors
from timonel.machinery.selectors import FieldSelector, LabelSelector
from timonel.server.interested import NAME, NAMESPACE, Place
from timonel.server.registry import Endpoint
from timonel.server.watchcache import Entry, Matches


@lru_cache(maxsize=1024)
def label_selector(text: str) -> LabelSelector:
    try:
        return selectors.parse_label_selector(text)
    except selectors.SelectorError as error:
        raise errors.BadRequest(str(error)) from error


@lru_cache(maxsize=1024)
def field_selector(text: str) -> FieldSelector:
    try:
        return selectors.parse_field_selector(text)
    except selectors.SelectorError as error:
        raise errors.BadRequest(str(error)) from error


def check_fields(endpoint: Endpoint, selector: FieldSelector) -> None:
    """Only fields that the kind declares can be selected by."""
    rtype = endpoint.rtype
    for requirement in selector.requirements:
        name = requirement.field
        if name in ("metadata.name", "metadata.namespace") or name in rtype.selectable:
            continue
        if rtype.selectable:
            raise errors.BadRequest(f"field label not supported: {name}")
        raise errors.BadRequest(
            f'{field.quote(name)} is not a known field selector: only "metadata.name", "metadata.namespace"'
        )


def _by_field(endpoint: Endpoint, selector: FieldSelector) -> Matches:
    if endpoint.rtype is endpoint.work:
        return lambda entry: selector.matches(entry.fields)
    # a converted version has names of its own for the fields of the stored form
    getters = endpoint.rtype.selectable

    def matches(entry: Entry) -> bool:
        obj = entry.decoded()
        fields = {"metadata.name": entry.name, "metadata.namespace": entry.namespace}
        return selector.matches(fields | {label: get(obj) for label, get in getters.items()})

    return matches


def place_of(endpoint: Endpoint, namespace: str, fields: str, name: str = "") -> Place | None:
    """Where everything is that a predicate of these can match: a name, else one value of a field, else a namespace.

    Only a namespace is a place that says all of itself; what names or fields must be stays the predicate's to ask.
    """
    selector = field_selector(fields) if fields else None
    name = name or (selector.exact(NAME) if selector is not None else "") or ""
    if name:
        return NAME, name
    if selector is not None and endpoint.rtype is endpoint.work:
        for field_name in endpoint.rtype.selectable:
            if (value := selector.exact(field_name)) is not None:
                return field_name, value
    return (NAMESPACE, namespace) if namespace and endpoint.rtype.namespaced else None


def predicate(endpoint: Endpoint, labels: str, fields: str, name: str = "") -> Matches | None:
    """None matches everything. `name` is one that the path gives. Raises BadRequest."""
    by_label = label_selector(labels) if labels else None
    by_field = field_selector(fields) if fields else None
    if by_field is not None:
        check_fields(endpoint, by_field)
    tests: list[Matches] = []
    if name:
        tests.append(lambda entry: entry.name == name)
    if by_field is not None and not by_field.is_everything:
        tests.append(_by_field(endpoint, by_field))
    if by_label is not None and not by_label.is_everything:
        tests.append(lambda entry: by_label.matches(entry.labels))
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda entry: all(test(entry) for test in tests)
