"""How the processes log to standard error: one line a record, as klog writes it or as JSON, with a record's fields.

Upstream: klog, component-base/logs/json. Its verbosity is a level below INFO here: what is worth `--v=3` is logged with
`VERBOSE - 3`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

VERBOSE = logging.INFO  # the level of what is always logged; each step of verbosity is one below
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LETTERS = {
    logging.DEBUG: "I",
    logging.INFO: "I",
    logging.WARNING: "W",
    logging.ERROR: "E",
    logging.CRITICAL: "F",
}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class Text(logging.Formatter):
    """I0102 15:04:05.123456    1234 module.py:56] "What" key="value"."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%m%d %H:%M:%S", time.localtime(record.created))
        micros = int(record.created % 1 * 1_000_000)
        letter = next(
            (_LETTERS[level] for level in sorted(_LETTERS, reverse=True) if record.levelno >= level), "I"
        )
        where = f"{letter}{at}.{micros:06d} {os.getpid():7d} {record.filename}:{record.lineno}]"
        fields = "".join(f" {key}={_quoted(value)}" for key, value in fields_of(record).items())
        text = f"{where} {record.name}: {record.getMessage()}{fields}"
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        return text


class Json(logging.Formatter):
    """One object a line: ts in milliseconds, caller, msg, v, err, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        tree: dict[str, Any] = {
            "ts": round(record.created * 1000, 3),
            "caller": f"{record.filename}:{record.lineno}",
            "msg": record.getMessage(),
            "logger": record.name,
        }
        if record.levelno >= logging.ERROR:
            tree["err"] = self.formatException(record.exc_info) if record.exc_info else None
        else:
            tree["v"] = max(VERBOSE - record.levelno, 0)
        return json.dumps(tree | fields_of(record), default=str)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def set_up_logging(*, verbose: bool = False, verbosity: int = 0, form: str = "text") -> None:
    """`verbose` is everything; else what is worth `verbosity` or less."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if form == "json" else Text())
    level = logging.DEBUG if verbose else max(VERBOSE - verbosity, logging.DEBUG)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
