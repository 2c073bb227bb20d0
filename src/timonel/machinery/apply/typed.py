"""Values seen through their type: compare, merge, remove, list the fields. One node per place in a type.

`Nodes(lookup)` builds nodes from schema data (see `timonel.schema.store` for its keys). What the lists and maps of a
type are (atomic, set, map with keys) decides how fine changes and owners are told apart.

`compare(old, new, changed, removed)` adds to two sets, of paths that were added or modified and of paths that went.
Parts that are equal are not walked, so that an update costs what it changes. Absent is `ABSENT`: null is a value here.

Upstream: sigs.k8s.io/structured-merge-diff/typed/{compare,merge,remove,tofieldset,validate}.go,
kube-openapi/pkg/schemaconv.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from timonel.machinery.apply.sets import LEAF, MEMBER, Set, show, to_json

TypeData = dict[str, Any]
Lookup = Callable[[str], TypeData]


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final[Any] = _Absent()


class Node:
    """A scalar, and everything that is changed as a whole."""

    def compare(self, old: Any, new: Any, changed: Set, removed: Set) -> None:
        """`changed` and `removed` are the sets at this place."""
        if old is ABSENT:
            changed[MEMBER] = {}
        elif new is ABSENT:
            removed[MEMBER] = {}
        elif not same(old, new):
            changed[MEMBER] = {}

    def fields(self, value: Any) -> Set:
        """The set of a configuration that is applied."""
        return LEAF

    def merge(self, live: Any, config: Any) -> Any:
        return live if config is ABSENT else config

    def remove(self, value: Any, gone: Set) -> Any:
        return value

    def with_named_members(self, one: Set) -> Set:
        """The set in which every field of a struct that has members below it is one itself."""
        return one

    def problems(self, value: Any, path: str) -> Iterator[str]:
        """What an applied configuration may not be, in upstream's words."""
        return iter(())


class Scalar(Node):
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._types = _SCALAR_TYPES.get(kind)

    def problems(self, value: Any, path: str) -> Iterator[str]:
        types = self._types
        if types is None or value is None:
            return
        if isinstance(value, types) and (types == (bool,) or not isinstance(value, bool)):
            return
        yield f"{path}: expected {_SCALAR_WORDS[self._kind]}, got &value.valueUnstructured{{Value:{_go(value)}}}"


_SCALAR_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "bytes": (str,), "boolean": (bool,), "int32": (int,), "int64": (int,), "number": (int, float),
    "double": (int, float),
}  # fmt: skip
_SCALAR_WORDS = {
    "string": "string", "bytes": "string", "boolean": "boolean", "int32": "numeric (int or float)",
    "int64": "numeric (int or float)", "number": "numeric (int or float)", "double": "numeric (int or float)",
}  # fmt: skip


def _go(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{_go(v)}' for k, v in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_go, value))}]"
    return "<nil>" if value is None else str(value)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, bool) is not isinstance(two, bool):
        return False
    return bool(one == two)


class Atomic(Node):
    """A struct, map or list that belongs to one manager as a whole; `inner` knows what it may be."""

    def __init__(self, inner: Callable[[], Node], kind: str) -> None:
        self._inner = inner
        self._kind = kind

    def problems(self, value: Any, path: str) -> Iterator[str]:
        return self._inner().problems(value, path)


