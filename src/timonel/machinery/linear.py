"""Regular expressions in linear time: for patterns and texts on which Python's backtracking could take forever.

A pattern that Python has parsed becomes a little program (Thompson's construction). `matches` walks over the text once
with the set of places in the program where a match may stand, and remembers each set's successors (a lazily made DFA);
`spans` keeps the places in order of preference, each with its start (Pike's machine), as RE2 does.

Which patterns need it: those where a repetition holds another or a choice, and any others once the text is long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Literal, Protocol

MAX_PROGRAM = 20_000
MAX_CACHED = 4_000
BACKTRACKING_STEPS = 1_000_000
_LARGE = 10
_DOT_ALL, _IGNORE_CASE, _MULTILINE = 16, 2, 8

Test = Callable[[str], bool]


class Match(Protocol):
    """`match[0]` is the text that was found."""

    def __getitem__(self, group: Literal[0], /) -> str: ...

    def end(self) -> int: ...


class Pattern(Protocol):
    """What is used of Python's compiled patterns."""

    @property
    def pattern(self) -> str: ...

    def search(self, text: str, /) -> Match | None: ...

    def finditer(self, text: str, /) -> Iterator[Match]: ...


class Span:
    """A match, from `start` to `stop`."""

    __slots__ = ("start", "stop", "text")

    def __init__(self, text: str, start: int, stop: int) -> None:
        self.text = text
        self.start = start
        self.stop = stop

    def __getitem__(self, group: Literal[0]) -> str:
        return self.text[self.start : self.stop]

    def end(self) -> int:
        return self.stop


class Found:
    """A match that is known to exist; where it is, is found out when asked."""

    __slots__ = ("machine", "text")

    def __init__(self, machine: Machine, text: str) -> None:
        self.machine = machine
        self.text = text

    def span(self) -> Span:
        return next(self.machine.spans(self.text))

    def __getitem__(self, group: Literal[0]) -> str:
        return self.span()[0]

    def end(self) -> int:
        return self.span().stop


class TooLarge(ValueError):
    """The pattern repeats so much that its program would not fit."""


def guarded(pattern: re.Pattern[str]) -> Pattern:
    """The pattern, or one with the same `search` and `finditer` that never takes more than linear time.

    Raises TooLarge when the pattern repeats so much that its program would not fit.
    """
    # The parser is not part of re's published interface; the published sre_parse is deprecated.
    tree = import_module("re._parser").parse(pattern.pattern, pattern.flags)
    if _size(tree) > MAX_PROGRAM:
        raise TooLarge
    repeats, nested = _survey(tree, inside=False)
    if repeats == 0:
        return pattern
    return Guarded(pattern, tree, 0 if nested else int(BACKTRACKING_STEPS ** (1 / (repeats + 1))))


def _size(tree: Any) -> int:
    """How many places the pattern's program has, at most."""
    total = 0
    for op, argument in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            total += (max(int(low), 1) if str(high) == "MAXREPEAT" else int(high)) * (_size(body) + 1)
        elif name == "SUBPATTERN":
            total += _size(argument[-1])
        elif name == "BRANCH":
            total += sum(_size(branch) + 1 for branch in argument[1])
        else:
            total += 1
    return total


def _survey(tree: Any, *, inside: bool) -> tuple[int, bool]:
    """How many open-ended repetitions there are, and whether one holds another or a choice."""
    count, nested = 0, False
    for op, argument in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            is_open = int(high) - low > _LARGE
            inner, deep = _survey(body, inside=inside or int(high) > 1)
            count += inner + is_open
            nested = nested or deep or (inside and high != low)
        elif name == "SUBPATTERN":
            inner, deep = _survey(argument[-1], inside=inside)
            count, nested = count + inner, nested or deep
        elif name == "BRANCH":
            nested = nested or inside
            for branch in argument[1]:
                inner, deep = _survey(branch, inside=inside)
                count, nested = count + inner, nested or deep
    return count, nested


