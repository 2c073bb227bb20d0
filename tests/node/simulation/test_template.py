from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        "{{ range .metadata.name }}{{ end }}",
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
