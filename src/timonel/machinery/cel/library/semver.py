"""Semantic versions.

Upstream: apiserver/pkg/cel/library/semverlib.go (version 1); blang/semver.
"""

from __future__ import annotations

import re
from functools import total_ordering

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.types import BOOL, INT, STRING, opaque

SEMVER = opaque("kubernetes.Semver")
TYPES = (SEMVER,)
MAX_UINT64 = (1 << 64) - 1
_identifier = re.compile(r"[0-9A-Za-z-]+", re.ASCII).fullmatch


@total_ordering
class SemverValue:
    __slots__ = ("build", "core", "pre")

    cel_type = "kubernetes.Semver"

    def __init__(self, core: tuple[int, int, int], pre: tuple[str, ...], build: tuple[str, ...]) -> None:
        self.core = core
        self.pre = pre
        self.build = build

    def order(self) -> tuple[object, ...]:
        """A version with a pre-release comes before the one without; numbers before words."""
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre)
        return (self.core, not self.pre, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SemverValue) and self.order() == other.order()

    def __lt__(self, other: SemverValue) -> bool:
        return self.order() < other.order()

    def __hash__(self) -> int:
        return hash(self.order())


def parse(text: str, normalize: bool = False) -> SemverValue:
    if normalize:
        text = _normalized(text)
    if not text:
        raise EvaluationError("Version string empty")
    numbers = text.split(".", 2)
    if len(numbers) != 3:
        raise EvaluationError("No Major.Minor.Patch elements found")
    last, plus, build = numbers[2].partition("+")
    last, dash, pre = last.partition("-")
    major, minor, patch = (
        _number(word, part)
        for word, part in zip(("major", "minor", "patch"), (*numbers[:2], last), strict=True)
    )
    return SemverValue(
        (major, minor, patch),
        tuple(map(_pre_release, pre.split("."))) if dash else (),
        tuple(map(_build, build.split("."))) if plus else (),
    )


def _normalized(text: str) -> str:
    """As blang/semver's ParseTolerant: a leading v, missing parts, zeros in front."""
    text = text.removeprefix("v")
    parts = text.split(".", 2)
    parts = [part.lstrip("0") or "0" if part and part.isdigit() else _trim_zeros(part) for part in parts]
    if len(parts) < 3:
        if "+" in parts[-1] or "-" in parts[-1]:
            raise EvaluationError("Short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _trim_zeros(part: str) -> str:
    trimmed = part.lstrip("0")
    return part if trimmed == part else (trimmed if trimmed[:1].isdigit() else f"0{trimmed}")


def _number(word: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise EvaluationError(f'Invalid character(s) found in {word} number "{text}"')
    if len(text) > 1 and text.startswith("0"):
        raise EvaluationError(f'{word.capitalize()} number must not contain leading zeroes "{text}"')
    if len(text) > 20 or int(text) > MAX_UINT64:
        raise EvaluationError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _pre_release(part: str) -> str:
    if not part:
        raise EvaluationError("Prerelease is empty")
    if part.isdigit() and len(part) > 1 and part.startswith("0"):
        raise EvaluationError(f'Numeric PreRelease version must not contain leading zeroes "{part}"')
    if _identifier(part) is None:
        raise EvaluationError(f'Invalid character(s) found in prerelease "{part}"')
    return part


def _build(part: str) -> str:
    if not part:
        raise EvaluationError("Build meta data is empty")
    if _identifier(part) is None:
        raise EvaluationError(f'Invalid character(s) found in build meta data "{part}"')
    return part


def is_semver(text: str, normalize: bool = False) -> bool:
    try:
        parse(text, normalize)
    except EvaluationError:
        return False
    return True


def _compare(value: SemverValue, other: SemverValue) -> int:
    return (value > other) - (value < other)


FUNCTIONS: tuple[Overload, ...] = (
    overload("string_to_semver", "semver", (STRING,), SEMVER, parse),
    overload("string_bool_to_semver", "semver", (STRING, BOOL), SEMVER, parse),
    overload("is_semver_string", "isSemver", (STRING,), BOOL, is_semver),
    overload("is_semver_string_bool", "isSemver", (STRING, BOOL), BOOL, is_semver),
    member(
        "semver_is_greater_than", "isGreaterThan", (SEMVER, SEMVER), BOOL, lambda value, other: value > other
    ),
    member("semver_is_less_than", "isLessThan", (SEMVER, SEMVER), BOOL, lambda value, other: value < other),
    member("semver_compare_to", "compareTo", (SEMVER, SEMVER), INT, _compare),
    member("semver_major", "major", (SEMVER,), INT, lambda value: value.core[0]),
    member("semver_minor", "minor", (SEMVER,), INT, lambda value: value.core[1]),
    member("semver_patch", "patch", (SEMVER,), INT, lambda value: value.core[2]),
)