class Branch(Node, ABC):
    """A struct or a map whose members have owners of their own."""

    @abstractmethod
    def child(self, key: str) -> Node | None: ...

    @abstractmethod
    def is_field(self, key: str) -> bool:
        """A declared field, not a key of a map."""

    def compare(self, old: Any, new: Any, changed: Set, removed: Set) -> None:
        before: Mapping[str, Any] = old if type(old) is dict else {}
        after: Mapping[str, Any] = new if type(new) is dict else {}
        if not before and not after:
            Node.compare(self, old, new, changed, removed)
            return
        for key, value in after.items():
            was = before.get(key, ABSENT)
            if was is not ABSENT and was == value:
                continue
            node = self.child(key)
            if node is None:
                continue
            put: Set = {}
            gone: Set = {}
            node.compare(was, value, put, gone)
            if put:
                changed["f:" + key] = put
            if gone:
                removed["f:" + key] = gone
        if old is not ABSENT:
            for key, was in before.items():
                if key not in after and (node := self.child(key)) is not None:
                    gone = {}
                    node.compare(was, ABSENT, {}, gone)
                    if gone:
                        removed["f:" + key] = gone
        _mark_whole(old, new, changed, removed)

    def fields(self, value: Any) -> Set:
        found: Set = {}
        if type(value) is not dict:
            return found
        for key, item in value.items():
            node = self.child(key)
            if node is None:
                continue
            below = node.fields(item)
            if MEMBER not in below and (item is None or item == {} or not self.is_field(key)):
                below = {**below, MEMBER: {}}
            if below:
                found["f:" + key] = below
        return found

    def merge(self, live: Any, config: Any) -> Any:
        if config is ABSENT:
            return live
        if not live or type(live) is not dict or type(config) is not dict:
            return live if live and config is None else config
        found = dict(live)
        for key, value in config.items():
            node = self.child(key)
            found[key] = value if node is None else node.merge(found.get(key, ABSENT), value)
        return found

    def remove(self, value: Any, gone: Set) -> Any:
        if type(value) is not dict:
            return value
        found = {}
        for key, item in value.items():
            below = gone.get("f:" + key)
            if below is None:
                found[key] = item
            elif MEMBER not in below:
                node = self.child(key)
                found[key] = item if node is None else node.remove(item, below)
        return found or None

    def with_named_members(self, one: Set) -> Set:
        found: Set = {}
        for element, below in one.items():
            node = self.child(element[2:]) if element[:2] == "f:" else None
            if node is None:
                found[element] = below
                continue
            inner = node.with_named_members(below)
            if MEMBER not in inner and self.is_field(element[2:]):
                inner = {**inner, MEMBER: {}}
            found[element] = inner
        return found

    def problems(self, value: Any, path: str) -> Iterator[str]:
        if value is None:
            return
        if type(value) is not dict:
            yield f"{path}: expected map, got &value.valueUnstructured{{Value:{_go(value)}}}"
            return
        for key, item in value.items():
            node = self.child(key)
            if node is None:
                yield f"{path}.{key}: field not declared in schema"
            else:
                yield from node.problems(item, f"{path}.{key}")


def _mark_whole(old: Any, new: Any, changed: Set, removed: Set) -> None:
    if old is ABSENT:
        changed[MEMBER] = {}
    elif new is ABSENT:
        removed[MEMBER] = {}


class Struct(Branch):
    def __init__(self, rest: Node | None = None) -> None:
        """`rest`: what fields are that are not declared, where the type takes them."""
        self.children: dict[str, Node] = {}
        self._rest = rest

    def child(self, key: str) -> Node | None:
        return self.children.get(key, self._rest)

    def is_field(self, key: str) -> bool:
        return key in self.children


class Map(Branch):
    def __init__(self, element: Node) -> None:
        self._element = element

    def child(self, key: str) -> Node | None:
        return self._element

    def is_field(self, key: str) -> bool:
        return False


class Deduced(Branch):
    """JSON without a type: objects are maps, everything else is a whole."""

    _leaf = Node()

    def child(self, key: str) -> Node | None:
        return self

    def is_field(self, key: str) -> bool:
        return False

    def compare(self, old: Any, new: Any, changed: Set, removed: Set) -> None:
        if all(v is ABSENT or type(v) is dict for v in (old, new)):
            super().compare(old, new, changed, removed)
        else:
            self._leaf.compare(old, new, changed, removed)

    def fields(self, value: Any) -> Set:
        return super().fields(value) if type(value) is dict else LEAF

    def merge(self, live: Any, config: Any) -> Any:
        if type(live) is dict and type(config) is dict:
            return super().merge(live, config)
        return self._leaf.merge(live, config)

    def problems(self, value: Any, path: str) -> Iterator[str]:
        return iter(())


