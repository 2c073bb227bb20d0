"""JSON patch (RFC 6902), with the leniencies of the implementation that upstream uses. Pure; the input is not changed.

Two kinds of failure, which the API answers differently: a patch that is not one (`PatchMalformed`, 400) and a patch
that does not fit the document (`PatchFailed`, 422).

Upstream: gopkg.in/evanphx/json-patch.v4; apiserver/pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

import copy
import json
from typing import Any

MAX_OPERATIONS = 10_000
MOST_COPIED = 3 << 20  # bytes of JSON that all copies of one patch may come to


class PatchMalformed(ValueError):
    """The patch itself cannot be read."""


class PatchFailed(ValueError):
    """An operation cannot be carried out on this document."""


class TestFailed(PatchFailed):
    """A `test` found another value."""


def json_patch(document: Any, operations: Any) -> Any:
    """A new document. Raises PatchMalformed, PatchFailed."""
    if not isinstance(operations, list) or not all(isinstance(o, dict) for o in operations):
        raise PatchMalformed("a JSON patch is a list of operations")
    found = copy.deepcopy(document)
    copies = Copies()
    for operation in operations:
        found = _apply(found, operation, copies)
    return found


class Copies:
    """How much the `copy` operations of one patch have copied: a few of them could double a document without end.

    Upstream: apiserver/pkg/server/config.go (JSONPatchMaxCopyBytes).
    """

    def __init__(self) -> None:
        self._size = 0

    def of(self, value: Any) -> Any:
        """Raises PatchFailed."""
        self._size += len(json.dumps(value))
        if self._size > MOST_COPIED:
            raise PatchFailed(
                f"Unable to complete the copy, the accumulated size increase of copy is {self._size}, exceeding the "
                f"limit {MOST_COPIED}"
            )
        return copy.deepcopy(value)


def _apply(document: Any, operation: dict[str, Any], copies: Copies) -> Any:
    verb, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise PatchFailed(f"operation {verb!r} has no path")
    match verb:
        case "add":
            return _put(document, path, copy.deepcopy(_value(operation)), replace=False)
        case "replace":
            return _put(document, path, copy.deepcopy(_value(operation)), replace=True)
        case "remove":
            return _remove(document, path)
        case "move":
            source = _source(operation)
            value = _get(document, source)
            return _put(_remove(document, source), path, value, replace=False)
        case "copy":
            # A missing member is copied as null, not refused.
            value = copies.of(_get(document, _source(operation), missing_ok=True))
            return _put(document, path, value, replace=False)
        case "test":
            if not _equal(_get(document, path, missing_ok=True), operation.get("value")):
                raise TestFailed(f"testing value {path} failed")
            return document
        case _:
            raise PatchFailed(f"unexpected operation {verb!r}")


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchFailed("the operation has no value")
    return operation["value"]


def _source(operation: dict[str, Any]) -> str:
    source = operation.get("from")
    if not isinstance(source, str):
        raise PatchFailed("the operation has no from")
    return source


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise PatchFailed(f"path {path!r} does not start with a slash")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _holder(document: Any, tokens: list[str], path: str) -> Any:
    """The container that the last token is a member of."""
    found = document
    for token in tokens[:-1]:
        if isinstance(found, dict) and token in found:
            found = found[token]
        elif isinstance(found, list):
            found = found[_index(token, len(found) - 1, path)]
        else:
            raise PatchFailed(f"{path} does not exist")
    if not isinstance(found, dict | list):
        raise PatchFailed(f"{path} does not exist")
    return found


def _index(token: str, highest: int, path: str) -> int:
    """Negative numbers count from the end, as upstream allows."""
    try:
        index = int(token)
    except ValueError as exc:
        raise PatchFailed(f"{path} does not name an element of a list") from exc
    if index < 0:
        index += highest + 1
    if not 0 <= index <= highest:
        raise PatchFailed(f"{path} is out of bounds")
    return index


def _get(document: Any, path: str, *, missing_ok: bool = False) -> Any:
    tokens = _tokens(path)
    if not tokens:
        return document
    holder, last = _holder(document, tokens, path), tokens[-1]
    if isinstance(holder, list):
        return holder[_index(last, len(holder) - 1, path)]
    if last not in holder and not missing_ok:
        raise PatchFailed(f"{path} does not exist")
    return holder.get(last)


def _put(document: Any, path: str, value: Any, *, replace: bool) -> Any:
    tokens = _tokens(path)
    if not tokens:
        return value
    holder, last = _holder(document, tokens, path), tokens[-1]
    if isinstance(holder, dict):
        holder[last] = value  # also where replace finds nothing, as upstream's implementation
    elif replace:
        holder[_index(last, len(holder) - 1, path)] = value
    elif last == "-":
        holder.append(value)
    else:
        holder.insert(_index(last, len(holder), path), value)
    return document


def _remove(document: Any, path: str) -> Any:
    tokens = _tokens(path)
    if not tokens:
        raise PatchFailed("the whole document cannot be removed")
    holder, last = _holder(document, tokens, path), tokens[-1]
    if isinstance(holder, dict):
        if last not in holder:
            raise PatchFailed(f"{path} does not exist")
        del holder[last]
    else:
        del holder[_index(last, len(holder) - 1, path)]
    return document


def _equal(one: Any, two: Any) -> bool:
    """As JSON values: true is not 1."""
    if isinstance(one, bool) or isinstance(two, bool):
        return one is two
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_equal(one[k], two[k]) for k in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_equal, one, two))
    return bool(one == two)
