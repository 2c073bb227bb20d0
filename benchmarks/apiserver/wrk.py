"""Load by wrk: one thread, closed loops over TLS connections, and what it says of them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """`@@` in path and body is a number below `among` (0: a new one each time), `%%` in the body always a new one."""

    path: str
    method: str = "GET"
    body: str = ""
    content_type: str = "application/json"
    connections: int = 16
    among: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    per_second: float
    p50: float  # milliseconds
    p99: float
    bytes_per_second: float
    answers: int
    command: str


def missing() -> str:
    return "" if shutil.which("wrk") else "wrk is not installed"


def run(load: Load, *, port: int, token: str, seconds: float) -> Report:
    command = [
        "wrk", "-t1", f"-c{load.connections}", f"-d{seconds:.0f}s", "--timeout", "20s", "-s", str(SCRIPT),
        "-H", f"Authorization: Bearer {token}", f"https://127.0.0.1:{port}{load.path}",
    ]  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".json") as body:
        settings = {"METHOD": load.method, "FIRST": str(load.first), "AMONG": str(load.among)}
        if load.body:
            body.write(load.body)
            body.flush()
            settings |= {"BODY": body.name, "TYPE": load.content_type}
        done = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, timeout=seconds + 60
        )
    line = next((line for line in done.stdout.splitlines() if line.startswith("REPORT ")), "")
    if done.returncode or not line:
        raise RuntimeError(f"wrk: {(done.stderr or done.stdout).strip()}")
    said = json.loads(line.removeprefix("REPORT "))
    if said["failures"] or not said["answers"]:
        raise RuntimeError(f"{said['failures']} of {said['answers']} requests to {load.path} failed")
    seconds = said["seconds"]
    return Report(
        per_second=said["answers"] / seconds,
        p50=said["p50"],
        p99=said["p99"],
        bytes_per_second=said["bytes"] / seconds,
        answers=said["answers"],
        command=_shown(command, load),
    )


def _shown(command: list[str], load: Load) -> str:
    """As one would type it; the port and the path of the script are those of any run."""
    text = shlex.join(command).replace(str(SCRIPT), f"benchmarks/apiserver/{SCRIPT.name}")
    if not load.body:
        return text
    return f"METHOD={load.method} TYPE={load.content_type} BODY=… AMONG={load.among} {text}"