class Repeated(list[Any]):
    """Items with the same key: valid nowhere, stored here and there. They are compared as one."""


REMEMBERED = 256  # names of items of one list
LONGEST = 64  # characters of one that is worth it


class Items(Node):
    """A list of type map (`keys`) or set (no keys)."""

    def __init__(self, element: Node, keys: tuple[str, ...], defaults: Mapping[str, Any]) -> None:
        self.element = element
        self._keys = keys
        self._defaults = defaults
        self._elements: dict[str, str] = {}  # by the name in the only key, as of conditions and containers

    def element_of(self, item: Any) -> str:
        """The path element of an item."""
        if not self._keys:
            return "v:" + to_json(item)
        found = item if type(item) is dict else {}
        if len(self._keys) == 1 and type(name := found.get(self._keys[0])) is str:
            known = self._elements.get(name)
            if known is None:
                known = "k:" + to_json({self._keys[0]: name})
                if len(name) <= LONGEST and len(self._elements) < REMEMBERED:
                    self._elements[name] = known
            return known
        key = {k: found.get(k, self._defaults.get(k)) for k in self._keys}
        return "k:" + to_json({k: v for k, v in key.items() if v is not None})

    def _indexed(self, value: Any) -> dict[str, Any]:
        """Items by path element; those that share one are a `Repeated`."""
        found: dict[str, Any] = {}
        for item in value if type(value) is list else ():
            element = self.element_of(item)
            if element not in found:
                found[element] = item
            elif isinstance(found[element], Repeated):
                found[element].append(item)
            else:
                found[element] = Repeated((found[element], item))
        return found

    def compare(self, old: Any, new: Any, changed: Set, removed: Set) -> None:
        if not (type(old) is list and old) and not (type(new) is list and new):
            Node.compare(self, old, new, changed, removed)
            return
        before, after = self._indexed(old), self._indexed(new)
        for element, item in after.items():
            was = before.get(element, ABSENT)
            if was is not ABSENT and was == item:
                continue
            put: Set = {}
            gone: Set = {}
            self._compare_items(was, item, put, gone)
            if put:
                changed[element] = put
            if gone:
                removed[element] = gone
        for element, was in before.items():
            if element not in after:
                gone = {}
                self._compare_items(was, ABSENT, {}, gone)
                removed[element] = gone
        _mark_whole(old, new, changed, removed)

    def _compare_items(self, old: Any, new: Any, changed: Set, removed: Set) -> None:
        repeated = isinstance(old, Repeated) or isinstance(new, Repeated)
        node = Node() if repeated else self.element
        node.compare(old, new, changed, removed)

    def fields(self, value: Any) -> Set:
        return {
            element: LEAF if isinstance(item, Repeated) else {**self.element.fields(item), MEMBER: {}}
            for element, item in self._indexed(value).items()
        }

    def merge(self, live: Any, config: Any) -> Any:
        if config is ABSENT or (config is None and live):
            return live
        if type(live) is not list or type(config) is not list or not live:
            return config
        return list(self._merged(live, config))

    def _merged(self, live: list[Any], config: list[Any]) -> Iterator[Any]:
        """Items of both in an order that keeps the configuration's, and the live one's where it can."""
        ours = {e: i for e, i in self._indexed(live).items() if not isinstance(i, Repeated)}
        theirs = self._indexed(config)
        known = {self.element_of(item) for item in live}
        left = [self.element_of(item) for item in live]
        right = list(theirs)
        shared = [element for element in right if element in known]
        done: set[str] = set()
        l_at = r_at = 0
        while l_at < len(left) or r_at < len(right):
            wanted = shared[0] if shared else None
            if l_at < len(left):
                element = left[l_at]
                if r_at < len(right):
                    if element == right[r_at]:
                        done.add(element)
                        yield self.element.merge(ours.get(element, ABSENT), theirs[element])
                        l_at, r_at, shared = l_at + 1, r_at + 1, shared[1:]
                        continue
                    if element in theirs and wanted is not None and wanted != element:
                        l_at += 1
                        continue
                if element not in theirs:
                    yield live[l_at]
                    l_at += 1
                    continue
                if element in done:
                    l_at += 1
            if r_at < len(right):
                element = right[r_at]
                done.add(element)
                yield self.element.merge(ours.get(element, ABSENT), theirs[element])
                r_at += 1
                if wanted == element:
                    shared = shared[1:]

    def remove(self, value: Any, gone: Set) -> Any:
        if type(value) is not list:
            return value
        found = []
        for item in value:
            below = gone.get(self.element_of(item))
            if below is None:
                found.append(item)
            elif MEMBER not in below:
                found.append(self.element.remove(item, below))
        return found or None

    def with_named_members(self, one: Set) -> Set:
        return {
            element: below if element == MEMBER else self.element.with_named_members(below)
            for element, below in one.items()
        }

    def problems(self, value: Any, path: str) -> Iterator[str]:
        if value is None:
            return
        if type(value) is not list:
            yield f"{path}: expected list, got &value.valueUnstructured{{Value:{_go(value)}}}"
            return
        seen: set[str] = set()
        for i, item in enumerate(value):
            if self._keys and type(item) is not dict:
                yield f"{path}: element {i}: associative list with keys may not have non-map elements"
                continue
            element = self.element_of(item)
            shown = show((element,))
            if element in seen:
                yield f"{path}: duplicate entries for key {shown}"
            seen.add(element)
            yield from self.element.problems(item, path + shown)


