"""YAML of Stages and of what their templates give; times stay texts, as in JSON. Imported by whoever reads some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml import YAMLError as YAMLError


class _Loader(yaml.SafeLoader):
    """Times stay texts, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def one(text: str) -> Any:
    """Raises YAMLError."""
    return yaml.load(text, _Loader)


def every(text: str) -> Iterator[Any]:
    """Raises YAMLError, on the way."""
    yield from yaml.load_all(text, _Loader)
