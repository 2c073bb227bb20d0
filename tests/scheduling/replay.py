"""Replays decisions recorded from upstream's scheduler against ours: python -m tests.scheduling.replay [--only RE]"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT.parent / "shared" / "scheduling"

ROW = re.compile(r"^(\S+): (\d+) of (\d+) as upstream", re.MULTILINE)


@dataclass(frozen=True)
class Count:
    good: int
    total: int


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """An API server and a scheduler, in memory: (URL, token)."""
    token = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="timonel-scheduling-") as folder:
        common = ["--name", "scheduling", "--data-dir", folder]
        timonel = [sys.executable, "-m", "timonel"]
        options = [
            "--components",
            "api,scheduler",
            "--store",
            "memory",
            "--port",
            "0",
            "--token",
            token,
            "--quiet",
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        subprocess.run([*timonel, "up", *common, *options], check=True, env=environment)
        try:
            port = json.loads((Path(folder) / "scheduling" / "cluster.json").read_text())["port"]
            yield f"https://127.0.0.1:{port}", token
        finally:
            subprocess.run([*timonel, "down", *common], check=True, env=environment, capture_output=True)


def replay(only: str = "", show: int = 3) -> tuple[dict[str, Count], str]:
    """The counts per file, and what the tool printed."""
    with server() as (url, token):
        done = subprocess.run(
            [
                sys.executable, str(RECORDED / "scheduling.py"), "check",
                "--server", url, "--token", token, "--only", only, "--show", str(show),
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    counts = {file: Count(int(good), int(total)) for file, good, total in ROW.findall(done.stdout)}
    return counts, done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases, as TOPIC/NAME")
    parser.add_argument("--show", type=int, default=5, help="differences per file")
    arguments = parser.parse_args()
    counts, text = replay(arguments.only, arguments.show)
    print(text)
    sys.exit(any(count.good < count.total for count in counts.values()) or not counts)


if __name__ == "__main__":
    main()