class List(Node):
    """What an atomic list may hold."""

    def __init__(self, element: Node) -> None:
        self._element = element

    def problems(self, value: Any, path: str) -> Iterator[str]:
        if value is None:
            return
        if type(value) is not list:
            yield f"{path}: expected list, got &value.valueUnstructured{{Value:{_go(value)}}}"
            return
        for i, item in enumerate(value):
            yield from self._element.problems(item, f"{path}[{i}]")


class Nodes:
    """Builds the nodes of a cluster's types, each struct once."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._structs: dict[str, Struct] = {}
        self._deduced = Deduced()

    def struct(self, name: str) -> Struct:
        found = self._structs.get(name)
        if found is None:
            found = self._structs[name] = Struct()
            for key, field in self._lookup(name)["fields"].items():
                found.children[key] = self._node(field)
        return found

    def _node(self, field: TypeData) -> Node:
        kind = field["t"]
        if kind == "ref":
            name = field["ref"]
            if (field.get("map") or self._lookup(name).get("map")) == "atomic":
                return Atomic(lambda: self.struct(name), "map")
            return self.struct(name)
        if kind == "map":
            inner = Map(self._node(field["of"]))
            return Atomic(lambda: inner, "map") if field.get("map") == "atomic" else inner
        if kind == "list":
            return self._list(field)
        if kind in ("any", "raw"):
            return self._deduced
        return Scalar(kind)

    def _list(self, field: TypeData) -> Node:
        element = self._node(field["of"])
        keys = _associative(field)
        if keys is None:
            inner = List(element)
            return Atomic(lambda: inner, "list")
        defaults: dict[str, Any] = {}
        if keys and field["of"]["t"] == "ref":
            types = self._lookup(field["of"]["ref"])["fields"]
            defaults = {k: types[k]["default"] for k in keys if "default" in types.get(k, {})}
        return Items(element, keys, defaults)


def _associative(field: TypeData) -> tuple[str, ...] | None:
    """The keys of a list of type map, () for a set, None for an atomic list."""
    kind = field.get("list")
    if kind == "map":
        return tuple(field["keys"])
    if kind == "set":
        return ()
    # Before list types there were patch strategies; they count where no list type is given.
    if kind is None and str(field.get("strategy", "")).split(",")[0] == "merge":
        return (field["merge"],) if field.get("merge") else ()
    return None
