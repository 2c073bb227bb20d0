"""Bring what is stored under the key that writes now, and tell what is under which.

It works on the store, without a server too. Each record is compared and swapped: what somebody writes meanwhile is
under the new key anyway. Watchers see each object modified, as with upstream's rewriting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable

from timonel.server import layout
from timonel.server.atrest.ciphers import LEGACY, OURS, UPSTREAM
from timonel.server.atrest.configuration import Configuration
from timonel.server.atrest.vault import Sealer, Unreadable, Vault
from timonel.store.base import KeyMissing, Record, RevisionConflict, Store

PAGE = 500
PLAIN = "(not encrypted)"
UNNAMED = "aesgcm/(unnamed)"  # the key of versions that had but one


def resources_of(configuration: Configuration, known: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(plural, group) of what the configuration names, patterns among those that are known."""
    named = (name.partition(".") for rule in configuration.rules for name in rule.resources)
    found = {(plural, group) for plural, _, group in named if plural != "*"}
    found |= {each for each in known if configuration.rule_of(*each) is not None}
    return sorted(found)


async def reencrypt(
    store: Store, vault: Vault, plural: str, group: str, *, limit: int = 0
) -> tuple[int, list[str]]:
    """How many were written anew, at most so many, and the keys of those that cannot be read."""
    sealer = vault.sealer(plural, group)
    written, unreadable = 0, list[str]()
    async for record in _records(store, plural, group):
        if sealer.is_current(record.value):
            continue
        try:
            written += await _rewrite(store, sealer, record)
        except Unreadable:
            unreadable.append(record.key)
        if limit and written >= limit:
            break
    return written, unreadable


async def _rewrite(store: Store, sealer: Sealer, record: Record) -> int:
    value = sealer.sealed(record.key, sealer.opened(record.key, record.value))
    try:
        await store.update(record.key, value, expected=record.modified)
    except (RevisionConflict, KeyMissing):
        return 0
    return 1


async def usage(store: Store, plural: str, group: str) -> Counter[str]:
    """How many objects of a resource are under which key, named PROVIDER/KEY."""
    found: Counter[str] = Counter()
    async for record in _records(store, plural, group):
        found[key_of(record.value)] += 1
    return found


def key_of(value: bytes) -> str:
    if value.startswith(LEGACY):
        return UNNAMED
    for mark in (UPSTREAM, OURS):
        if value.startswith(mark):
            kind, _, name, _ = (*value[len(mark) : len(mark) + 300].split(b":", 3), b"", b"", b"")[:4]
            return f"{kind.decode(errors='replace')}/{name.decode(errors='replace')}"
    return PLAIN


async def _records(store: Store, plural: str, group: str) -> AsyncIterator[Record]:
    prefix, after = layout.prefix(plural, group), ""
    while True:
        page = await store.list(prefix, limit=PAGE, after=after)
        for record in page.records:
            yield record
        if not page.remaining:
            return
        after = page.records[-1].key
