"""The plain bound on requests at a time, for servers whose flow control is off: one for reads, one for writes.

Upstream: apiserver/pkg/server/filters/maxinflight.go.
"""

from __future__ import annotations

from timonel.server.chain.info import Info
from timonel.server.request import User

READING = frozenset(("get", "list", "watch"))
PRIVILEGED = "system:masters"


class Full(Exception):
    """There are as many requests at work as there may be."""


class Inflight:
    """`limits` of 0 mean: none."""

    def __init__(self, reading: int, mutating: int) -> None:
        self.limits = {False: reading, True: mutating}  # by whether it mutates
        self.at_work = {False: 0, True: 0}

    def enter(self, user: User, info: Info) -> bool:
        """The key to leave with. Raises Full, but not for those who may have to mend things."""
        mutates = info.verb not in READING
        limit = self.limits[mutates]
        if limit and self.at_work[mutates] >= limit and PRIVILEGED not in user.groups:
            raise Full()
        self.at_work[mutates] += 1
        return mutates

    def leave(self, key: bool) -> None:
        self.at_work[key] -= 1
