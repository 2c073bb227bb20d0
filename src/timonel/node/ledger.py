"""A small file that says what each container was given, so that a restarted agent knows. Written whole, or not at all.

Upstream: pkg/kubelet/checkpointmanager.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Owner = tuple[str, str]  # pod uid, container


class Ledger:
    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[Owner, Any]:
        """What was written last; nothing if there is no such file, or none that can be read."""
        try:
            tree = json.loads(self._file.read_text(encoding="utf-8"))
            return {(uid, name): value for uid, entries in tree.items() for name, value in entries.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as e:
            logger.warning(
                "Cannot read what was given to whom", extra={"file": str(self._file), "error": str(e)}
            )
            return {}

    def write(self, entries: Mapping[Owner, Any]) -> None:
        """A full disk is no reason to fail: what runs has its part written on it as well."""
        tree: dict[str, dict[str, Any]] = {}
        for (uid, name), value in entries.items():
            tree.setdefault(uid, {})[name] = value
        aside = self._file.with_name(f".{self._file.name}.new")
        try:
            aside.write_text(json.dumps(tree, sort_keys=True), encoding="utf-8")
            os.replace(aside, self._file)
        except OSError as e:
            logger.warning(
                "Cannot write what was given to whom", extra={"file": str(self._file), "error": str(e)}
            )