class Guarded:
    """Backtracking up to `limit` characters of text, the program beyond. The program is made when first needed."""

    __slots__ = ("backtracking", "limit", "machine", "pattern", "tree")

    def __init__(self, pattern: re.Pattern[str], tree: Any, limit: int) -> None:
        self.backtracking = pattern
        self.pattern = pattern.pattern
        self.tree = tree
        self.limit = limit
        self.machine: Machine | None = None

    def prepare(self) -> Machine:
        self.machine = Machine(self.tree)
        return self.machine

    def search(self, text: str, /) -> Match | None:
        if len(text) <= self.limit:
            return self.backtracking.search(text)
        machine = self.machine or self.prepare()
        return Found(machine, text) if machine.matches(text) else None

    def finditer(self, text: str, /) -> Iterator[Match]:
        if len(text) <= self.limit:
            return iter(self.backtracking.finditer(text))
        return (self.machine or self.prepare()).spans(text)


class Machine:
    """The program: at each place a test of one character, an assertion, a fork, or the end."""

    def __init__(self, tree: Any) -> None:
        self.code: list[tuple[str, Any, int, int]] = []
        self.cache: dict[tuple[tuple[int, ...], str, str], tuple[int, ...] | None] = {}
        start = self.emit(tree, self.add("match"), tree.state.flags)
        self.start = start

    def add(self, kind: str, argument: Any = None, following: int = -1, other: int = -1) -> int:
        self.code.append((kind, argument, following, other))
        return len(self.code) - 1

    def emit(self, tree: Any, following: int, flags: int) -> int:
        """The entry of a sequence that goes on at `following`: made from its end."""
        for op, argument in reversed(list(tree)):
            following = self.item(str(op), argument, following, flags)
        return following

    def item(self, op: str, argument: Any, following: int, flags: int) -> int:
        if op == "SUBPATTERN":
            _, on, off, body = argument
            return self.emit(body, following, (flags | on) & ~off)
        if op == "BRANCH":
            entries = [self.emit(branch, following, flags) for branch in argument[1]]
            entry = entries[-1]
            for preferred in reversed(entries[:-1]):
                entry = self.add("fork", None, preferred, entry)
            return entry
        if op in ("MAX_REPEAT", "MIN_REPEAT"):
            return self.repeat(argument, following, flags, greedy=op == "MAX_REPEAT")
        if op in ("ASSERT", "ASSERT_NOT"):
            direction, body = argument
            ((inner, what),) = body
            return self.add("look", (direction, op == "ASSERT", _test(str(inner), what, flags)), following)
        if op == "AT":
            return self.add(
                "at", _line_wise(str(argument)) if flags & _MULTILINE else str(argument), following
            )
        return self.add("char", _test(op, argument, flags), following)

    def repeat(self, argument: Any, following: int, flags: int, *, greedy: bool) -> int:
        low, high, body = argument
        entry = following
        if str(high) == "MAXREPEAT":
            loop = self.add("fork")
            inner = self.emit(body, loop, flags)
            self.code[loop] = ("fork", None, inner, following) if greedy else ("fork", None, following, inner)
            entry = loop
        else:
            for _ in range(int(high) - low):
                inner = self.emit(body, entry, flags)
                entry = self.add("fork", None, *((inner, following) if greedy else (following, inner)))
        for _ in range(low):
            entry = self.emit(body, entry, flags)
        return entry

    def reach(self, places: list[tuple[int, int]], text: str, at: int) -> list[tuple[int, int]]:
        """Where tests stand (or the end) from these places without taking a character, preferred first."""
        found: list[tuple[int, int]] = []
        seen: set[int] = set()
        stack = list(reversed(places))
        while stack:
            place, start = stack.pop()
            if place in seen:
                continue
            seen.add(place)
            kind, argument, following, other = self.code[place]
            if kind == "fork":
                stack.append((other, start))
                stack.append((following, start))
            elif kind == "at":
                if _holds(argument, text, at):
                    stack.append((following, start))
            elif kind == "look":
                if _looks(argument, text, at):
                    stack.append((following, start))
            else:
                found.append((place, start))
        return found

    def matches(self, text: str) -> bool:
        """Whether the pattern is found anywhere."""
        current: tuple[int, ...] = ()
        size = len(text)
        for at in range(size + 1):
            before = text[at - 1] if at else ""
            char = text[at] if at < size else ""
            key = (current, _kind(before), char)
            after = self.cache.get(key, ())
            if key not in self.cache:
                after = self.successors(current, text, at)
                if len(self.cache) < MAX_CACHED:
                    self.cache[key] = after
            if after is None:
                return True
            current = after
        return False

    def successors(self, current: tuple[int, ...], text: str, at: int) -> tuple[int, ...] | None:
        """The places after the character at `at`; None when a match ends before it."""
        places = [(place, 0) for place in (*current, self.start)]
        following = []
        for place, _ in self.reach(places, text, at):
            kind, test, after, _ = self.code[place]
            if kind == "match":
                return None
            if at < len(text) and test(text[at]):
                following.append(after)
        return tuple(dict.fromkeys(following))

    def spans(self, text: str) -> Iterator[Span]:
        """All matches from left to right, none overlapping, each the one that backtracking would find."""
        at = 0
        while at <= len(text):
            found = self.first(text, at)
            if found is None:
                return
            yield Span(text, *found)
            at = found[1] if found[1] > found[0] else found[1] + 1

    def first(self, text: str, at: int) -> tuple[int, int] | None:
        best: tuple[int, int] | None = None
        places: list[tuple[int, int]] = []
        for position in range(at, len(text) + 1):
            if best is None:
                places.append((self.start, position))
            following: list[tuple[int, int]] = []
            for place, start in self.reach(places, text, position):
                kind, test, after, _ = self.code[place]
                if kind == "match":
                    best = (start, position)
                    break  # what is less preferred is given up
                if position < len(text) and test(text[position]):
                    following.append((after, start))
            places = following
            if not places and best is not None:
                return best
        return best


