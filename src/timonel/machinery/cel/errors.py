"""What can go wrong with an expression: it does not compile, it fails on a value, or it takes too much."""

from __future__ import annotations

from timonel.machinery.cel.types import Type
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """One message about a place in the source: an offset in code points, or -1 for none."""

    offset: int
    message: str


class CompileError(Exception):
    """The text is no valid expression here; `str()` is upstream's text, with the source line and a caret."""

    def __init__(self, text: str, issues: tuple[Issue, ...] = ()) -> None:
        super().__init__(text)
        self.issues = issues


class WrongResult(CompileError):
    """The expression is valid but yields another type than asked for.

    `str()` is "must evaluate to bool"; callers that word it differently have the types.
    """

    def __init__(self, expected: tuple[Type, ...], actual: Type) -> None:
        wanted = (
            str(expected[0]) if len(expected) == 1 else f"one of [{' '.join(str(one) for one in expected)}]"
        )
        super().__init__(f"must evaluate to {wanted}")
        self.expected = expected
        self.actual = actual


class EvaluationError(Exception):
    """The expression failed on these values; `str()` is upstream's text, such as `no such key: replicas`."""


class CostExceeded(EvaluationError):
    """Evaluation was cut off: it spent its limit, or the budget that it shares with others."""

    def __init__(self, message: str = "operation cancelled: actual cost limit exceeded") -> None:
        super().__init__(message)
