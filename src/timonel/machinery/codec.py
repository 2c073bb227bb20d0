"""Per-type code that brings a decoded body into the form in which upstream would give it back.

`Codecs(lookup)` compiles a `Codec` per type on first use from schema data (`lookup(name)` gives a type's dict, see
`timonel.schema.store` for its keys). `Codec.normalize` does in one pass what a trip through upstream's Go types does:
unknown fields are dropped, null and what `omitempty` leaves out vanish, quantities, times and base64 are written in
their canonical form, and fields that are always written appear. A value of the wrong JSON type raises `DecodeError`.

The fast path knows no paths; only when something is wrong does `explain` walk the tree again for the words.

Upstream: encoding/json as in sigs.k8s.io/json, runtime/serializer/json, and the round trip through the storage codec,
which turns an empty list or map into an absent one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from timonel.machinery.field import quote
from timonel.machinery.quantity import Quantity, QuantityError

Object = dict[str, Any]
TypeData = dict[str, Any]
Lookup = Callable[[str], TypeData]
# (value, unknown fields met) -> value; values are never null
Normalize = Callable[[Any, list[str]], Any]
# (value, the normalized one that stood in its place, unknown fields met) -> value
NormalizeBeside = Callable[[Any, Any, list[str]], Any]
Settle = Callable[[Any], None]


class DecodeError(ValueError):
    """A tree that is no object of its kind; the API answers 400."""


class _Mismatch(Exception):
    """A value of the wrong JSON type; `explain` finds the words."""


# ---- single values


def _string(value: Any, _: list[str]) -> str:
    if type(value) is str:
        return value
    raise _Mismatch


def _boolean(value: Any, _: list[str]) -> bool:
    if value is True or value is False:
        return value
    raise _Mismatch


def _int32(value: Any, _: list[str]) -> int:
    if type(value) is int and -0x80000000 <= value <= 0x7FFFFFFF:
        return value
    raise _Mismatch


def _int64(value: Any, _: list[str]) -> int:
    if type(value) is int and -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return value
    raise _Mismatch


def _number(value: Any, _: list[str]) -> int | float:
    if type(value) is int:
        return value
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    raise _Mismatch


def _any(value: Any, _: list[str]) -> Any:
    return value


def _intstr(value: Any, _: list[str]) -> int | str:
    if type(value) is str or (type(value) is int and -0x80000000 <= value <= 0x7FFFFFFF):
        return value
    raise _Mismatch


def _quantity(value: Any, _: list[str]) -> str:
    if type(value) is str:
        try:
            return str(Quantity.parse(value.strip()))
        except QuantityError as e:
            raise _Mismatch from e
    if type(value) is int or type(value) is float:
        return str(Quantity.parse(value))
    raise _Mismatch


def _bytes(value: Any, _: list[str]) -> str:
    if type(value) is not str:
        raise _Mismatch
    if not value:
        return value
    text = value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise _Mismatch from e
    return base64.b64encode(decoded).decode()


USUAL_TIME = 32  # characters; longer ones are not remembered
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)((?:[.,]\d+)?)(Z|[+-]\d\d:\d\d)", re.ASCII).fullmatch


def _time(value: Any, _: list[str]) -> str:
    return _parsed_time(value, micro=False)


def _microtime(value: Any, _: list[str]) -> str:
    return _parsed_time(value, micro=True)


def _parsed_time(value: Any, *, micro: bool) -> str:
    if type(value) is not str:
        raise _Mismatch
    return _usual_time(value, micro) if len(value) <= USUAL_TIME else _time_in_utc(value, micro)


def _time_in_utc(value: str, micro: bool) -> str:
    match = _RFC3339(value)
    if match is None:
        raise _Mismatch
    base, fraction, zone = match.groups()
    # The layout of a MicroTime has six digits, and Go wants as many.
    if micro and len(fraction) != 7:
        raise _Mismatch
    try:
        moment = datetime.fromisoformat(base)
        if zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
            moment = moment - offset if zone[0] == "+" else moment + offset
    except (ValueError, OverflowError) as e:
        raise _Mismatch from e
    text = moment.isoformat()[:19]
    return f"{text}.{fraction[1:]}Z" if micro else f"{text}Z"


_usual_time = lru_cache(1024)(_time_in_utc)  # the same ones are read again and again

_SCALARS: dict[str, Normalize] = {
    "string": _string, "boolean": _boolean, "int32": _int32, "int64": _int64, "number": _number, "double": _number,
    "any": _any, "raw": _any, "intstr": _intstr, "quantity": _quantity, "bytes": _bytes, "time": _time,
    "microtime": _microtime,
}  # fmt: skip

# What Go writes for a value nobody set.
_ZEROS: dict[str, Any] = {
    "string": "", "boolean": False, "int32": 0, "int64": 0, "number": 0, "double": 0, "any": None, "raw": None,
    "intstr": 0, "quantity": "0", "bytes": "", "time": None, "microtime": None, "list": None, "map": None,
}  # fmt: skip


# ---- compiled types


class Codec:
    """The compiled code of one type. `new()` is an object of it with nothing set."""

    __slots__ = ("_codecs", "_run", "_run_beside", "name")

    def __init__(self, name: str, run: Normalize, run_beside: NormalizeBeside, codecs: Codecs) -> None:
        self.name = name
        self._run = run
        self._run_beside = run_beside
        self._codecs = codecs

    def normalize(self, obj: Any, beside: Object | None = None) -> tuple[Object, list[str]]:
        """(a new tree, problems such as `unknown field "spec.foo"`); raises DecodeError.

        `beside` is a tree that normalizing leaves as it is; what `obj` shares with it is taken over, not looked at.
        """
        unknown: list[str] = []
        try:
            found = self._run(obj, unknown) if beside is None else self._run_beside(obj, beside, unknown)
        except _Mismatch:
            list(self._codecs.explain(self.name, obj))
            raise DecodeError(
                f"json: cannot unmarshal {_json_kind(obj)} into Go value of type {self.name}"
            ) from None
        return found, (list(self._codecs.explain(self.name, obj)) if unknown else [])

    def new(self) -> Object:
        found: Object = self._run({}, [])
        return found

    def settle(self, obj: Object) -> None:
        """Turn empty lists that are always written into null, in place: no storage keeps the two apart."""
        settle = self._codecs.settler(self.name)
        if settle is not None:
            settle(obj)


class Codecs:
    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self._structs: dict[str, Normalize] = {}
        self._beside: dict[str, NormalizeBeside] = {}
        self._settlers: dict[str, Settle | None] = {}

    def codec(self, name: str) -> Codec:
        return Codec(name, self._struct(name), self._struct_beside(name), self)

    # ---- compile

    def _struct(self, name: str) -> Normalize:
        run = self._structs.get(name)
        if run is None:
            # Types refer to each other and to themselves: what is under way is reached through the table.
            self._structs[name] = lambda value, unknown: self._structs[name](value, unknown)
            run = self._structs[name] = self._compile(self.lookup(name))
        return run

    def _compile(self, data: TypeData) -> Normalize:
        fields = {name: (_drops_zero(f), self._value(f)) for name, f in data["fields"].items()}
        emitted = tuple((name, self._zero(f)) for name, f in data["fields"].items() if f.get("emit"))
        get = fields.get

        def run(value: Any, unknown: list[str]) -> Object:
            if type(value) is not dict:
                raise _Mismatch
            found: Object = {}
            for key, item in value.items():
                entry = get(key)
                if entry is None:
                    unknown.append(key)
                elif item is not None:
                    item = entry[1](item, unknown)
                    if item or not entry[0]:
                        found[key] = item
            for key, zero in emitted:
                if key not in found:
                    found[key] = zero()
            return found

        return run

    def _struct_beside(self, name: str) -> NormalizeBeside:
        run = self._beside.get(name)
        if run is None:
            self._beside[name] = lambda value, beside, unknown: self._beside[name](value, beside, unknown)
            run = self._beside[name] = self._compile_beside(self.lookup(name))
        return run

    def _compile_beside(self, data: TypeData) -> NormalizeBeside:
        """Structs are walked where they differ; in them, new items of lists and maps that differ are normalized."""
        fields = {name: (_drops_zero(f), self._value_beside(f)) for name, f in data["fields"].items()}
        emitted = tuple((name, self._zero(f)) for name, f in data["fields"].items() if f.get("emit"))
        get = fields.get

        def run(value: Any, beside: Any, unknown: list[str]) -> Object:
            if type(value) is not dict:
                raise _Mismatch
            before = beside.get if type(beside) is dict else {}.get
            found: Object = {}
            for key, item in value.items():
                was = before(key)
                if item is was and item is not None:
                    found[key] = item
                    continue
                entry = get(key)
                if entry is None:
                    unknown.append(key)
                elif item is not None:
                    item = entry[1](item, was, unknown)
                    if item or not entry[0]:
                        found[key] = item
            for key, zero in emitted:
                if key not in found:
                    found[key] = zero()
            return found

        return run

    def _value_beside(self, field: TypeData) -> NormalizeBeside:
        if field["t"] == "ref":
            return self._struct_beside(field["ref"])
        if field["t"] == "list" and field["of"]["t"] == "ref":
            return self._list_beside(field["of"])
        run = self._value(field)
        return lambda value, _, unknown: run(value, unknown)

    def _list_beside(self, of: TypeData) -> NormalizeBeside:
        element, zero = self._value(of), self._zero(of, in_list=True)

        def run(value: Any, beside: Any, unknown: list[str]) -> list[Any]:
            if type(value) is not list:
                raise _Mismatch
            kept = {id(item) for item in beside} if type(beside) is list else ()
            return [
                item
                if id(item) in kept and item is not None
                else zero()
                if item is None
                else element(item, unknown)
                for item in value
            ]

        return run

    # ---- what storage does not keep

    def settler(self, name: str) -> Settle | None:
        """None for a type without such a list anywhere in it."""
        if name not in self._settlers:
            # As for `_struct`: a type that contains itself is reached through the table.
            self._settlers[name] = lambda value: self._settle_later(name, value)
            self._settlers[name] = self._compile_settler(self.lookup(name))
        return self._settlers[name]

    def _settle_later(self, name: str, value: Any) -> None:
        run = self._settlers[name]
        if run is not None:
            run(value)

    def _compile_settler(self, data: TypeData) -> Settle | None:
        fields = data["fields"].items()
        nullable = [
            k for k, f in fields if f.get("emit") and not f.get("empty") and f["t"] in ("list", "map")
        ]
        inner = [(k, run) for k, f in fields if (run := self._inner_settler(f)) is not None]
        if not nullable and not inner:
            return None

        def settle(value: Object) -> None:
            for key in nullable:
                if not value.get(key):
                    value[key] = None
            for key, run in inner:
                if item := value.get(key):
                    run(item)

        return settle

    def _inner_settler(self, field: TypeData) -> Settle | None:
        if field["t"] == "ref":
            return self.settler(field["ref"])
        if field["t"] not in ("list", "map"):
            return None
        each = self._inner_settler(field["of"])
        if each is None:
            return None
        is_map = field["t"] == "map"

        def settle(value: Any) -> None:
            for item in value.values() if is_map else value:
                if item:
                    each(item)

        return settle

    def _value(self, field: TypeData) -> Normalize:
        kind = field["t"]
        if kind == "ref":
            return self._struct(field["ref"])
        if kind == "list":
            return self._list(field["of"])
        if kind == "map":
            return self._map(field["of"])
        if kind.startswith("props-or"):
            return self._props_or(kind, field["ref"])
        return _SCALARS[kind]

    def _list(self, of: TypeData) -> Normalize:
        if of["t"] == "string":

            def strings(value: Any, _: list[str]) -> list[str]:
                if type(value) is not list:
                    raise _Mismatch
                for item in value:
                    if type(item) is not str:
                        return [_string("" if i is None else i, _) for i in value]
                return value

            return strings
        element, zero = self._value(of), self._zero(of, in_list=True)

        def run(value: Any, unknown: list[str]) -> list[Any]:
            if type(value) is not list:
                raise _Mismatch
            return [zero() if item is None else element(item, unknown) for item in value]

        return run

    def _map(self, of: TypeData) -> Normalize:
        element, zero = self._value(of), self._zero(of, in_list=True)

        def run(value: Any, unknown: list[str]) -> Object:
            if type(value) is not dict:
                raise _Mismatch
            return {key: zero() if item is None else element(item, unknown) for key, item in value.items()}

        return run

    def _zero(self, field: TypeData, *, in_list: bool = False) -> Callable[[], Any]:
        kind = field["t"]
        if kind == "ref" and not field.get("ptr"):
            run = self._struct(field["ref"])
            return lambda: run({}, [])
        if in_list and kind in ("list", "map"):
            return list if kind == "list" else dict
        value = None if field.get("ptr") else _ZEROS.get(kind)
        return lambda: value

    def _props_or(self, kind: str, ref: str) -> Normalize:
        """A JSON schema, or in its place a boolean, a list of schemas or of strings.

        As upstream: a decoder of its own reads these, and tells nobody of unknown fields.
        """

        def run(value: Any, _: list[str]) -> Any:
            unknown: list[str] = []
            if type(value) is dict:
                return self._struct(ref)(value, unknown)
            if kind == "props-or-bool" and type(value) is bool:
                return value
            if kind == "props-or-array" and type(value) is list:
                return [self._struct(ref)(item, unknown) for item in value]
            if kind == "props-or-strings" and type(value) is list:
                return [_string(item, unknown) for item in value]
            raise _Mismatch

        return run

    # ---- words

    def explain(self, name: str, value: Any, path: str = "", go_path: str = "") -> Iterator[str]:
        """Unknown fields in the order of the document; raises DecodeError at a value of the wrong type.

        `go_path` is the path as Go's decoder says it: field names only.
        """
        owner = name.rpartition(".")[2]
        if type(value) is not dict:
            raise _mismatch(value, go_path and f"{owner}.{go_path}", _go_type({"t": "ref", "ref": name}))
        fields = self.lookup(name)["fields"]
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            found = fields.get(key)
            if found is None:
                yield f"unknown field {quote(at)}"
            elif item is not None:
                yield from self._explain_value(found, item, at, owner, f"{go_path}.{key}" if go_path else key)

    def _explain_value(
        self, field: TypeData, value: Any, path: str, owner: str, go_path: str
    ) -> Iterator[str]:
        kind, place = field["t"], f"{owner}.{go_path}"
        if kind == "ref":
            if type(value) is not dict:
                raise _mismatch(value, place, _go_type(field))
            yield from self.explain(field["ref"], value, path, go_path)
        elif kind == "list":
            if type(value) is not list:
                raise _mismatch(value, place, "[]" + _go_type(field["of"]))
            for i, item in enumerate(value):
                if item is not None:
                    yield from self._explain_value(field["of"], item, f"{path}[{i}]", owner, go_path)
        elif kind == "map":
            if type(value) is not dict:
                raise _mismatch(value, place, "map[string]" + _go_type(field["of"]))
            for key, item in value.items():
                if item is not None:
                    yield from self._explain_value(field["of"], item, f"{path}.{key}", owner, go_path)
        elif not kind.startswith("props-or"):
            try:
                _SCALARS[kind](value, [])
            except _Mismatch:
                raise _scalar_mismatch(kind, value, place) from None


def _drops_zero(field: TypeData) -> bool:
    """Whether a zero that was sent vanishes. An empty list or map always does: no storage codec keeps it apart."""
    kind = field["t"]
    if kind in ("list", "map"):
        return not field.get("empty") and not field.get("emit")
    if field.get("ptr") or field.get("emit"):
        return False
    return kind not in ("ref", "quantity", "any", "raw", "time", "microtime") and not kind.startswith(
        "props-or"
    )


def _json_kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "number"


def _go_type(field: TypeData) -> str:
    kind = field["t"]
    if kind == "ref":
        return ".".join(field["ref"].split(".")[-2:])
    if kind == "list":
        return "[]" + _go_type(field["of"])
    if kind == "map":
        return "map[string]" + _go_type(field["of"])
    names = {"boolean": "bool", "number": "float64", "double": "float64", "bytes": "[]uint8"}
    return names.get(kind, str(kind))


def _mismatch(value: Any, place: str, go_type: str) -> DecodeError:
    target = f"Go struct field {place} of type" if place else "Go value of type"
    return DecodeError(f"json: cannot unmarshal {_json_kind(value)} into {target} {go_type}")


_LAYOUTS = {"time": "2006-01-02T15:04:05Z07:00", "microtime": "2006-01-02T15:04:05.000000Z07:00"}


def _scalar_mismatch(kind: str, value: Any, place: str) -> DecodeError:
    if type(value) is str:
        if kind == "quantity":
            try:
                Quantity.parse(value.strip())
            except QuantityError as e:
                return DecodeError(str(e))
        if kind in _LAYOUTS:
            text = quote(value)
            return DecodeError(
                f'parsing time {text} as {quote(_LAYOUTS[kind])}: cannot parse {text} as "2006"'
            )
        if kind == "bytes":
            return DecodeError(f"illegal base64 data at input byte {_first_illegal(value)}")
    elif type(value) in (int, float) and kind in ("int32", "int64"):
        shown = str(value) if isinstance(value, int) else orjson.dumps(value).decode()
        return DecodeError(
            f"json: cannot unmarshal number {shown} into Go struct field {place} of type {kind}"
        )
    return _mismatch(value, place, _go_type({"t": kind}))


_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]*")


def _first_illegal(text: str) -> int:
    """Where Go's decoder gives up."""
    match = _BASE64.match(text)
    end = match.end() if match else 0
    return end if end < len(text) and text[end] != "=" else len(text) - len(text) % 4


# ---- bytes


def encode(obj: Object) -> bytes:
    """Canonical bytes: kind, apiVersion and metadata first, as they come from upstream."""
    head = {key: obj[key] for key in ("kind", "apiVersion", "metadata") if key in obj}
    return orjson.dumps({**head, **obj})
