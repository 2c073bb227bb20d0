"""The collector of cycles: off while a process starts, seldom and never through what was imported afterwards.

What starts makes many objects that stay, and imports make few cycles; trees of objects have none and go by themselves.
"""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 20, 50)  # objects, and rounds of the younger generation


def hold() -> None:
    """Until `settle`; a command that ends soon never needs it."""
    gc.disable()


def settle() -> None:
    """For a process that lives on: it has all that it will not part with."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
