"""Custom resources by their schemas: prune, default, validate. Compiled once per version of a definition.

`formats`, `numbers` and `schema` are the words; `pruning`, `defaulting`, `checks` (is it valid?), `findings` (what is
wrong?), `lists`, `embedded` and `rules` (CEL) each compile one concern; `Structural` puts them together.
"""

from __future__ import annotations

from timonel.machinery.structural.embedded import Malformed, Metadata
from timonel.machinery.structural.structural import Structural

__all__ = ["Malformed", "Metadata", "Structural"]
