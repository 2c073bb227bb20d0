"""How functions are declared: overloads with their types and what they do, gathered into a table by name.

A library is a module with a `FUNCTIONS` tuple. An overload's first argument is the receiver when it is a member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

from timonel.machinery.cel.types import Type
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature of a function. `run` gets the values; it may assume their types, apart from elements'."""

    id: str
    function: str
    args: tuple[Type, ...]
    result: Type
    run: Callable[..., Any]
    member: bool = False
    params: tuple[str, ...] = field(default=())
    """The names of the type parameters that occur."""


def overload(
    id: str,
    function: str,
    args: tuple[Type, ...],
    result: Type,
    run: Callable[..., Any],
    *,
    member: bool = False,
) -> Overload:
    names: set[str] = set()
    for one in (*args, result):
        _collect(one, names)
    return Overload(id, function, args, result, run, member, tuple(sorted(names)))


def member(id: str, function: str, args: tuple[Type, ...], result: Type, run: Callable[..., Any]) -> Overload:
    return overload(id, function, args, result, run, member=True)


def _collect(of: Type, names: set[str]) -> None:
    if of.kind == "param":
        names.add(of.name)
    for inner in of.params:
        _collect(inner, names)


Table = Mapping[str, tuple[Overload, ...]]


def table(overloads: Iterable[Overload]) -> Table:
    by_name: dict[str, list[Overload]] = {}
    for one in overloads:
        by_name.setdefault(one.function, []).append(one)
    return {name: tuple(those) for name, those in by_name.items()}
