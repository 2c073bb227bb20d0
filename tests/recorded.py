"""Where the recorded answers and the course's manifests are: beside the repository, for developers and in CI.

A source tree without them runs every test that does not need them. CI must have them: there, a test that would be left
out fails.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def beside(name: str) -> Path:
    """The file or folder of that name. Raises FileNotFoundError in CI where it is missing."""
    path = SHARED / name
    if not path.exists() and os.environ.get("CI"):
        raise FileNotFoundError(f"{name} is missing beside the repository: CI runs the tests that need it")
    return path


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"{path.name} is not beside the repository")


@dataclass(frozen=True)
class Count:
    """Of the answers in one recorded file: how many are as upstream's."""

    good: int
    total: int


@dataclass(frozen=True)
class Recorded:
    """A folder of answers recorded from upstream, and the tool in it that asks a server the same again."""

    name: str  # of the folder and of the cluster
    tool: str
    components: str
    row: re.Pattern[str]  # a line of the tool's output: file, good, total

    def replay(self, only: str = "", show: int = 3) -> tuple[dict[str, Count], str]:
        """The counts per file, and what the tool printed."""
        with self._server() as (url, token):
            done = subprocess.run(
                [
                    sys.executable, str(SHARED / self.name / self.tool), "check",
                    "--server", url, "--token", token, "--only", only, "--show", str(show),
                ],
                capture_output=True,
                text=True,
                check=False,
            )  # fmt: skip
        counts = {file: Count(int(good), int(total)) for file, good, total in self.row.findall(done.stdout)}
        return counts, done.stdout + done.stderr

    @contextmanager
    def _server(self) -> Iterator[tuple[str, str]]:
        """A cluster of these components, in memory: (URL, token)."""
        token = secrets.token_urlsafe(16)
        with tempfile.TemporaryDirectory(prefix=f"timonel-{self.name}-") as folder:
            common = ["--name", self.name, "--data-dir", folder]
            timonel = [sys.executable, "-m", "timonel"]
            options = [
                "--components", self.components, "--store", "memory", "--port", "0", "--token", token, "--quiet",
            ]  # fmt: skip
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
            subprocess.run([*timonel, "up", *common, *options], check=True, env=environment)
            try:
                port = json.loads((Path(folder) / self.name / "cluster.json").read_text())["port"]
                yield f"https://127.0.0.1:{port}", token
            finally:
                subprocess.run([*timonel, "down", *common], check=True, env=environment, capture_output=True)
