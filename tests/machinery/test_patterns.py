from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.patterns import PatternError, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^[a-z]+$", "abc", True),
        ("^[a-z]+$", "abc\n", False),  # in Python $ would match before the newline
        ("b", "abc", True),
        ("(a|b)*c$", "ababc", True),
        ("^(ab)+$", "abab", True),
        ("^((a)b)+$", "abab", True),
        ("a{2,3}", "aa", True),
        ("^a{,3}$", "a{,3}", True),  # no repetition in Go
        ("(?i)ABC", "abc", True),
        ("(?i:A)B", "aB", True),
        ("(?i:A)B", "ab", False),
        ("a.c", "a\nc", False),
        ("(?s)a.c", "a\nc", True),
        ("(?m)^b$", "a\nb\nc", True),
        (r"^\d+$", "\u0661", False),  # ASCII digits only
        (r"^\w+$", "é", False),
        (r"\bfoo\b", "a foo.", True),
        (r"\Bo", "foo", True),
        (r"^\pL+$", "héé", True),
        (r"^\p{Greek}+$", "αβγ", True),
        (r"^\P{L}+$", "12", True),
        ("^[[:alpha:]_]+$", "ab_", True),
        ("^[[:^alpha:]]+$", "12", True),
        (r"^[^\D]$", "5", True),
        (r"^[\d.-]+$", "1.2-3", True),
        ("^[]a]+$", "a]", True),
        ("^[^]a]$", "b", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"^\x41\x{42}\103$", "ABC", True),
        (r"^\A\z$", "", True),
        ("^(?P<year>[0-9]{4})$", "2026", True),
        ("(?U)^a+$", "aa", True),
        ("a+?b", "aab", True),
        ("^a|b$", "cb", True),
        (r"^\.\*\(\)$", ".*()", True),
    ],
)
def test_patterns_match_as_in_go(pattern: str, text: str, matches: bool) -> None:
    assert (compile_pattern(pattern).search(text) is not None) is matches


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[", "missing closing ]: `[`"),
        ("x[a-", "missing closing ]: `[a-`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("(|*)", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("x{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:odd:]]", "invalid character class range: `[:odd:]`"),
        (r"\p{Odd}", r"invalid character class range: `\p{Odd}`"),
        ("\\", "trailing backslash at end of expression: ``"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\y", r"invalid escape sequence: `\y`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<!a)", "invalid or unsupported Perl syntax: `(?<!`"),
        ("(?P<a>x)(?P<a>y)", "duplicate capture group name: `a`"),
        ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
        ("(?P<a", "invalid named capture: `(?P<a`"),
    ],
)
def test_what_go_refuses_is_refused_in_its_words(pattern: str, message: str) -> None:
    with pytest.raises(PatternError) as refused:
        compile_pattern(pattern)

    assert str(refused.value) == f"error parsing regexp: {message}"


@given(st.text(alphabet="ab[]()*+?{}|^$\\.-,:1<>=!ipPdQE", max_size=12))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        compiled = compile_pattern(text)
    except PatternError:
        return
    assert compiled.pattern is not None
    compiled.search("ab")
