"""RE2's regular expressions on Python's `re`: translated where the two differ in meaning, refused where RE2 refuses.

What differs: `$` is the end of the text and not before a last newline; `\\d`, `\\w`, `\\s` and `\\b` know ASCII only; a
flag group in the middle holds to the end of its group; `\\pL`, `[[:alpha:]]`, `\\Q…\\E`, `\\z` and `\\x{…}` exist;
look-around, back-references, possessive and nested repetition do not.

Upstream: Go's regexp/syntax.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache
from typing import Any

MAX_REPEAT = 1000
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_repeat = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_flags = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")
_name = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>")


class BadPattern(ValueError):
    """The text is no pattern; the message is Go's."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"error parsing regexp: {what}: `{where}`")


def compile(pattern: str) -> Any:
    """A pattern of Python's `re` that means the same."""
    try:
        return re.compile(_Translator(pattern).run())
    except (re.error, OverflowError, RecursionError) as wrong:
        raise BadPattern("invalid pattern", pattern) from wrong


class _Translator:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.out: list[str] = []
        self.closers: list[int] = []
        """How many extra parentheses end with each open group: one for each flag group met in it."""
        self.repeatable = False
        self.repeated = False
        self.multiline = [False]

    def run(self) -> str:
        self.closers.append(0)
        text = self.pattern
        while self.at < len(text):
            self.step(text[self.at])
        if len(self.closers) > 1:
            raise BadPattern("missing closing )", text)
        return "".join(self.out) + ")" * self.closers[0]

    def put(self, text: str, *, repeatable: bool = True) -> None:
        self.out.append(text)
        self.repeatable = repeatable
        self.repeated = False

    def step(self, char: str) -> None:
        if char == "\\":
            self.put(self.escape(in_class=False))
        elif char == "[":
            self.put(self.char_class())
        elif char == "(":
            self.group()
        elif char == ")":
            if len(self.closers) == 1:
                raise BadPattern("unexpected )", self.pattern)
            self.at += 1
            self.put(")" * (self.closers.pop() + 1))
            self.multiline.pop()
        elif char in "*+?{":
            self.repeat(char)
        elif char == "$":
            self.at += 1
            self.put("$" if self.multiline[-1] else r"\Z")
        elif char == "|":
            self.alternative()
        else:
            self.at += 1
            self.put(char if char in ".^" else re.escape(char), repeatable=True)

    def alternative(self) -> None:
        """A flag group holds across alternatives, so its parentheses close and open again around the bar."""
        self.at += 1
        self.put("|", repeatable=False)

    def repeat(self, char: str) -> None:
        text = self.pattern
        start = self.at
        if char == "{":
            found = _repeat.match(text, self.at)
            if found is None:
                self.at += 1
                self.put(r"\{")
                return
            low, high = int(found[1][:6]), int(found[3][:6]) if found[3] else None
            if low > MAX_REPEAT or (high or 0) > MAX_REPEAT or (high is not None and high < low):
                raise BadPattern("invalid repeat count", found[0])
            self.at = found.end()
        else:
            self.at += 1
        if not self.repeatable:
            raise BadPattern("missing argument to repetition operator", text[start : self.at])
        if self.at < len(text) and text[self.at] == "?":
            self.at += 1
        if self.repeated:
            raise BadPattern("invalid nested repetition operator", text[start - 1 : self.at])
        self.out.append(text[start : self.at])
        self.repeated = True

    def group(self) -> None:
        text = self.pattern
        if not text.startswith("(?", self.at):
            self.at += 1
            self.open("(")
            return
        flags = _flags.match(text, self.at)
        if flags is not None and (flags[1] or flags[2] or flags[3] == ":"):
            self.at = flags.end()
            self.flag_group(flags)
            return
        named = _name.match(text, self.at)
        if named is not None:
            self.at = named.end()
            self.open(f"(?P<{named[1]}>")
            return
        raise BadPattern("invalid or unsupported Perl syntax", text[self.at : self.at + 3])

    def open(self, text: str) -> None:
        self.put(text, repeatable=False)
        self.closers.append(0)
        self.multiline.append(self.multiline[-1])

    def flag_group(self, flags: re.Match[str]) -> None:
        on, off, end = flags[1], flags[2] or "", flags[3]
        if "U" in on:
            raise BadPattern("invalid or unsupported Perl syntax", flags[0])
        multiline = ("m" in on or self.multiline[-1]) and "m" not in off
        off = off.replace("U", "")
        opening = f"(?{''.join(dict.fromkeys(on))}{'-' + ''.join(dict.fromkeys(off)) if off else ''}:"
        if end == ":":
            self.open(opening)
        else:
            self.put(opening, repeatable=False)
            self.closers[-1] += 1
        self.multiline[-1] = multiline

    def escape(self, *, in_class: bool) -> str:
        text = self.pattern
        if self.at + 1 >= len(text):
            raise BadPattern("trailing backslash at end of expression", "")
        char = text[self.at + 1]
        start = self.at
        self.at += 2
        lower = char.lower()
        if lower in _CLASSES:
            if char == lower:
                return _CLASSES[lower] if in_class else f"[{_CLASSES[lower]}]"
            return _outside(lower) if in_class else f"[^{_CLASSES[lower]}]"
        if lower == "p":
            return self.unicode_class(start, in_class=in_class)
        if char == "x":
            return re.escape(self.hexadecimal(start))
        if char in "afnrtv":
            return "\\" + char
        if char in "01234567":
            return self.octal(start)
        if not in_class:
            if char == "Q":
                return self.quoted()
            if char in "AbB":
                return rf"(?a:\{char})" if char != "A" else r"\A"
            if char == "z":
                return r"\Z"
        if char.isascii() and char.isalnum():
            raise BadPattern("invalid escape sequence", text[start : self.at])
        return "\\" + char if char.isascii() else char

    def octal(self, start: int) -> str:
        found = re.compile(r"\\(0[0-7]{0,2}|[1-7][0-7]{1,2})").match(self.pattern, start)
        if found is None:
            raise BadPattern("invalid escape sequence", self.pattern[start : start + 2])
        self.at = found.end()
        return re.escape(chr(int(found[1], 8)))

    def hexadecimal(self, start: int) -> str:
        found = re.compile(r"\\x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})").match(self.pattern, start)
        number = int(found[1] or found[2], 16) if found is not None else -1
        if found is None or number > 0x10FFFF:
            raise BadPattern("invalid escape sequence", self.pattern[start : start + 3])
        self.at = found.end()
        return chr(number)

    def quoted(self) -> str:
        end = self.pattern.find(r"\E", self.at)
        literal = self.pattern[self.at : end if end >= 0 else len(self.pattern)]
        self.at = end + 2 if end >= 0 else len(self.pattern)
        return f"(?:{re.escape(literal)})"

    def unicode_class(self, start: int, *, in_class: bool) -> str:
        found = re.compile(r"\\[pP](?:\{(\^?[A-Za-z_]+)\}|([A-Za-z]))").match(self.pattern, start)
        if found is None:
            raise BadPattern("invalid character class range", self.pattern[start : start + 3])
        self.at = found.end()
        name = found[1] or found[2]
        negated = (self.pattern[start + 1] == "P") != name.startswith("^")
        ranges = _category(name.lstrip("^"), negated)
        if not ranges:
            raise BadPattern("invalid character class range", found[0])
        return ranges if in_class else f"[{ranges}]"

    def char_class(self) -> str:
        text = self.pattern
        start = self.at
        self.at += 1
        out = ["["]
        if text.startswith("^", self.at):
            out.append("^")
            self.at += 1
        first = True
        while True:
            if self.at >= len(text):
                raise BadPattern("missing closing ]", text[start:])
            char = text[self.at]
            if char == "]" and not first:
                self.at += 1
                return "".join(out) + "]"
            first = False
            out.append(self.class_item(start))

    def class_item(self, start: int) -> str:
        text = self.pattern
        if text.startswith("[:", self.at):
            end = text.find(":]", self.at)
            if end >= 0:
                name = text[self.at + 2 : end]
                known = _POSIX.get(name.lstrip("^"))
                if known is None:
                    raise BadPattern("invalid character class range", text[self.at : end + 2])
                self.at = end + 2
                return _complement(known) if name.startswith("^") else known
        char = text[self.at]
        if char == "\\":
            return self.escape(in_class=True)
        self.at += 1
        if char == "-":
            # Between two characters it is a range, which Python reads the same; at either end it is itself.
            is_range = (
                self.at - 2 > start and text[self.at - 2] not in "[^" and text[self.at : self.at + 1] != "]"
            )
            return "-" if is_range else r"\-"
        return "\\" + char if char in "[]&|~^" else char


