"""Regular expressions as Go writes them (RE2), compiled to Python's.

`compile_pattern(text)` gives a compiled expression to `search` with; `PatternError` says what is wrong in Go's words
(``missing closing ]: `[` ``). Go's syntax is smaller than Python's: no look-around, no back-references, no possessive
repetition; and `$` means the end of the text alone, `\\d`, `\\w`, `\\s` and `\\b` mean ASCII.

Upstream: regexp/syntax/parse.go.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache

from timonel.machinery.linear import Pattern, TooLarge, guarded

MAX_REPEAT = 1000


class PatternError(ValueError):
    """`str()` is Go's message, which begins with `error parsing regexp: `."""

    def __init__(self, problem: str, where: str) -> None:
        super().__init__(f"error parsing regexp: {problem}: `{where}`")


def compile_pattern(text: str) -> Pattern:
    """A compiled expression whose `search` and `finditer` take linear time at most."""
    try:
        return guarded(re.compile(_Parser(text).translate()))
    except (re.error, OverflowError) as error:
        raise PatternError("invalid pattern", text) from error
    except TooLarge as error:
        raise PatternError("expression too large", text) from error
    except RecursionError as error:
        raise PatternError("expression nests too deeply", text) from error


_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\\x00-\\x7f", "blank": "\\t ", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_PERL = {"d": "0-9", "s": "\\t\\n\\f\\r ", "w": "0-9A-Za-z_"}
_LETTER_ESCAPES = {"a": "\\x07", "f": "\\f", "t": "\\t", "n": "\\n", "r": "\\r", "v": "\\v"}
_SCRIPTS = {
    "Latin": "LATIN ", "Greek": "GREEK ", "Cyrillic": "CYRILLIC ", "Han": "CJK ", "Hebrew": "HEBREW ",
    "Arabic": "ARABIC ", "Hiragana": "HIRAGANA ", "Katakana": "KATAKANA ", "Hangul": "HANGUL ", "Thai": "THAI ",
    "Armenian": "ARMENIAN ", "Devanagari": "DEVANAGARI ", "Georgian": "GEORGIAN ",
}  # fmt: skip
_CATEGORIES = frozenset((
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
))  # fmt: skip
_WORD, _NOT_WORD = "0-9A-Za-z_", "^0-9A-Za-z_"
_BOUNDARY = rf"(?:(?<=[{_WORD}])(?![{_WORD}])|(?<![{_WORD}])(?=[{_WORD}]))"
_NO_BOUNDARY = rf"(?:(?<=[{_WORD}])(?=[{_WORD}])|(?<![{_WORD}])(?![{_WORD}]))"


@lru_cache(maxsize=64)
def _unicode_class(name: str) -> str | None:
    """The inside of a character class: a general category or one of the common scripts."""
    if name == "Any":
        return "\\x00-\\U0010ffff"
    prefix = _SCRIPTS.get(name)
    if name not in _CATEGORIES and prefix is None:
        return None
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        inside = (
            unicodedata.category(char).startswith(name)
            if prefix is None
            else unicodedata.name(char, "").startswith(prefix)
        )
        if inside and ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        elif inside:
            ranges.append([code, code])
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)


