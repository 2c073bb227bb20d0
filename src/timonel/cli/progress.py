"""Long work shown step by step: a line a step, rewritten when it is done on a terminal, plain elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO


class Stopwatch(Protocol):
    def monotonic(self) -> float: ...


PLAIN_EVERY = 10.0  # seconds between two lines of the same step where lines cannot be rewritten


class Steps:
    """`begin` a step, then `done` or `failed`; one at a time. Everything goes to standard error."""

    def __init__(self, clock: Stopwatch, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self._clock = clock
        self._out = out or sys.stderr
        self._quiet = quiet
        self._terminal = self._out.isatty()
        self._current: str | None = None
        self._since = self._told_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._current is not None:
            self.failed() if error is not None else self.done()

    def begin(self, text: str) -> None:
        if self._current is not None:
            self.done()
        self._current, self._since = text, self._clock.monotonic()
        self._told_at = self._since
        if self._terminal and not self._quiet:
            self._out.write(f"  … {text}")
            self._out.flush()

    def now(self, text: str) -> None:
        """What the current step has come to."""
        if self._quiet:
            return
        if self._terminal:
            self._out.write(f"\r\x1b[K  … {text}")
            self._out.flush()
        elif self._clock.monotonic() - self._told_at >= PLAIN_EVERY:
            self._told_at = self._clock.monotonic()
            self.note(text)

    def done(self, text: str | None = None) -> None:
        self._end("✓", "32", text)

    def failed(self, text: str | None = None) -> None:
        self._end("✗", "31", text)

    def note(self, text: str) -> None:
        if not self._quiet:
            self._out.write(f"    {text}\n")
            self._out.flush()

    def _end(self, mark: str, colour: str, text: str | None) -> None:
        if self._current is None:
            return
        line, self._current = text or self._current, None
        if self._quiet:
            return
        seconds = self._clock.monotonic() - self._since
        if self._terminal:
            self._out.write(f"\r\x1b[K  \x1b[{colour}m{mark}\x1b[0m {line} \x1b[2m{seconds:.1f} s\x1b[0m\n")
        else:
            self._out.write(f"  {mark} {line} ({seconds:.1f} s)\n")
        self._out.flush()
