"""Hands rules to the kernel of this process's network namespace.

Text goes through nft, elements straight through netlink: nft would read all rules before each change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from timonel.aio.threads import Threads
from timonel.netfilter import messages
from timonel.netfilter.elements import Changes
from timonel.netfilter.watch import TableWatch, listen

R = TypeVar("R")


class NftError(Exception):
    """The kernel refused a transaction, or nft is not there; nothing of it was applied."""


class Kernel:
    """The owner calls `close`."""

    def __init__(self, *, binary: str = "nft") -> None:
        self._binary = binary
        self._threads = Threads("nftables")
        self._watches: list[TableWatch] = []

    def watch(self, table: str, gone: Callable[[], None]) -> None:
        """From now on, `gone` is called when somebody removes a table of this name."""
        self._watches.append(TableWatch(listen(), table, gone))

    def close(self) -> None:
        for watch in self._watches:
            watch.close()
        self._threads.close()

    async def rules(self, text: str) -> None:
        """Apply nft's language as one transaction."""
        await run_nft(text, binary=self._binary)

    async def elements(self, table: str, changes: Changes) -> None:
        """Apply changes of elements as one transaction."""
        try:
            await self._threads.run(_send, table, changes)
        except OSError as exc:
            raise NftError(f"elements of table {table}: {exc.strerror or exc}") from exc

    async def blocking(self, work: Callable[[], R]) -> R:
        """Something else to do with the kernel, in turn."""
        try:
            return await self._threads.run(work)
        except OSError as exc:
            raise NftError(exc.strerror or str(exc)) from exc


def _send(table: str, changes: Changes) -> None:
    messages.send(messages.transaction(table, changes))


async def run_nft(text: str, *, binary: str = "nft") -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            binary,
            "-f",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except FileNotFoundError as exc:
        raise NftError(f"{binary} is not installed (Debian: apt-get install nftables)") from exc
    output, _ = await process.communicate(text.encode())
    if process.returncode:
        raise NftError(output.decode(errors="replace").strip()[:2000])