class _Parser:
    """Reads Go's syntax and writes Python's, piece by piece."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.out: list[str] = []
        self.open: list[str] = []  # the flags outside of each group that is open
        self.flags = ""
        self.groups: set[str] = set()
        self.atom = ""  # the last piece, if it can be repeated
        self.repeated = -1  # where the repetition that was just read began

    def translate(self) -> str:
        while self.at < len(self.text):
            self._step()
        if self.open:
            raise PatternError("missing closing )", self.text)
        return "".join(self.out)

    def _put(self, piece: str, *, atom: bool) -> None:
        self.out.append(self._flagged(piece) if atom else piece)
        self.atom = piece if atom else ""
        self.repeated = -1

    def _flagged(self, piece: str) -> str:
        return f"(?i:{piece})" if "i" in self.flags else piece

    def _step(self) -> None:
        char = self.text[self.at]
        if char in "*+?{":
            if self._repetition(char):
                return
        elif char == "(":
            self._open_group()
            return
        elif char == ")":
            self._close_group()
            return
        elif char == "[":
            self._put(self._class(), atom=True)
            return
        elif char == "\\":
            self._escape()
            return
        self.at += 1
        if char == "|":
            self._put("|", atom=False)
        elif char == "^":
            self._put("(?m:^)" if "m" in self.flags else r"\A", atom=True)
        elif char == "$":
            self._put("(?m:$)" if "m" in self.flags else r"\Z", atom=True)
        elif char == ".":
            self._put("(?s:.)" if "s" in self.flags else r"[^\n]", atom=True)
        else:
            self._put(re.escape(char), atom=True)

    # ---- repetition

    _counts = re.compile(r"\{(\d+)(?:(,)(\d*))?\}", re.ASCII)

    def _repetition(self, char: str) -> bool:
        """False for a brace that stands for itself."""
        start = self.at
        operator = char
        if char == "{":
            found = self._counts.match(self.text, self.at)
            if found is None:
                return False
            operator = found.group()
            low, high = int(found.group(1)), found.group(3)
            too_many = low > MAX_REPEAT or (high and (int(high) > MAX_REPEAT or int(high) < low))
            if too_many:
                raise PatternError("invalid repeat count", operator)
        self.at += len(operator)
        if self.text[self.at : self.at + 1] == "?":
            operator += "?"
            self.at += 1
        if self.repeated >= 0:
            raise PatternError("invalid nested repetition operator", self.text[self.repeated : self.at])
        if not self.atom:
            raise PatternError("missing argument to repetition operator", operator)
        if "U" in self.flags:
            operator = operator[:-1] if operator.endswith("?") and len(operator) > 1 else operator + "?"
        # A group around what is repeated: Python refuses to repeat some of what stands for anchors.
        self.out[-1] = f"(?:{self.out[-1]}){operator}" if self.atom != ")" else self.out[-1] + operator
        self.atom, self.repeated = "", start
        return True

    # ---- groups

    _name = re.compile(r"\(\?P?<([^>]*)>")
    _flag_group = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")

    def _open_group(self) -> None:
        rest = self.text[self.at :]
        if not rest.startswith("(?"):
            self._enter("(")
            self.at += 1
            return
        if rest.startswith(("(?P<", "(?<")) and not rest.startswith(("(?<=", "(?<!")):
            found = self._name.match(rest)
            if found is None:
                raise PatternError("invalid named capture", rest)
            name = found.group(1)
            if re.fullmatch("[A-Za-z0-9_]+", name) is None:
                raise PatternError("invalid named capture", found.group())
            if name in self.groups:
                raise PatternError("duplicate capture group name", name)
            self.groups.add(name)
            self._enter(f"(?P<{name}>" if not name[0].isdigit() else "(")
            self.at += found.end()
            return
        found = self._flag_group.match(rest)
        if found is None or found.group() in ("(?)", "(?-)"):
            unknown = re.match(r"\(\?(?:<?[=!]|[^)]?)", rest)
            shown = unknown.group() if unknown is not None else rest
            raise PatternError("invalid or unsupported Perl syntax", shown)
        flags = "".join(sorted(set(self.flags + found.group(1)) - set(found.group(2) or "")))
        self.at += found.end()
        if found.group(3) == ":":
            self._enter("(?:")
        self.flags = flags

    def _enter(self, piece: str) -> None:
        self.open.append(self.flags)
        self._put(piece, atom=False)

    def _close_group(self) -> None:
        if not self.open:
            raise PatternError("unexpected )", self.text)
        self.flags = self.open.pop()
        self.at += 1
        at = len(self.out) - 1  # groups within are one piece already: the nearest opening is ours
        while (
            not (self.out[at] in ("(", "(?:") or self.out[at].startswith("(?P<")) or self.out[at][-1] == ")"
        ):
            at -= 1
        whole = "".join(self.out[at:]) + ")"
        del self.out[at:]
        self.out.append(whole)
        self.atom, self.repeated = ")", -1

    # ---- escapes

    def _escape(self) -> None:
        text, at = self.text, self.at
        if at + 1 >= len(text):
            raise PatternError("trailing backslash at end of expression", "")
        char = text[at + 1]
        anchors = {"A": r"\A", "z": r"\Z", "b": _BOUNDARY, "B": _NO_BOUNDARY}
        if char in anchors:
            self.at += 2
            self._put(anchors[char], atom=True)
        elif char == "Q":
            end = text.find("\\E", at + 2)
            literal = text[at + 2 : end if end >= 0 else len(text)]
            self.at = end + 2 if end >= 0 else len(text)
            for one in literal:
                self._put(re.escape(one), atom=True)
        elif char == "E":
            self.at += 2
        elif char == "C":
            raise PatternError("invalid escape sequence", "\\C")
        elif char.lower() in _PERL or char in "pP":
            inside, negated = self._class_escape()
            self._put(f"[{'^' if negated else ''}{inside}]", atom=True)
        else:
            self._put(self._literal_escape(), atom=True)

    def _class_escape(self) -> tuple[str, bool]:
        """(the inside of a class, whether it is meant the other way round)."""
        char = self.text[self.at + 1]
        if char.lower() in _PERL:
            self.at += 2
            return _PERL[char.lower()], char.isupper()
        start, at, negated = self.at, self.at + 2, char == "P"
        if self.text[at : at + 1] == "{":
            end = self.text.find("}", at)
            if end < 0:
                raise PatternError("invalid character class range", self.text[start:])
            name, self.at = self.text[at + 1 : end], end + 1
        else:
            name, self.at = self.text[at : at + 1], at + 1
        if name.startswith("^"):
            name, negated = name[1:], not negated
        inside = _unicode_class(name)
        if inside is None:
            raise PatternError("invalid character class range", self.text[start : self.at])
        return inside, negated

    _octal = re.compile(r"\\([1-7][0-7]{1,2}|0[0-7]{0,2})")
    _hex = re.compile(r"\\x(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,8})\})")

    def _literal_escape(self) -> str:
        """A single character; as Python writes it inside and outside of a class."""
        text, at = self.text, self.at
        char = text[at + 1]
        if char in _LETTER_ESCAPES:
            self.at += 2
            return _LETTER_ESCAPES[char]
        found = self._octal.match(text, at) or self._hex.match(text, at)
        if found is not None:
            base = 16 if char == "x" else 8
            code = int(next(part for part in found.groups() if part is not None), base)
            if code > sys.maxunicode:
                raise PatternError("invalid escape sequence", found.group())
            self.at += len(found.group())
            return f"\\U{code:08x}"
        if ord(char) < 0x80 and not char.isalnum() and char != "_":
            self.at += 2
            return re.escape(char)
        if char == "_":
            self.at += 2
            return "_"
        raise PatternError("invalid escape sequence", text[at : at + 2])

    # ---- classes

    def _class(self) -> str:
        text, start = self.text, self.at
        self.at += 1
        negated = text[self.at : self.at + 1] == "^"
        self.at += negated
        parts: list[str] = []
        outside: list[str] = []  # insides of classes that are negated within this one
        first = True
        while first or text[self.at : self.at + 1] != "]":
            if self.at >= len(text):
                raise PatternError("missing closing ]", text[start:])
            first = False
            self._class_item(start, parts, outside)
        self.at += 1
        inside = "".join(parts)
        if not outside:
            return f"[{'^' if negated else ''}{inside}]"
        options = [f"[^{one}]" for one in outside] + ([f"[{inside}]" if inside else ""] if inside else [])
        union = "|".join(options)
        return f"(?:(?!{union})[\\s\\S])" if negated else f"(?:{union})"

    def _class_item(self, start: int, parts: list[str], outside: list[str]) -> None:
        text = self.text
        if text.startswith("[:", self.at):
            end = text.find(":]", self.at + 2)
            if end >= 0:
                name = text[self.at + 2 : end]
                inside = _POSIX.get(name.removeprefix("^"))
                if inside is None:
                    raise PatternError("invalid character class range", text[self.at : end + 2])
                (outside if name.startswith("^") else parts).append(inside)
                self.at = end + 2
                return
        if text[self.at] == "\\" and (text[self.at + 1 : self.at + 2] or " ") in "dswDSWpP":
            inside, is_negated = self._class_escape()
            (outside if is_negated else parts).append(inside)
            return
        at = self.at
        low = self._class_char(start)
        if text[self.at : self.at + 1] == "-" and text[self.at + 1 : self.at + 2] not in ("]", ""):
            self.at += 1
            high = self._class_char(start)
            if _code(low) > _code(high):
                raise PatternError("invalid character class range", text[at : self.at])
            parts.append(f"{low}-{high}")
        else:
            parts.append(low)

    def _class_char(self, start: int) -> str:
        if self.at >= len(self.text):
            raise PatternError("missing closing ]", self.text[start:])
        if self.text[self.at] == "\\":
            if self.at + 1 >= len(self.text):
                raise PatternError("trailing backslash at end of expression", "")
            return self._literal_escape()
        char = self.text[self.at]
        self.at += 1
        return re.escape(char) if char in "\\]^-[&~|" else char


def _code(piece: str) -> int:
    """The code of a character as `_literal_escape` writes it."""
    if len(piece) == 1:
        return ord(piece)
    if piece.startswith("\\U"):
        return int(piece[2:], 16)
    if piece.startswith("\\x"):
        return int(piece[2:], 16)
    return {"f": 12, "t": 9, "n": 10, "r": 13, "v": 11}.get(piece[1], ord(piece[1]))
