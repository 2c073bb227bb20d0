"""Schemathesis against a server of our own, group by group, by the OpenAPI documents that it publishes.

A group passes when no answer is a server error. `--only REGEX` takes some of the groups.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.target import Target, target

# What takes a connection over, or is a watch, never ends by itself.
LEFT_OUT = r"/(proxy|exec|attach|portforward|log|watch)(/|$)"


def command(document: Path, port: int, examples: int) -> list[str]:
    found = [str(Path(sys.executable).with_name("schemathesis")), "run", str(document)]
    found += ["--url", f"http://127.0.0.1:{port}", "-H", "Authorization: Bearer secret", "--no-color"]
    found += ["--checks", "not_a_server_error", "--phases", "fuzzing", "--mode", "all"]
    return [
        *found,
        "--max-examples",
        str(examples),
        "--request-timeout",
        "5",
        "--exclude-path-regex",
        LEFT_OUT,
    ]


def failures(report: str) -> str:
    """The part of a report that tells of server errors."""
    found = re.search(r"^=+ FAILURES =+$(.*?)^=+ ", report, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else ""


def documents(aim: Target) -> list[str]:
    paths: dict[str, object] = aim.send("GET", "/openapi/v3", None, {}).tree["paths"]
    return sorted(paths)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=3, help="requests per operation")
    parser.add_argument("--only", default="", help="regular expression on apis/GROUP/VERSION")
    arguments = parser.parse_args()
    failed = 0
    with target() as aim, tempfile.TemporaryDirectory() as folder:
        for group in documents(aim):
            if not re.search(arguments.only, group):
                continue
            document = Path(folder, "openapi.json")
            document.write_text(json.dumps(aim.send("GET", f"/openapi/v3/{group}", None, {}).tree))
            run = subprocess.run(
                command(document, aim.port, arguments.examples),
                capture_output=True, text=True, cwd=folder, check=False,
            )  # fmt: skip
            wrong = failures(run.stdout)
            failed += bool(wrong)
            print(f"{group}: {'server errors' if wrong else 'ok'}\n{wrong}".rstrip(), flush=True)
    return 1 if failed or aim.errors else 0


if __name__ == "__main__":
    sys.exit(main())
