"""The documents say what is true: tables, links, commands, the map of folders, the head of every module."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tools import reference

from timonel.distro.main import timonel

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "timonel"
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "tests").rglob("known_differences.md")]
)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMMAND = re.compile(r"(?:^|\$\(|[;&|] )timonel ((?:'[^']*'|\"[^\"]*\"|[^#|;&()`\n<>])*)")
PLACEHOLDER = re.compile(r"^(…|\.\.\.|[A-Z][A-Z-]*|\{.*)$")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_of(text: str) -> Iterator[str]:
    """Lines of code blocks, and what stands between backticks elsewhere."""
    fenced, block = False, list[str]()
    for line in [*text.splitlines(), ""]:
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            block.append(line.strip())
        elif line or not block:
            yield from typed(block)
            block = []
            yield from re.findall(r"`([^`]+)`", line)
        else:
            block.append("")
    yield from typed(block)


def typed(block: list[str]) -> list[str]:
    """What is to be typed: where a block has lines with a prompt, the others are output."""
    return [line[2:] for line in block if line.startswith("$ ")] or block


def commands_of(text: str) -> list[str]:
    found = [match.strip() for code in code_of(text) for match in COMMAND.findall(code)]
    return [each for each in found if each and not PLACEHOLDER.match(each.split()[0])]


def parse(line: str) -> None:
    """Resolve the command and parse its flags as the command line does; values are not looked at, but for choices."""
    words = [word for word in shlex.split(line) if not word.startswith("[")]  # [OPTIONS]
    command: click.Command = timonel
    context = click.Context(command, info_name="timonel")
    while isinstance(command, click.Group) and words and words[0][0] != "-" and words[0] != "COMMAND":
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"there is no command {words[0]!r}")
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    values, _, _ = command.make_parser(context).parse_args(args=list(words))
    for option in command.params:
        value = values.get(option.name)
        if isinstance(option.type, click.Choice) and isinstance(value, str) and not PLACEHOLDER.match(value):
            option.type.convert(value, option, context)


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", reference.PAGES)
def test_a_reference_table_says_what_the_code_says(page: str) -> None:
    assert page not in reference.outdated(), f"docs/reference/{page} is out of date: run tools/reference.py"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in LINK.findall(page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and slug(anchor) not in map(slug, HEADING.findall(file.read_text()))):
            dead.append(target)

    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_documented_commands_parse(page: Path) -> None:
    wrong = []
    for line in commands_of(page.read_text()):
        try:
            parse(line)
        except (click.ClickException, ValueError) as exc:
            wrong.append(f"timonel {line}: {exc}")

    assert not wrong


@pytest.mark.parametrize("line", ["upp", "up --no-such-flag", "up --runtime docker", "image push nginx"])
def test_a_wrong_command_is_noticed(line: str) -> None:
    with pytest.raises(click.ClickException):
        parse(line)


def test_the_messages_in_troubleshooting_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \|", text.partition("## Messages")[2].partition("\n## ")[0], re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    source = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))

    unknown = []
    for message in messages:
        fixed = max(re.split(r"…|'x'|NAME|[\d./]+", message), key=len).strip()
        if fixed not in source:
            unknown.append(message)
    assert len(messages) > 10
    assert not unknown


def test_every_page_is_reached_from_the_index() -> None:
    seen, left = set[Path](), [ROOT / "docs" / "README.md"]
    while left:
        page = left.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in LINK.findall(page.read_text()):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_file():
                left.append(file)

    assert {relative(p) for p in (ROOT / "docs").rglob("*.md")} <= {relative(p) for p in seen}


def test_every_folder_is_on_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    folders = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}

    assert {f for f in folders if f"`{f}`" not in text} == set()


def test_every_module_says_what_it_is_for() -> None:
    generated = PACKAGE / "node" / "cri" / "pb"
    modules = [f for f in PACKAGE.rglob("*.py") if generated not in f.parents]

    silent = [relative(f) for f in modules if not ast.get_docstring(ast.parse(f.read_text()))]

    assert silent == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")), ids=relative)
def test_a_decision_has_a_date_a_context_a_choice_and_a_consequence(page: Path) -> None:
    text = page.read_text()

    assert re.match(r"# \d{4} .+\n\n\d{4}-\d\d-\d\d\n", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Choice", "Consequence"]
    assert len(text.splitlines()) <= 60
