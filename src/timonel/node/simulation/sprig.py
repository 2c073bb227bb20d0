"""Of sprig's functions, which Stages may call, those about texts, numbers, lists, dicts, times and encodings. Pure.

What is random has its own seed in each rendering (`chance`), so that the same object takes the same way. Left out are
those that read the environment or the network, and the making of keys and certificates.

Upstream: github.com/Masterminds/sprig, functions.go.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import string
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random
from typing import Any

from timonel.node.simulation.template import Function, TemplateError, shown, truth
from timonel.objects.meta import format_time, parse_time

LETTERS, DIGITS = string.ascii_letters, string.digits
MOST_ITEMS = 100_000  # that one call may make


def whole(value: Any) -> int:
    try:
        return int(float(value or 0))
    except (TypeError, ValueError):
        return 0


def fraction(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


def random_functions(chance: Random) -> Mapping[str, Function]:
    def some(letters: str, count: Any) -> str:
        return "".join(chance.choices(letters, k=_bounded(whole(count))))

    return {
        "randAlphaNum": partial(some, LETTERS + DIGITS),
        "randAlpha": partial(some, LETTERS),
        "randNumeric": partial(some, DIGITS),
        "randAscii": partial(some, LETTERS + DIGITS + string.punctuation),
        "randInt": lambda least, most: chance.randrange(whole(least), whole(most)),
        "uuidv4": lambda: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "shuffle": lambda text: "".join(chance.sample(text, len(text))),
    }


def _bounded(count: int) -> int:
    if count > MOST_ITEMS:
        raise TemplateError(f"{count} are too many")
    return max(count, 0)


# ---- texts


def _trunc(length: Any, text: str) -> str:
    size = whole(length)
    return text[size:] if size < 0 else text[:size]


def _substr(start: Any, end: Any, text: str) -> str:
    first, last = whole(start), whole(end)
    return text[max(first, 0) :] if last < 0 or last > len(text) else text[max(first, 0) : last]


def _indent(spaces: Any, text: str) -> str:
    pad = " " * _bounded(whole(spaces))
    return pad + text.replace("\n", "\n" + pad)


def _split(separator: str, text: str) -> dict[str, str]:
    return {f"_{number}": part for number, part in enumerate(text.split(separator))}


def _squote(*values: Any) -> str:
    return " ".join(f"'{shown(v)}'" for v in values if v is not None)


def _abbrev(width: Any, text: str) -> str:
    most = whole(width)
    return text if most < 4 or len(text) <= most else f"{text[: most - 3]}..."


def _texts(values: Any) -> list[str]:
    return (
        [shown(v) for v in values if v is not None] if isinstance(values, list | tuple) else [shown(values)]
    )


def _gos(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as e:
        raise TemplateError(f"regular expression {pattern!r}: {e}") from e


def _replaced(pattern: str, text: str, by: str) -> str:
    groups = re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda m: rf"\g<{m[1] or m[2]}>", by.replace("\\", r"\\"))
    try:
        return _gos(pattern).sub(groups, text)
    except (re.error, IndexError) as e:
        raise TemplateError(f"replacement {by!r}: {e}") from e


# ---- numbers


def _rounded(value: Any, digits: Any, half: Any = 0.5) -> float:
    scale = 10.0 ** whole(digits)
    scaled = fraction(value) * scale
    rest = scaled - math.floor(scaled)
    return (math.ceil(scaled) if rest >= fraction(half) else math.floor(scaled)) / scale


def _folded(start: Callable[[int, int], int]) -> Function:
    def function(first: Any, *others: Any) -> int:
        found = whole(first)
        for other in others:
            found = start(found, whole(other))
        return found

    return function


def _quotient(a: int, b: int) -> int:
    return int(a / b)  # as Go, towards zero


def _until(start: Any, stop: Any, step: Any) -> list[int]:
    size = whole(step)
    if not size:
        return []
    found = range(whole(start), whole(stop), size)
    _bounded(len(found))
    return list(found)


# ---- lists and dicts


def _first(values: Any) -> Any:
    return values[0] if values else None


def _last(values: Any) -> Any:
    return values[-1] if values else None


def _slice(values: Any, start: Any = 0, end: Any = None) -> list[Any]:
    return list(values[whole(start) : None if end is None else whole(end)])


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _set(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Into a dict of the template's own: what comes from the cluster is shared."""
    return {**tree, key: value}


