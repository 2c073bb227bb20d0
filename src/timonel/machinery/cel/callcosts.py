"""What one overload of a call can cost, and how large its result can be.

Kubernetes' own functions come first, by name; then CEL's, by overload; everything else costs one unit.

Upstream: apiserver/pkg/cel/library/cost.go (EstimateCallCost); cel-go checker/cost.go (functionCost), ext/sets.go.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from timonel.machinery.cel.ast import Call, Const, Node
from timonel.machinery.cel.bounds import LARGEST, NONE, ONE, UNKNOWN, Range, fixed

if TYPE_CHECKING:
    from timonel.machinery.cel.estimate import Coster

TEXT = 0.1
REGEX = 0.25
LONGEST_FORMAT_PATTERN = 128
LONGEST_FORMAT_NAME = 64
Result = tuple[Range, Range | None]
_BYTES_OF_ADDRESS = Range(4, 16)

_NOMINAL = frozenset(
    [
        "serviceAccount",
        "path",
        "group",
        "resource",
        "subresource",
        "namespace",
        "name",
        "allowed",
        "reason",
        "error",
        "errored",
        "masked",
        "prefixLength",
        "family",
        "isUnspecified",
        "isLoopback",
        "isLinkLocalMulticast",
        "isLinkLocalUnicast",
        "sign",
        "asInteger",
        "isInteger",
        "asApproximateFloat",
        "isGreaterThan",
        "isLessThan",
        "compareTo",
        "add",
        "sub",
    ]
)
_CHEAPLY_COMPARED = frozenset(
    (
        "net.IP",
        "net.CIDR",
        "kubernetes.Quantity",
        "kubernetes.Semver",
        "kubernetes.authorization.Authorizer",
        "kubernetes.authorization.PathCheck",
        "kubernetes.authorization.GroupCheck",
        "kubernetes.authorization.ResourceCheck",
        "kubernetes.authorization.Decision",
    )
)
_ORDERED = frozenset(
    f"{word}_{kind}"
    for word in ("less", "less_equals", "greater", "greater_equals")
    for kind in ("string", "bytes")
)


def of(coster: Coster, node: Call, overload: str, costs: list[Range]) -> Result:
    args = NONE
    for cost in costs:
        args += cost
    maker = _BY_FUNCTION.get(node.function)
    if maker is not None:
        found = maker(coster, node, overload)
        if found is not None:
            return found[0] + args, found[1]
    if node.function in _NOMINAL:
        return ONE + args, None
    return _standard(coster, node, overload, costs, args)


def _elements(coster: Coster, node: Node) -> Range | None:
    """The size of a list's elements; None when the node is no list."""
    if not node.type.params:
        return None
    path = coster.visible_path(node)
    return (coster.declared_size((*path, "@items")) if path is not None else None) or UNKNOWN


def _check(coster: Coster, node: Call, overload: str) -> Result | None:
    return fixed(350_000), None


def _traversal(coster: Coster, node: Call, overload: str) -> Result | None:
    if node.target is None:
        return None
    size = coster.size_or_unknown(node.target)
    elements = _elements(coster, node.target)
    if elements is None:
        return size.by(TEXT), None
    each = ONE
    if node.target.type.params[0].kind in ("string", "bytes"):
        each += elements.by(TEXT)
    return size * each, None


def _url(coster: Coster, node: Call, overload: str) -> Result | None:
    if len(node.args) != 1:
        return None
    size = coster.size_or_unknown(node.args[0])
    return size.by(TEXT), size


def _text(coster: Coster, node: Call, overload: str) -> Result | None:
    if node.target is None:
        return None
    size = coster.size_or_unknown(node.target)
    return size.by(TEXT), size