def _kind(before: str) -> str:
    """All that assertions can tell about the character behind: none, a line's end, of a word, another."""
    return before if before in ("", "\n") else "a" if _is_word(before) else "."


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _line_wise(assertion: str) -> str:
    return f"{assertion}_LINE" if assertion in ("AT_BEGINNING", "AT_END") else assertion


def _holds(assertion: str, text: str, at: int) -> bool:
    if assertion in ("AT_BEGINNING_STRING", "AT_BEGINNING"):
        return at == 0
    if assertion == "AT_BEGINNING_LINE":
        return at == 0 or text[at - 1] == "\n"
    if assertion == "AT_END_STRING":
        return at == len(text)
    assert assertion == "AT_END_LINE", assertion
    return at == len(text) or text[at] == "\n"


def _looks(argument: tuple[int, bool, Test], text: str, at: int) -> bool:
    """Whether the character ahead (or behind) is of a kind; there is none beyond the ends."""
    direction, wanted, test = argument
    place = at if direction > 0 else at - 1
    return (0 <= place < len(text) and test(text[place])) is wanted


def _test(op: str, argument: Any, flags: int) -> Test:
    """Whether a character passes."""
    fold = bool(flags & _IGNORE_CASE)
    if op == "ANY":
        return (lambda char: True) if flags & _DOT_ALL else (lambda char: char != "\n")
    if op in ("LITERAL", "NOT_LITERAL"):
        wanted = _cases(chr(argument)) if fold else {chr(argument)}
        return (lambda char: char in wanted) if op == "LITERAL" else (lambda char: char not in wanted)
    negated = any(str(kind) == "NEGATE" for kind, _ in argument)
    singles = frozenset(chr(value) for kind, value in argument if str(kind) == "LITERAL")
    ranges = tuple(value for kind, value in argument if str(kind) == "RANGE")

    def inside(char: str) -> bool:
        candidates = _cases(char) if fold else (char,)
        return any(
            one in singles or any(low <= ord(one) <= high for low, high in ranges) for one in candidates
        )

    return (lambda char: not inside(char)) if negated else inside


def _cases(char: str) -> set[str]:
    return {one for one in (char, char.lower(), char.upper()) if len(one) == 1}