def _dig(*arguments: Any) -> Any:
    *keys, fallback, tree = arguments
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return fallback
        tree = tree[key]
    return tree


def _merged(first: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """What comes first stays."""
    found = dict(first)
    for other in others:
        for key, value in other.items():
            if isinstance(found.get(key), dict) and isinstance(value, dict):
                found[key] = _merged(found[key], value)
            else:
                found.setdefault(key, value)
    return found


def _pairs(*pairs: Any) -> dict[str, Any]:
    if len(pairs) % 2:
        pairs = (*pairs, "")
    return {shown(key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _raised(message: str) -> Any:
    raise TemplateError(message)


# ---- encodings and times


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _digest(name: str) -> Function:
    return lambda text: hashlib.new(name, text.encode()).hexdigest()


def _epoch(text: Any) -> str:
    return str(int(parse_time(str(text)) or 0))


def _moved(by: str, text: str) -> str:
    from timonel.node.simulation.stages import duration

    sign = -1.0 if by.startswith("-") else 1.0
    return format_time((parse_time(text) or 0.0) + sign * (duration(by.lstrip("+-"), 0.0) or 0.0))


FUNCTIONS: Mapping[str, Function] = {
    # texts
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "title": lambda text: re.sub(r"\b[a-z]", lambda m: m[0].upper(), text),
    "untitle": lambda text: re.sub(r"\b[A-Z]", lambda m: m[0].lower(), text),
    "trim": lambda text: str(text).strip(),
    "trimAll": lambda cut, text: text.strip(cut),
    "trimPrefix": lambda part, text: text.removeprefix(part),
    "trimSuffix": lambda part, text: text.removesuffix(part),
    "contains": lambda part, text: part in text,
    "hasPrefix": lambda part, text: text.startswith(part),
    "hasSuffix": lambda part, text: text.endswith(part),
    "replace": lambda old, new, text: text.replace(old, new),
    "repeat": lambda count, text: text * _bounded(whole(count)),
    "nospace": lambda text: "".join(text.split()),
    "trunc": _trunc,
    "substr": _substr,
    "abbrev": _abbrev,
    "indent": _indent,
    "nindent": lambda spaces, text: "\n" + _indent(spaces, text),
    "cat": lambda *values: " ".join(_texts(values)),
    "quote": lambda *values: " ".join(
        json.dumps(shown(v), ensure_ascii=False) for v in values if v is not None
    ),
    "squote": _squote,
    "join": lambda separator, values: separator.join(_texts(values)),
    "split": _split,
    "splitList": lambda separator, text: text.split(separator),
    "splitn": lambda separator, count, text: {
        f"_{n}": part for n, part in enumerate(text.split(separator, whole(count) - 1))
    },
    "sortAlpha": lambda values: sorted(_texts(values)),
    "toString": shown,
    "toStrings": _texts,
    "plural": lambda one, many, count: one if whole(count) == 1 else many,
    "regexMatch": lambda pattern, text: _gos(pattern).search(text) is not None,
    "regexFind": lambda pattern, text: found[0] if (found := _gos(pattern).search(text)) else "",
    "regexReplaceAll": _replaced,
    "regexReplaceAllLiteral": lambda pattern, text, by: _gos(pattern).sub(lambda _: by, text),
    "regexSplit": lambda pattern, text, count: _gos(pattern).split(text, max(whole(count) - 1, 0)),
    # numbers
    "int": whole,
    "int64": whole,
    "atoi": whole,
    "float64": fraction,
    "add": lambda *values: sum(map(whole, values)),
    "add1": lambda value=0: whole(value) + 1,
    "sub": lambda a, b: whole(a) - whole(b),
    "mul": _folded(lambda a, b: a * b),
    "div": lambda a, b: _quotient(whole(a), whole(b)),
    "mod": lambda a, b: int(math.fmod(whole(a), whole(b))),
    "max": lambda *values: max(map(whole, values)),
    "min": lambda *values: min(map(whole, values)),
    "addf": lambda *values: sum(map(fraction, values)),
    "subf": lambda first, *others: fraction(first) - sum(map(fraction, others)),
    "mulf": lambda *values: math.prod(map(fraction, values)),
    "divf": lambda a, b: fraction(a) / fraction(b),
    "floor": lambda value: float(math.floor(fraction(value))),
    "ceil": lambda value: float(math.ceil(fraction(value))),
    "round": _rounded,
    "until": lambda count: _until(0, count, 1 if whole(count) >= 0 else -1),
    "untilStep": _until,
    "seq": lambda *ends: " ".join(map(str, _sequence(*map(whole, ends)))),
    # lists and dicts
    "list": lambda *values: list(values),
    "tuple": lambda *values: list(values),
    "first": _first,
    "last": _last,
    "rest": lambda values: list(values[1:]),
    "initial": lambda values: list(values[:-1]),
    "append": lambda values, value: [*values, value],
    "prepend": lambda values, value: [value, *values],
    "concat": lambda *lists: [value for values in lists for value in values],
    "reverse": lambda values: list(reversed(values)),
    "uniq": _distinct,
    "without": lambda values, *others: [v for v in values if v not in others],
    "has": lambda value, values: value in (values or ()),
    "compact": lambda values: [v for v in values if truth(v)],
    "slice": _slice,
    "dict": _pairs,
    "get": lambda tree, key: tree.get(key, ""),
    "set": _set,
    "unset": lambda tree, key: {k: v for k, v in tree.items() if k != key},
    "hasKey": lambda tree, key: key in (tree or {}),
    "keys": lambda *trees: [key for tree in trees for key in sorted(tree)],
    "values": lambda tree: [tree[key] for key in sorted(tree)],
    "pick": lambda tree, *keys: {k: v for k, v in tree.items() if k in keys},
    "omit": lambda tree, *keys: {k: v for k, v in tree.items() if k not in keys},
    "pluck": lambda key, *trees: [tree[key] for tree in trees if key in tree],
    "merge": _merged,
    "dig": _dig,
    "deepCopy": lambda value: json.loads(json.dumps(value)),
    # what is there, and what is not
    "default": lambda fallback, value=None: value if truth(value) else fallback,
    "empty": lambda value: not truth(value),
    "coalesce": lambda *values: next((v for v in values if truth(v)), None),
    "ternary": lambda yes, no, test: yes if test else no,
    "all": lambda *values: all(map(truth, values)),
    "any": lambda *values: any(map(truth, values)),
    "fail": _raised,
    "kindOf": lambda value: _kind(value),
    "kindIs": lambda kind, value: _kind(value) == kind,
    # encodings and times
    "toJson": _json,
    "toRawJson": _json,
    "fromJson": json.loads,
    "b64enc": lambda text: base64.b64encode(text.encode()).decode(),
    "b64dec": lambda text: base64.b64decode(text, validate=True).decode(),
    "sha1sum": _digest("sha1"),
    "sha256sum": _digest("sha256"),
    "sha512sum": _digest("sha512"),
    "unixEpoch": _epoch,
    "dateModify": _moved,
    "date_modify": _moved,
}


def _sequence(*ends: int) -> list[int]:
    start, step, stop = (
        (1, 1, ends[0]) if len(ends) == 1 else (ends[0], 1, ends[1]) if len(ends) == 2 else ends
    )
    if len(ends) < 3 and stop < start:
        step = -1
    return _until(start, stop + (1 if step > 0 else -1), step)


def _kind(value: Any) -> str:
    kinds = {bool: "bool", int: "int64", float: "float64", str: "string", list: "slice", dict: "map"}
    return kinds.get(type(value), "invalid")