def _replace(coster: Coster, node: Call, overload: str) -> Result | None:
    if node.target is None or len(node.args) < 2:
        return None
    size, old, new = (coster.size_or_unknown(one) for one in (node.target, node.args[0], node.args[1]))
    # The longest result: everything becomes the longest replacement, or an empty text is replaced everywhere.
    if old.min == 0:
        most, kept_most = min(size.max + 1, LARGEST), size.max
    elif new.max <= old.min:
        most, kept_most = 0, size.max
    else:
        most, kept_most = ceil(float(size.max) / float(old.min)), 0
    if old.max == 0:
        fewest, kept_fewest = min(size.min + 1, LARGEST), size.min
    elif old.max <= new.min:
        fewest, kept_fewest = 0, size.min
    else:
        fewest, kept_fewest = ceil(float(size.min) / float(old.max)), 0
    result = Range(min(fewest, LARGEST), min(most, LARGEST)) * new + Range(kept_fewest, kept_most)
    return size.by(2 * TEXT), result


def _split(coster: Coster, node: Call, overload: str) -> Result | None:
    if node.target is None:
        return None
    size = coster.size_or_unknown(node.target)
    most = size.max
    if len(node.args) > 1:
        limit = node.args[1]
        if isinstance(limit, Const) and isinstance(limit.value, int) and limit.value >= 0:
            most = int(limit.value)
    return size.by(2 * TEXT), Range(0, most)


def _join(coster: Coster, node: Call, overload: str) -> Result | None:
    if node.target is None:
        return None
    count = coster.size_or_unknown(node.target)
    elements = _elements(coster, node.target)
    size = NONE if elements is None else count * elements
    if node.args:
        gaps = Range(max(count.min - 1, 0), max(count.max - 1, 0))
        size += coster.size_or_unknown(node.args[0]) * gaps
    return size.by(TEXT), size


def _find(coster: Coster, node: Call, overload: str) -> Result | None:
    if node.target is None or not node.args:
        return None
    size = coster.size_or_unknown(node.target)
    pattern = coster.size_or_unknown(node.args[0]).by(REGEX)
    return (size + ONE).by(TEXT) * pattern, Range(0, size.max)


def _parsed(coster: Coster, node: Call, overload: str) -> Result | None:
    """`ip('10.0.0.1')` and its like: a walk over the text; the member `ip` of a network is only a look."""
    if node.target is not None:
        return ONE, None
    return coster.size_or_unknown(node.args[0]).by(
        2 * TEXT if node.function == "ip.isCanonical" else TEXT
    ), None


def _selector(coster: Coster, node: Call, overload: str) -> Result | None:
    """A text that becomes a list of requirements, one for each two characters at most."""
    size = coster.size_or_unknown(node.args[0])
    return fixed(10) + size.by(TEXT) + size.by(0.5).by(50), None


def _validate(coster: Coster, node: Call, overload: str) -> Result | None:
    return coster.size_or_unknown(node.args[0]).by(TEXT).by(LONGEST_FORMAT_PATTERN * REGEX), None


def _equals_opaque(coster: Coster, node: Call, overload: str) -> Result | None:
    left, right = node.args
    name = left.type.name
    if left.type != right.type or left.type.kind not in ("opaque", "object"):
        return None
    if name in _CHEAPLY_COMPARED:
        return ONE, None
    if name == "kubernetes.NamedFormat":
        return Range(1, LONGEST_FORMAT_NAME).by(TEXT), None
    if name == "kubernetes.URL":
        size = coster.size(right)
        return Range(1, 1 if size is None else size.max).by(TEXT), None
    return None


def _contains_ip(coster: Coster, node: Call, overload: str) -> Result | None:
    if node.target is None or not node.args:
        return None
    cost = (_BYTES_OF_ADDRESS + _BYTES_OF_ADDRESS).by(TEXT)
    if node.function == "containsCIDR":
        cost += _BYTES_OF_ADDRESS.by(TEXT) + ONE
    if overload in ("cidr_contains_ip_string", "cidr_contains_cidr_string"):
        cost += coster.size_or_unknown(node.args[0]).by(TEXT)
    return cost, None


def _sets(coster: Coster, node: Call, overload: str) -> Result | None:
    if len(node.args) != 2:
        return None
    left, right = (coster.size_or_unknown(arg) for arg in node.args)
    return (left * right).by(2 if node.function == "sets.equivalent" else 1) + ONE, None


