from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.node.simulation.sprig import random_functions
from timonel.node.simulation.stagefunctions import PLAIN
from timonel.node.simulation.template import Template, TemplateError

DOT = {
    "metadata": {"name": "web", "labels": {"b": "2", "a": "1"}},
    "spec": {"containers": [{"name": "x", "n": 0}, {"name": "y", "n": 2}], "empty": []},
}


def render(text: str) -> str:
    return Template(text).render(DOT, PLAIN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{ .metadata.name }}", "web"),
        ("{{ .metadata.name | Quote }}", '"web"'),
        ("{{ .none.at.all }}", "<no value>"),
        ("{{ $x := 5 }}{{ $x }}", "5"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ range .spec.containers }}{{ .name }};{{ end }}", "x;y;"),
        ("{{ range $i, $c := .spec.containers }}{{ $i }}{{ $c.name }}{{ end }}", "0x1y"),
        ("{{ range $k, $v := .metadata.labels }}{{ $k }}{{ $v }}{{ end }}", "a1b2"),
        ("{{ range .spec.empty }}x{{ else }}none{{ end }}", "none"),
        ("{{ range .spec.containers }}{{ if .n }}{{ .name }}{{ break }}{{ end }}-{{ end }}", "-y"),
        ("{{ range .spec.containers }}{{ if .n }}{{ continue }}{{ end }}{{ .name }}{{ end }}", "x"),
        ("{{ if .a }}a{{ else if .metadata }}m{{ else }}n{{ end }}", "m"),
        ("{{ with .metadata }}{{ .name }}{{ $.spec.empty }}{{ end }}", "web[]"),
        ("{{ with .a }}a{{ else }}n{{ end }}", "n"),
        ("{{ ( index .spec.containers 1 ).name }}", "y"),
        ('{{ index .metadata.labels "b" }}', "2"),
        ('{{ or .a .b "c" }}{{ and 1 0 2 }}{{ not .a }}', "c0true"),
        ('{{ eq .metadata.name "a" "web" }}{{ ne 1 2 }}{{ lt 1 2 }}', "truetruetrue"),
        ('{{ printf "%v-%d-%s" true 3 "x" }}', "true-3-x"),
        ('{{ define "t" }}<{{ .n }}>{{ end }}{{ template "t" dict "n" 4 }}', "<4>"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{/* nothing */}}x", "x"),
        ("{{ add1 .none }}{{ add 1 2 3 }}", "16"),
        ("{{ YAML .metadata.labels 1 }}", "\n  a: '1'\n  b: '2'\n  "),
        ("{{ len .spec.containers }}", "2"),
    ],
)
def test_templates_give_what_go_gives(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ if .a }}", "{{ end }}", "{{ .a", "{{ else }}", "{{ range }}{{ end }}", "{{ nothing 1 }}", "{{ $x }}",
        '{{ template "none" }}', "{{ template x }}", "{{ (1 }}", "{{ 1 2 }}", "{{ .a | 1 }}", "{{ len 5 }}",
        '{{ define "t" }}{{ template "t" }}{{ end }}{{ template "t" }}', "{{ % }}",
        "{{ range .metadata.name }}{{ end }}", "{{ range 2000000000 }}{{ end }}",
    ],
)  # fmt: skip
def test_what_is_no_template_is_said(text: str) -> None:
    with pytest.raises(TemplateError):
        render(text)


@given(st.text(alphabet='{}. $|()"abnif ', max_size=24))
def test_any_text_is_rendered_or_refused(text: str) -> None:
    try:
        render(text)
    except TemplateError:
        return


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{{ "a-b-c" | replace "-" "." | upper }}', "A.B.C"),
        ('{{ trunc 3 "abcdef" }}{{ trunc -2 "abcdef" }}{{ substr 1 3 "abcdef" }}', "abcefbc"),
        ('{{ "x" | repeat 3 }}{{ "  y " | trim }}{{ nospace "a b" }}', "xxxyab"),
        ('{{ join "," (list 1 "b" true) }}', "1,b,true"),
        ('{{ (split "/" "a/b")._1 }}{{ index (splitList "/" "a/b") 0 }}', "ba"),
        ('{{ indent 2 "a\\nb" }}{{ nindent 1 "c" }}', "  a\n  b\n c"),
        ('{{ quote 1 "a" }}{{ squote "b" }}', '"1" "a"\'b\''),
        ('{{ regexReplaceAll "a(.)" "abac" "${1}-" }}{{ regexMatch "^a" "ab" }}', "b-c-true"),
        ("{{ mul 2 3 }}{{ div 7 -2 }}{{ mod -7 2 }}{{ max 1 5 2 }}{{ round 2.346 2 }}", "6-3-152.35"),
        ("{{ range until 3 }}{{ . }}{{ end }}{{ range untilStep 6 0 -3 }}{{ . }}{{ end }}", "01263"),
        (
            "{{ first (list 1 2) }}{{ last (list 1 2) }}{{ has 2 (list 1 2) }}{{ without (list 1 2) 2 }}",
            "12true[1]",
        ),
        ('{{ slice (list 1 2 3 4) 1 3 }}{{ uniq (list 1 1 2) }}{{ compact (list 0 1 "") }}', "[2 3][1 2][1]"),
        ('{{ get (set (dict "a" 1) "b" 2) "b" }}{{ keys (dict "z" 1 "y" 2) }}', "2[y z]"),
        ('{{ (merge (dict "a" 1) (dict "a" 2 "b" 3)).a }}{{ dig "a" "b" 7 (dict "a" (dict "c" 1)) }}', "17"),
        ('{{ coalesce "" 0 "c" }}{{ ternary 1 2 true }}{{ empty "" }}{{ default 5 .none }}', "c1true5"),
        ('{{ toJson (dict "b" 1 "a" (list 2)) }}{{ (fromJson "{\\"x\\": 4}").x }}', '{"a":[2],"b":1}4'),
        ('{{ b64enc "ab" }}{{ b64dec "YWI=" }}{{ sha256sum "" | trunc 6 }}', "YWI=abe3b0c4"),
        ('{{ dateModify "-1h30m" "2024-01-01T12:00:00Z" }}', "2024-01-01T10:30:00Z"),
        ("{{ .none | Quote }}{{ .spec.empty | Quote }}{{ 5 | Quote }}", '"null""[]""5"'),
    ],
)
def test_functions_of_sprig_give_what_sprig_gives(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{{ fail "no" }}', '{{ repeat 1000000 "x" }}', "{{ until 1000000 }}", '{{ regexMatch "(" "x" }}',
        '{{ b64dec "%" }}', '{{ fromJson "{" }}', "{{ div 1 0 }}", '{{ regexReplaceAll "a" "a" "${9}" }}',
    ],
)  # fmt: skip
def test_what_sprig_refuses_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        render(text)


def test_chance_is_the_same_for_the_same_seed() -> None:
    text = Template('{{ randAlphaNum 8 }}-{{ uuidv4 }}-{{ randInt 5 9 }}-{{ shuffle "abc" }}')

    def once(seed: int) -> str:
        return text.render({}, {**PLAIN, **random_functions(Random(seed))})

    assert once(1) == once(1) != once(2)