@lru_cache(maxsize=16)
def _complement(ranges: str) -> str:
    inside = re.compile(f"[{ranges}]").match
    return _ranges(lambda point: inside(chr(point)) is None)


def _outside(name: str) -> str:
    return _complement(_CLASSES[name])


_SCRIPTS = {
    "Greek": "GREEK",
    "Latin": "LATIN",
    "Cyrillic": "CYRILLIC",
    "Han": "CJK UNIFIED",
    "Hiragana": "HIRAGANA",
}


@lru_cache(maxsize=32)
def _category(name: str, negated: bool) -> str:
    """The code points of a Unicode general category (or one of a few scripts), as the inside of a class."""
    if name in _SCRIPTS:
        prefix = _SCRIPTS[name]
        return _ranges(lambda point: unicodedata.name(chr(point), "").startswith(prefix) != negated)
    if name == "Any":
        return r"\x00-\U0010FFFF"
    if len(name) > 2 or name[0] not in "CLMNPSZ":
        return ""
    return _ranges(lambda point: unicodedata.category(chr(point)).startswith(name) != negated)


def _ranges(member: Any) -> str:
    parts = []
    start = -1
    for point in range(sys.maxunicode + 2):
        is_in = point <= sys.maxunicode and member(point)
        if is_in and start < 0:
            start = point
        elif not is_in and start >= 0:
            parts.append(f"\\U{start:08x}-\\U{point - 1:08x}")
            start = -1
    return "".join(parts)
