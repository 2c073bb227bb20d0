"""Bodies that are alike but for the name are completed once.

Pods are made in numbers from a template, so that the same body comes again and again under another name. What one
became, pruned and defaulted, is kept as text, and the next one begins as a copy of it. Nothing here changes an answer:
what was refused or earned a warning is not kept, and only types whose defaults do not ask for the name take part
(`ResourceType.remembering`).
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from timonel.objects.meta import Object

REMEMBERED = 128  # bodies; then everything is forgotten
LONGEST = 16 * 1024  # bytes of one that is worth remembering
ANY_NAME = "\0"


class Alike:
    """Completed bodies of one type in one version."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def completed(self, tree: Object, warnings: list[str], complete: Callable[[], Object]) -> Object:
        """What `complete` makes of the tree. It may change the tree, and adds to the warnings."""
        metadata = tree.get("metadata")
        if type(metadata) is not dict or "uid" in metadata:  # what has been stored is like nothing else
            return complete()
        name = metadata.get("name")
        text = _text(tree, metadata)
        found = self._known.get(text) if text is not None else None
        if found is None:
            given = len(warnings)
            obj = complete()
            if text is not None and len(warnings) == given:
                self._remember(text, obj)
            return obj
        copy: Object = orjson.loads(found)
        if name:
            copy["metadata"]["name"] = name
        return copy

    def _remember(self, text: bytes, obj: Object) -> None:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[text] = orjson.dumps(obj)


def _text(tree: Object, metadata: Object) -> bytes | None:
    """What the outcome depends on; None for what is not worth it."""
    name = metadata.get("name")
    if name and type(name) is str:
        metadata["name"] = ANY_NAME  # stays where it is: the order of members is the client's
    try:
        text = orjson.dumps(tree)
    except TypeError:  # numbers that no JSON of ours has
        return None
    finally:
        if name:
            metadata["name"] = name
    return text if len(text) <= LONGEST else None
