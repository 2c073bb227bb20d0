"""What to say to somebody who has misspelt the name of a flag."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def hint(name: str, known: Collection[str]) -> str:
    """What is like it; all there are only where nothing is."""
    close = difflib.get_close_matches(name, known, n=3)
    close += sorted(flag for flag in known if len(name) > 3 and name in flag and flag not in close)[:5]
    if close:
        return f"Did you mean {' or '.join(f'--{flag}' for flag in close)}?"
    return f"There are: {', '.join(sorted(known))}"


def beginning(begun: str, known: Collection[str]) -> list[str]:
    """For the shell: the names that go on so."""
    return sorted(f"{flag}=" for flag in known if flag.startswith(begun.lstrip("-")))
