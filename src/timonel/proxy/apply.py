"""Hands a transaction to nft. The only place of the proxy that touches the kernel."""

from __future__ import annotations

import asyncio


class NftError(Exception):
    """nft refused a transaction, or is not there; nothing of it was applied."""


async def run_nft(text: str, *, binary: str = "nft") -> None:
    """Apply `text` as one transaction in the network namespace of this process."""
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
