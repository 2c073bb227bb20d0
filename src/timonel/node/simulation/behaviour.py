"""How a simulated container behaves, as an annotation of its pod says it. Pure.

`timonel.dev/simulate` speaks of all containers, `timonel.dev/simulate.NAME` of one; either holds a JSON object:

    startDelay, pullDelay      before it runs, and before its image is there
    runFor, exitCode, oom      when and how it ends; without runFor it ends after a moment if it is to end at all
    exitCodes                  of its lives one after the other: [1, 1, 0]; the last one stays
    readyAfter, ready          when its readiness probe passes, if ever
    failLivenessAfter          when its liveness probe begins to fail
    waiting, message, waitFor  it cannot start: ErrImagePull, CreateContainerConfigError …, for a time or for ever
    stopDelay                  how long it takes to end when it is told to
    usage                      {"cpu": "100m", "memory": "64Mi"}
    log                        lines that it writes
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from timonel.machinery import durations
from timonel.node.amounts import milli, whole
from timonel.records import dataclass

ANNOTATION = "timonel.dev/simulate"
MOMENT = 1.0
LONGEST = 1e10  # seconds, some three hundred years
EXIT_CODES = range(-(1 << 31), 1 << 31)
CPU, MEMORY = 1, 1 << 20  # millicores and bytes that a container uses where nothing is said


class Unclear(Exception):
    """The annotation cannot be understood; the message says why."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    run_for: float | None = None  # None: until it is stopped
    exit_code: int = 0
    start_delay: float = 0.0
    is_oom: bool = False
    log: tuple[str, ...] = ()
    pull_delay: float = 0.0
    exit_codes: tuple[int, ...] = ()
    ready_after: float | None = None  # None: as its probe says
    is_ever_ready: bool = True
    fail_liveness_after: float | None = None
    waiting: str = ""
    message: str = ""
    wait_for: float | None = None  # None: for ever
    stop_delay: float = 0.0
    cpu: int = CPU  # millicores
    memory: int = MEMORY  # bytes

    def code_of(self, attempt: int) -> int:
        """How the life of this number ends."""
        if not self.exit_codes:
            return self.exit_code
        return self.exit_codes[min(attempt, len(self.exit_codes) - 1)]


def seconds(text: str | int | float) -> float:
    """5s, 1m30s, 200ms, or a plain number of seconds. Raises Unclear."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return _bounded(text)
    if not isinstance(text, str) or text.startswith(("+", "-")):
        raise Unclear(f"not a duration: {text}")
    try:
        return _bounded(durations.parse(text))
    except ValueError as e:
        raise Unclear(f"not a duration: {text}") from e


def _bounded(found: float) -> float:
    if not 0 <= found <= LONGEST:  # NaN is not, either
        raise Unclear("not a duration: it must not be negative, and end some day")
    return float(found)


def _exit_code(value: Any) -> int:
    code = int(value)
    if code not in EXIT_CODES:
        raise Unclear(f"not an exit code: {value}")
    return code


def behaviour_of(name: str, pod_annotations: Mapping[str, str], *, runs_to_end: bool) -> Behaviour:
    """Raises Unclear."""
    text = pod_annotations.get(f"{ANNOTATION}.{name}") or pod_annotations.get(ANNOTATION)
    if not text:
        return _ENDING if runs_to_end else _LASTING
    try:
        wanted = json.loads(text)
        if not isinstance(wanted, dict):
            raise Unclear("it must be an object")
        return _parsed(wanted, runs_to_end=runs_to_end)
    except (ValueError, TypeError, ArithmeticError, RecursionError, Unclear) as e:
        raise Unclear(f"annotation {ANNOTATION}: {e}") from e


def _parsed(wanted: Mapping[str, Any], *, runs_to_end: bool) -> Behaviour:
    ends = runs_to_end or "exitCode" in wanted or "exitCodes" in wanted or bool(wanted.get("oom"))
    usage = wanted.get("usage") or {}
    return Behaviour(
        run_for=seconds(wanted["runFor"]) if "runFor" in wanted else MOMENT if ends else None,
        exit_code=137 if wanted.get("oom") else _exit_code(wanted.get("exitCode", 0)),
        start_delay=seconds(wanted.get("startDelay", 0)),
        is_oom=bool(wanted.get("oom")),
        log=tuple(map(str, _list(wanted.get("log", ())))),
        pull_delay=seconds(wanted.get("pullDelay", 0)),
        exit_codes=tuple(map(_exit_code, _list(wanted.get("exitCodes", ())))),
        ready_after=_optional(wanted.get("readyAfter")),
        is_ever_ready=bool(wanted.get("ready", True)),
        fail_liveness_after=_optional(wanted.get("failLivenessAfter")),
        waiting=str(wanted.get("waiting", "")),
        message=str(wanted.get("message", "")),
        wait_for=_optional(wanted.get("waitFor")),
        stop_delay=seconds(wanted.get("stopDelay", 0)),
        cpu=_amount(milli, usage["cpu"]) if "cpu" in usage else CPU,
        memory=_amount(whole, usage["memory"]) if "memory" in usage else MEMORY,
    )


def _amount(read: Callable[[str], int], value: Any) -> int:
    if not 0 <= (found := read(str(value))) < 1 << 63:
        raise Unclear(f"too little or too much: {value}")
    return found


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise Unclear(f"not a list: {value}")
    return value


def _optional(value: Any) -> float | None:
    return None if value is None else seconds(value)


_LASTING, _ENDING = Behaviour(), Behaviour(run_for=MOMENT)
