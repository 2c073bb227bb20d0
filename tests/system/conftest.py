"""Real clusters for the tests of this folder. They need root and the Debian packages that scripts/test installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class RunningCluster:
    """A cluster and how to speak to it. Every call fails the test when its command fails, with what was printed."""

    name: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KUBECONFIG": str(self.folder / self.name / "admin.kubeconfig"),
        }

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / self.name / "cluster.json").read_text())
        return found

    def timonel(self, *arguments: str, check: bool = True) -> str:
        where = ["--name", self.name, "--data-dir", str(self.folder)]
        return self._run([sys.executable, "-m", "timonel", *arguments, *where], check=check)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True, timeout: float = 240) -> str:
        return self._run(["kubectl", *arguments], stdin=stdin, check=check, timeout=timeout)

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A kubectl in the background, its output to be read line by line."""
        return subprocess.Popen(
            ["kubectl", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def _run(self, command: list[str], *, stdin: str = "", check: bool, timeout: float = 240) -> str:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=timeout,
            check=False,
        )
        output = done.stdout + done.stderr
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{output}")
        return output


@pytest.fixture(scope="session", autouse=True)
def prerequisites() -> None:
    if os.geteuid() != 0:
        pytest.fail("the tests of tests/system need root: real containers")
    for program in ("containerd", "nft", "catatonit", "docker-registry", "skopeo", "kubectl"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not installed; scripts/test installs it")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[RunningCluster]:
    """One real cluster for a module, named after it."""
    name = request.module.__name__.rpartition("_")[2]
    with tempfile.TemporaryDirectory(prefix="tmn-") as folder:
        found = RunningCluster(name, Path(folder))
        found.timonel("up", "--runtime", "containerd", "--port", "0")
        try:
            yield found
        finally:
            found.timonel("down")
            if request.session.testsfailed:
                patterns = ("*/*.log", "*/nodes/*/*.log", "*/nodes/*/containerd/*.log")
                for log in sorted(log for pattern in patterns for log in Path(folder).glob(pattern)):
                    text = log.read_text(errors="replace")[-6000:]
                    if text:
                        print(f"\n---- {log.relative_to(folder)}\n{text}")
