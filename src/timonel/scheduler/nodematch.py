"""Node selectors over all nodes at once: nodeSelector, and the terms of node affinity and of volumes.

Terms are alternatives, requirements of a term must all hold.

Upstream: component-helpers/scheduling/corev1/nodeaffinity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from timonel.objects.meta import Object, labels_of
from timonel.scheduler.nodes import MISSING, LabelColumn, Mask, Nodes


def match_labels(nodes: Nodes, labels: Mapping[str, str]) -> Mask:
    mask = np.ones(len(nodes), dtype=np.bool_)
    for key, value in labels.items():
        column = nodes.labels(key)
        mask &= column.column == column.of(value)
    return mask


def match_terms(nodes: Nodes, terms: Iterable[Mapping[str, Any]]) -> Mask:
    mask = np.zeros(len(nodes), dtype=np.bool_)
    for term in terms:
        mask |= match_term(nodes, term)
    return mask


def match_term(nodes: Nodes, term: Mapping[str, Any]) -> Mask:
    """A term that says nothing matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    mask = np.full(len(nodes), bool(expressions or fields), dtype=np.bool_)
    for requirement in expressions:
        mask &= _holds(nodes.labels(requirement["key"]), requirement)
    for requirement in fields:
        mask &= _holds(LabelColumn(nodes.names), requirement)
    return mask


def node_matches(node: Object, labels: Mapping[str, str], terms: Iterable[Mapping[str, Any]] | None) -> bool:
    """The same for one node by itself: a nodeSelector, and terms if there are any."""
    own = labels_of(node)
    if any(own.get(key) != value for key, value in labels.items()):
        return False
    return terms is None or any(_one_matches(node, term) for term in terms)


def _one_matches(node: Object, term: Mapping[str, Any]) -> bool:
    own, name = labels_of(node), node["metadata"]["name"]
    asked = [(own.get(r["key"]), r) for r in term.get("matchExpressions") or ()]
    asked += [(name, r) for r in term.get("matchFields") or ()]
    return bool(asked) and all(bool(_holds(LabelColumn([value]), r)[0]) for value, r in asked)


def _holds(column: LabelColumn, requirement: Mapping[str, Any]) -> Mask:
    values = requirement.get("values") or ()
    found: Mask
    match requirement["operator"]:
        case "In":
            found = np.isin(column.column, [column.of(v) for v in values])
        case "NotIn":
            found = ~np.isin(column.column, [column.of(v) for v in values])
        case "Exists":
            found = column.column != MISSING
        case "DoesNotExist":
            found = column.column == MISSING
        case operator:
            found = _compares(column, operator, values)
    return found


def _compares(column: LabelColumn, operator: str, values: Iterable[str]) -> Mask:
    try:
        bound = int(next(iter(values)))
    except (ValueError, StopIteration):
        return np.zeros(len(column.column), dtype=np.bool_)
    good = []
    for text, number in column.numbers.items():
        try:
            value = int(text)
        except ValueError:
            continue
        if value > bound if operator == "Gt" else value < bound:
            good.append(number)
    return np.isin(column.column, good)
