"""Strategic merge patch: a merge patch that knows which lists are maps. Pure; the input is not changed.

Directives in a patch: `$patch` (delete, replace, merge) in a map or an item, `$retainKeys` beside the fields of a map,
`$deleteFromPrimitiveList/<field>` and `$setElementOrder/<field>` beside a list. What merges by which key is in the
schema data (`strategy`, `merge`).

Upstream: apimachinery/pkg/util/strategicpatch/patch.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timonel.machinery.field import quote
from timonel.machinery.patch.json import PatchFailed, PatchMalformed

TypeData = dict[str, Any]
Lookup = Callable[[str], TypeData]

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"
_MARKERS = (_DIRECTIVE, _RETAIN)


def strategic_merge_patch(document: Any, patch: Any, type_name: str, lookup: Lookup) -> Any:
    """A new document. Raises PatchMalformed, PatchFailed."""
    if not isinstance(patch, dict):
        raise PatchMalformed("a strategic merge patch is an object")
    return _Merge(lookup).maps(document or {}, patch, {"t": "ref", "ref": type_name})


class _Merge:
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._fields: dict[str, dict[str, TypeData]] = {}

    def _field(self, kind: TypeData, key: str) -> TypeData:
        """What stands under `key` in a value of this kind; an unknown field is merged like JSON."""
        if kind["t"] == "ref":
            name = kind["ref"]
            fields = self._fields.get(name)
            if fields is None:
                fields = self._fields[name] = self._lookup(name)["fields"]
            return fields.get(key, _ANY)
        return kind.get("of", _ANY) if kind["t"] == "map" else _ANY

    # ---- maps

    def maps(self, old: dict[str, Any], patch: dict[str, Any], kind: TypeData) -> dict[str, Any]:
        directive = patch.get(_DIRECTIVE)
        if directive == "replace":
            return self._fresh_map({k: v for k, v in patch.items() if k != _DIRECTIVE}, kind)
        if directive == "delete":
            return {}
        if directive is not None and directive != "merge":
            raise PatchFailed(f"unknown patch type: {directive} in map: {go_value(patch)}")
        found = dict(old)
        self._retain(found, patch)
        for key, value in patch.items():
            if key[:1] == "$":
                if key not in _MARKERS:
                    self._list_directive(found, key, value, patch, kind)
            elif value is None:
                found.pop(key, None)
            elif isinstance(value, dict | list):
                self._merge_key(found, key, value, patch, kind)
            else:
                found[key] = value
        return found

    @staticmethod
    def _retain(found: dict[str, Any], patch: dict[str, Any]) -> None:
        retained = patch.get(_RETAIN)
        if retained is None:
            return
        if not isinstance(retained, list):
            raise PatchMalformed("invalid patch format of retainKeys")
        for key in patch:
            if not key.startswith("$") and key not in retained and patch[key] is not None:
                raise PatchFailed("patch content doesn't match retainKeys list")
        for key in [k for k in found if k not in retained]:
            del found[key]

    def _merge_key(
        self, found: dict[str, Any], key: str, value: Any, patch: dict[str, Any], kind: TypeData
    ) -> None:
        """A value that is a map or a list."""
        field = self._field(kind, key)
        old = found.get(key)
        if isinstance(value, dict):
            if value.get(_DIRECTIVE) == "delete":
                # As upstream: the map stays, empty.
                found[key] = {}
            elif isinstance(old, dict) and _strategy(field) != "replace":
                found[key] = self.maps(old, value, field)
            else:
                found[key] = self._fresh_map(value, field)
        elif _strategy(field) == "merge":
            order = patch.get(f"{_ORDER}/{key}")
            found[key] = self._lists(old if isinstance(old, list) else [], value, field, order)
        else:
            found[key] = [self._fresh(item, field.get("of", _ANY)) for item in value]

    def _list_directive(
        self, found: dict[str, Any], key: str, value: Any, patch: dict[str, Any], kind: TypeData
    ) -> None:
        directive, slash, name = key.partition("/")
        if not slash or directive not in (_DELETE_FROM, _ORDER) or not isinstance(value, list):
            raise PatchMalformed(f"invalid patch directive {quote(key)}")
        old = found.get(name)
        if directive == _DELETE_FROM:
            if isinstance(old, list):
                found[name] = [item for item in old if item not in value]
        elif name not in patch and isinstance(old, list):
            key_name = self._field(kind, name).get("merge")
            found[name] = _placed(old, old, [_identity(item, key_name) for item in value], key_name)

    # ---- lists

    def _lists(self, old: list[Any], patch: list[Any], field: TypeData, order: Any) -> list[Any]:
        key = field.get("merge")
        element = field.get("of", _ANY)
        items = [item for item in patch if not isinstance(item, dict) or _DIRECTIVE not in item]
        if not key:
            merged = old + [item for item in items if item not in old]
            return _placed(merged, old, _checked_order(order, items, None), None)
        found = list(old)
        replaced = False
        for item in patch:
            if not isinstance(item, dict):
                raise PatchFailed(f"expected a map with the merge key {key}, got {go_value(item)}")
            directive = item.get(_DIRECTIVE)
            if directive == "replace":
                replaced = True
            elif directive == "delete":
                found = [o for o in found if not _has_key(o, key, _key_of(item, key))]
            elif directive is not None and directive != "merge":
                raise PatchMalformed(f"unknown patch type: {directive} in map: {go_value(item)}")
        if replaced:
            return [self._fresh_map(item, element) for item in items]
        for item in items:
            value = _key_of(item, key)
            at = next((i for i, o in enumerate(found) if _has_key(o, key, value)), None)
            if at is None:
                found.append(self._fresh_map(item, element))
            else:
                found[at] = self.maps(found[at], item, element)
        return _placed(found, old, _checked_order(order, items, key), key)

    # ---- what has nothing to merge with

    def _fresh(self, value: Any, kind: TypeData) -> Any:
        if isinstance(value, dict):
            return self._fresh_map(value, kind)
        return value

    def _fresh_map(self, patch: dict[str, Any], kind: TypeData) -> dict[str, Any]:
        """A map that comes with the patch: its directives are carried out on nothing, nulls vanish."""
        if _DIRECTIVE in patch:
            patch = {k: v for k, v in patch.items() if k != _DIRECTIVE}
        return self.maps({}, patch, kind)


_ANY: TypeData = {"t": "any"}


def _strategy(field: TypeData) -> str:
    if "strategy" not in field:
        return ""
    strategies = str(field.get("strategy", "")).split(",")
    if "merge" in strategies:
        return "merge"
    return "replace" if "replace" in strategies else ""


def _key_of(item: dict[str, Any], key: str) -> Any:
    if key not in item:
        raise PatchFailed(f"map: {go_value(item)} does not contain declared merge key: {key}")
    return item[key]


def _has_key(item: Any, key: str, value: Any) -> bool:
    return isinstance(item, dict) and item.get(key) == value


def _identity(item: Any, key: str | None) -> Any:
    found = item.get(key) if key and isinstance(item, dict) else item
    return repr(found) if isinstance(found, dict | list) else found


def _checked_order(order: Any, items: list[Any], key: str | None) -> list[Any]:
    """The identities that a patch puts in order: all it names, or those it brings."""
    brought = [_identity(item, key) for item in items]
    if order is None:
        return brought
    if not isinstance(order, list):
        raise PatchMalformed("invalid patch format of setElementOrder list")
    wanted = [_identity(item, key) for item in order]
    rest = iter(wanted)
    if not all(identity in rest for identity in brought):
        raise PatchFailed(
            f"The order in patch list:\n{go_value(items)}\n doesn't match $setElementOrder list:\n{go_value(order)}\n"
        )
    return wanted


def _placed(merged: list[Any], old: list[Any], wanted: list[Any], key: str | None) -> list[Any]:
    """What the patch puts in order, with the other items where they stood in relation to it."""
    if len(wanted) == 1 and (placed := _one_placed(merged, old, wanted[0], key)) is not None:
        return placed
    place = {identity: i for i, identity in enumerate(wanted)}
    ours = [item for item in merged if _identity(item, key) not in place]
    theirs = sorted(
        (item for item in merged if _identity(item, key) in place),
        key=lambda item: place[_identity(item, key)],
    )
    if not ours:
        return theirs
    server = {_identity(item, key): i for i, item in enumerate(old)}
    found: list[Any] = []
    left, right = 0, 0
    while left < len(ours) and right < len(theirs):
        one, two = server.get(_identity(ours[left], key)), server.get(_identity(theirs[right], key))
        if one is not None and two is not None and one < two:
            found.append(ours[left])
            left += 1
        else:
            found.append(theirs[right])
            right += 1
    return found + ours[left:] + theirs[right:]


def _one_placed(merged: list[Any], old: list[Any], wanted: Any, key: str | None) -> list[Any] | None:
    """The usual case, one item among others that differ: it stays where it was, or comes first. None for any other."""
    identities = [_identity(item, key) for item in merged]
    if len(set(identities)) < len(identities):
        return None
    if wanted not in identities or any(_identity(item, key) == wanted for item in old):
        return merged
    at = identities.index(wanted)
    return [merged[at], *merged[:at], *merged[at + 1 :]]


def go_value(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{go_value(v)}' for k, v in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_value, value))}]"
    return "<nil>" if value is None else str(value)
