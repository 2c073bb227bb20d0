"""The application of `scripts/demo` on simulated nodes, as it starts without root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_is_ready_on_simulated_nodes_and_says_so(tmp_path: Path) -> None:
    timonel = Path(sys.executable).with_name("timonel")
    where = ["--name", "demo", "--data-dir", str(tmp_path)]
    subprocess.run([timonel, "up", *where, "--runtime", "simulated", "--port", "0", "--quiet"], check=True)
    try:
        environment = {
            **os.environ,
            "KUBECONFIG": str(tmp_path / "demo" / "admin.kubeconfig"),
            "TIMONEL_DATA_DIR": str(tmp_path),
        }
        command = [
            sys.executable,
            str(ROOT / "tools" / "demo.py"),
            "--name",
            "demo",
            "--runtime",
            "simulated",
        ]
        done = subprocess.run(
            [*command, "--timonel", str(timonel)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    finally:
        subprocess.run([timonel, "down", *where, "--delete", "--yes"], check=True, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert "the nodes are simulated" in done.stdout
