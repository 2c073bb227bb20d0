"""Where the recorded answers and the course's manifests are: beside the repository, for developers and in CI.

A source tree without them runs every test that does not need them. CI must have them: there, a test that would be left
out fails.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def beside(name: str) -> Path:
    """The file or folder of that name. Raises FileNotFoundError in CI where it is missing."""
    path = SHARED / name
    if not path.exists() and os.environ.get("CI"):
        raise FileNotFoundError(f"{name} is missing beside the repository: CI runs the tests that need it")
    return path


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"{path.name} is not beside the repository")