_BY_FUNCTION: dict[str, Callable[[Coster, Call, str], Result | None]] = {
    "check": _check,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _traversal),
    "url": _url,
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _text),
    "replace": _replace,
    "split": _split,
    "join": _join,
    "find": _find,
    "findAll": _find,
    "jsonpatch.escapeKey": _url,
    **dict.fromkeys(
        ("ip", "cidr", "isIP", "isCIDR", "ip.isCanonical", "quantity", "isQuantity", "semver", "isSemver"),
        _parsed,
    ),
    "fieldSelector": _selector,
    "labelSelector": _selector,
    "validate": _validate,
    "_==_": _equals_opaque,
    "containsIP": _contains_ip,
    "containsCIDR": _contains_ip,
    **dict.fromkeys(("sets.contains", "sets.equivalent", "sets.intersects"), _sets),
}


def _standard(coster: Coster, node: Call, overload: str, costs: list[Range], args: Range) -> Result:
    operands = node.args
    maker = _BY_OVERLOAD.get(overload)
    if maker is not None:
        found = maker(coster, node)
        if found is not None:
            return found[0] + args, found[1]
    if overload in ("logical_or", "logical_and"):
        left, right = costs
        return Range(left.min, (left + right).max), None
    if overload == "conditional":
        condition, yes, no = costs
        size = coster.size_or_unknown(operands[1]).union(coster.size_or_unknown(operands[2]))
        entries = coster.entries_of(operands[1])
        joined = None if entries is None else entries.union(coster.entries_of(operands[2]))
        if joined is not None:
            coster.entries[id(node)] = joined
        return condition + yes.union(no), size
    return ONE + args, None


def _equality(coster: Coster, node: Call) -> Result | None:
    smallest = min(coster.size_or_unknown(operand).max for operand in node.args)
    return Range(1 if smallest > 0 else 0, smallest).by(TEXT), None


def _concatenation(coster: Coster, node: Call) -> Result | None:
    left, right = node.args
    size = coster.size_or_unknown(left) + coster.size_or_unknown(right)
    entries = coster.entries_of(left)
    joined = None if entries is None else entries.union(coster.entries_of(right))
    if joined is not None:
        coster.entries[id(node)] = joined
    return (ONE if node.type.kind == "list" else size.by(TEXT)), size


def _ends(coster: Coster, node: Call) -> Result | None:
    return (coster.size_or_unknown(node.args[0]).by(TEXT), None) if len(node.args) == 1 else None


def _in_list(coster: Coster, node: Call) -> Result | None:
    return coster.size_or_unknown(node.args[1]), None


def _matches(coster: Coster, node: Call) -> Result | None:
    if node.target is None:
        return None
    text = (coster.size_or_unknown(node.target) + ONE).by(TEXT)
    return text * coster.size_or_unknown(node.args[0]).by(REGEX), None


def _contains(coster: Coster, node: Call) -> Result | None:
    if node.target is None:
        return None
    return coster.size_or_unknown(node.target).by(TEXT) * coster.size_or_unknown(node.args[0]).by(TEXT), None


def _to_bytes(coster: Coster, node: Call) -> Result | None:
    size = coster.size_or_unknown(node.args[0])
    return size.by(TEXT), Range(size.min, min(size.max * 4, LARGEST))


def _to_string(coster: Coster, node: Call) -> Result | None:
    size = coster.size_or_unknown(node.args[0])
    return size.by(TEXT), Range(size.min // 4, size.max)


def _quote(coster: Coster, node: Call) -> Result | None:
    size = coster.size_or_unknown(node.args[0])
    return size.by(TEXT), Range(size.min + 2, min(size.max * 2 + 2, LARGEST))


def _format(coster: Coster, node: Call) -> Result | None:
    return (coster.size_or_unknown(node.target).by(TEXT), None) if node.target is not None else None


_BY_OVERLOAD: dict[str, Callable[[Coster, Call], Result | None]] = {
    "string_format": _format,
    "string_to_bytes": _to_bytes,
    "bytes_to_string": _to_string,
    "strings_quote": _quote,
    "starts_with_string": _ends,
    "ends_with_string": _ends,
    "in_list": _in_list,
    "matches_string": _matches,
    "contains_string": _contains,
    **dict.fromkeys(("add_string", "add_bytes", "add_list"), _concatenation),
    **dict.fromkeys((*_ORDERED, "equals", "not_equals"), _equality),
}
