"""Values that are a number or a percentage (`maxSurge: 25%`).

Upstream: apimachinery/pkg/util/intstr/intstr.go.
"""

from __future__ import annotations

import re

_is_percent = re.compile(r"([+-]?[0-9]+)%").fullmatch


class IntOrStringError(ValueError):
    """The text is no percentage; the message is upstream's."""


def percent_of(value: int | str) -> int | None:
    """The number before a `%`; None for a plain number."""
    if isinstance(value, int):
        return None
    match = _is_percent(value)
    if match is None:
        if not value.endswith("%"):
            raise IntOrStringError("invalid value for IntOrString: invalid type: string is not a percentage")
        raise IntOrStringError(f'invalid value for IntOrString: invalid value "{value}"')
    return int(match[1])


def scaled(value: int | str, total: int, round_up: bool) -> int:
    """The number itself, or that percentage of `total`."""
    percent = percent_of(value)
    if percent is None:
        return int(value)
    product = percent * total
    if round_up:
        return -(-product // 100)
    return product // 100
