"""Macros as Python loops, charged as the folds that they are upstream.

`all` and `exists` stop where the answer is known and let a later element outweigh an earlier one's error, as the fold
over `&&` and `||` does; the others fail with the first error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from timonel.machinery.cel.ast import Comprehension
from timonel.machinery.cel.types import BOOL, DYN, INT, Type
from timonel.machinery.cel.values import iterate, pairs

if TYPE_CHECKING:
    from timonel.machinery.cel.code import Generator

LIST_COST = 10
# What a step costs besides the predicate: the accumulator read, the condition's calls, the operator. The condition is
# looked at once more when elements are left.
_CONDITION_COSTS = {"all": 2, "exists": 3}
_STEP_COSTS = {
    "all": 3,
    "exists": 4,
    "exists_one": 0,
    "map": 1 + LIST_COST + 1,
    "transformMap": 3,
    "transformMapEntry": 2,
}


def loop(code: Generator, node: Comprehension) -> str:
    if node.macro == "bind":
        return _bind(code, node)
    saved = dict(code.names), dict(code.locals)
    over = _range(code, node)
    names = _loop_names(code, node)
    text = _MACROS[node.macro](code, node, over, names)
    code.names.update(saved[0])
    for name in (node.var, node.var2):
        if name and name not in saved[0]:
            code.names.pop(name, None)
    code.locals = saved[1]
    return text


def _range(code: Generator, node: Comprehension) -> str:
    text = code.emit(node.range)
    kind = node.range.type.kind
    if node.var2:
        if kind == "list":
            return f"enumerate({text})"
        return f"{text}.items()" if kind == "map" else f"{code.constant(pairs, 'pairs')}({text})"
    return text if kind in ("list", "map") else f"{code.constant(iterate, 'iterate')}({text})"


def _loop_names(code: Generator, node: Comprehension) -> str:
    names = []
    for name in (node.var, node.var2):
        if name:
            code.names[name] = code.fresh("x")
            code.locals[name] = False
            names.append(code.names[name])
    return ", ".join(names)


def _variable_types(node: Comprehension) -> tuple[Type, Type]:
    of = node.range.type
    if of.kind == "list":
        return (INT, of.params[0]) if node.var2 else (of.params[0], DYN)
    if of.kind == "map":
        return of.params[0], of.params[1]
    return DYN, DYN


def _enter(code: Generator, node: Comprehension) -> None:
    """The first lines of an iteration: its costs, the limit, and values as their types say."""
    code.line("if c + m.cost > m.limit: raise exceeded()")
    for name, of in zip((node.var, node.var2), _variable_types(node), strict=True):
        if name:
            python = code.names[name]
            changed = code.converted(python, of)
            if changed != python:
                code.line(f"{python} = {changed}")


def _any_or_all(code: Generator, node: Comprehension, over: str, names: str) -> str:
    predicate = node.parts[0]
    every = node.macro == "all"
    code.charge(1)
    result, error = code.fresh(), code.fresh("e")
    safe = code.decides(predicate)
    code.line(f"{result} = {every}")
    if not safe:
        code.line(f"{error} = None")
    stops = f"if {'not ' if every else ''}"
    with code.block(f"for {names} in {over}:", counted=True):
        code.line(f"if {'not ' if every else ''}{result}:")
        code.line(f"  c += {_CONDITION_COSTS[node.macro]}")
        code.line("  break")
        code.line(f"c += {_STEP_COSTS[node.macro]}")
        _enter(code, node)
        if safe:
            met = code.emit(predicate)
        else:
            met = code.fresh()
            with code.block("try:", counted=True):
                code.line(f"{met} = {code.boolean(code.emit(predicate), predicate.type)}")
            with code.block("except ERRORS as x:", counted=True):
                code.line(f"{error} = {error} or absorbed(x)")
                code.line("continue")
        with code.block(f"{stops}{met}:"):
            code.line(f"{result} = {not every}")
    if not safe:
        with code.block(f"if {error} is not None and {result} is {every}:"):
            code.line(f"raise {error}")
    return result


def _exists_one(code: Generator, node: Comprehension, over: str, names: str) -> str:
    predicate = node.parts[0]
    code.charge(2)
    count = code.store("0")
    with code.block(f"for {names} in {over}:", counted=True):
        _enter(code, node)
        with code.block(f"if {code.boolean(code.emit(predicate), predicate.type)}:"):
            code.charge(2)
            code.line(f"{count} += 1")
    return f"({count} == 1)"


def _collect(code: Generator, node: Comprehension, over: str, names: str) -> str:
    """map, filter, transformList, transformMap, transformMapEntry."""
    into_map = node.macro != "map"
    code.charge(1)
    result = code.store("{}" if into_map else "[]")
    with code.block(f"for {names} in {over}:", counted=True):
        _enter(code, node)
        if len(node.parts) > 1:
            keep = node.parts[1]
            with code.block(f"if not {code.boolean(code.emit(keep), keep.type or BOOL)}:"):
                code.line("continue")
        code.flush()
        code.charge(_STEP_COSTS[node.macro])
        at = len(code.lines)
        value = code.emit(node.parts[0])
        if code.pending:
            code.lines.insert(at, "  " * code.indent + f"c += {code.pending}")
            code.pending = 0
        if node.macro == "map":
            code.line(f"{result}.append({value})")
        elif node.macro == "transformMap":
            code.line(f"{result}[{code.names[node.var]}] = {value}")
        else:
            code.line(f"insert({result}, {value})")
    return result


def _bind(code: Generator, node: Comprehension) -> str:
    value, body = node.parts
    python = code.fresh("x")
    fails = not code.safe(value)
    if fails:
        with code.block("try:", counted=True):
            code.line(f"{python} = {code.emit(value)}")
        with code.block("except ERRORS as x:", counted=True):
            code.line(f"{python} = Failed(x)")
    else:
        code.line(f"{python} = {code.emit(value)}")
    saved = code.names.get(node.accu), code.locals.get(node.accu)
    code.names[node.accu] = python
    code.locals[node.accu] = fails
    text = code.store(code.emit(body))
    _restore(code, node.accu, *saved)
    return text


def _restore(code: Generator, name: str, python: str | None, local: bool | None) -> None:
    if python is None:
        del code.names[name]
    else:
        code.names[name] = python
    if local is None:
        del code.locals[name]
    else:
        code.locals[name] = local


_MACROS = {
    "all": _any_or_all,
    "exists": _any_or_all,
    "exists_one": _exists_one,
    "map": _collect,
    "transformMap": _collect,
    "transformMapEntry": _collect,
}
