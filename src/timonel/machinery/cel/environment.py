"""What an expression may refer to: variables with their types, object types, and function libraries.

Upstream: apiserver/pkg/cel/environment/base.go says which libraries a version has; these are those of 1.36.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from timonel.machinery.cel.errors import CompileError, WrongResult
from timonel.machinery.cel.types import Type

if TYPE_CHECKING:
    from timonel.machinery.cel.functions import Table
    from timonel.machinery.cel.program import Program

KUBERNETES = frozenset(
    (
        "standard",
        "urls",
        "regex",
        "lists",
        "sequences",
        "authz",
        "quantity",
        "strings",
        "sets",
        "ip",
        "cidr",
        "format",
        "semver",
        "two-variable",
    )
)
"""The libraries of every rule, policy and condition."""

MUTATION = KUBERNETES | {"jsonpatch"}
"""Also `JSONPatch{…}` and `jsonpatch.escapeKey`, for mutating admission policies."""

DEVICES = KUBERNETES | {"bind"}
"""Also `cel.bind`, which upstream has in selectors of devices."""

_MACROS = frozenset(("two-variable", "bind"))


class Environment:
    """Immutable and cheap; `extended` gives a new one with more in it."""

    __slots__ = ("_objects", "libraries", "variables")

    def __init__(
        self,
        variables: Mapping[str, Type],
        *,
        libraries: Iterable[str] = KUBERNETES,
        objects: Mapping[str, Type] | None = None,
    ) -> None:
        self.variables = dict(variables)
        self.libraries = frozenset(libraries)
        self._objects = dict(objects or {})

    def extended(
        self,
        variables: Mapping[str, Type] | None = None,
        *,
        libraries: Iterable[str] = (),
        objects: Mapping[str, Type] | None = None,
    ) -> Environment:
        return Environment(
            {**self.variables, **(variables or {})},
            libraries=self.libraries | frozenset(libraries),
            objects={**self._objects, **(objects or {})},
        )

    def compile(self, text: str, *, returns: tuple[Type, ...] = ()) -> Program:
        """Parse and check; raises CompileError with upstream's text, WrongResult when `returns` has no such type.

        A result of type dyn is accepted for any.
        """
        from timonel.machinery.cel.checker import Checker
        from timonel.machinery.cel.literals import check_literals
        from timonel.machinery.cel.macros import OPTIONALS
        from timonel.machinery.cel.parser import parse
        from timonel.machinery.cel.program import Program
        from timonel.machinery.cel.source import MAX_DEPTH, failure

        try:
            root = parse(text, (self.libraries & _MACROS) | OPTIONALS)
            checker = Checker(self.variables, _table(self.libraries), self._object)
            checker.run(root)
            issues = list(checker.issues) or check_literals(checker.nodes)
        except RecursionError:
            raise CompileError(
                f"ERROR: <input>:-1:0: expression recursion limit exceeded: {MAX_DEPTH}"
            ) from None
        if issues:
            raise failure(text, issues)
        if returns and root.type.kind != "dyn" and not any(_is(root.type, wanted) for wanted in returns):
            raise WrongResult(returns, root.type)
        return Program(text, root, self.variables, frozenset(checker.references))

    def _object(self, name: str) -> Type | None:
        found = self._objects.get(name)
        return found if found is not None else _opaque_types(self.libraries).get(name)


def _is(actual: Type, wanted: Type) -> bool:
    from timonel.machinery.cel.unify import assignable

    return assignable({}, (wanted,), (actual,)) is not None


@lru_cache(maxsize=32)
def _table(libraries: frozenset[str]) -> Table:
    from timonel.machinery.cel import operators
    from timonel.machinery.cel.functions import table

    modules = [_module(name) for name in sorted(libraries - _MACROS)]
    return table((*operators.FUNCTIONS, *(one for module in modules for one in module.FUNCTIONS)))


@lru_cache(maxsize=32)
def _opaque_types(libraries: frozenset[str]) -> Mapping[str, Type]:
    """The types that libraries declare, by the names under which expressions reach them."""
    found: dict[str, Type] = {}
    for name in libraries - _MACROS:
        for of in getattr(_module(name), "TYPES", ()):
            found[of.name] = of
    return found


def _module(name: str) -> ModuleType:
    return import_module(f"timonel.machinery.cel.library.{name}")
