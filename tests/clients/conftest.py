"""One simulated cluster per module, started as a user starts it; each module is one client of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def timonel(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "timonel", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        pytest.fail(
            f"timonel {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


@pytest.fixture(scope="module")
def kubeconfig(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Of the module's cluster. KUBECONFIG names it too, and HOME holds nothing of other clusters."""
    name = request.module.__name__.rpartition("test_")[2].replace("_", "-")
    with tempfile.TemporaryDirectory(prefix="tmn-") as folder:
        where = ["--name", name, "--data-dir", folder]
        timonel("up", *where, "--runtime", "simulated", "--port", "0")
        found = Path(timonel("kubeconfig", *where, "--path").strip())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(found))
            patch.setenv("HOME", folder)
            patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
            try:
                yield found
            finally:
                timonel("down", *where, "--delete", "--yes")
        assert os.listdir(folder) == [] or not (Path(folder) / name).exists()
