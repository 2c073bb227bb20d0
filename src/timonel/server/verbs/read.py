"""get and list, from the cache; lists of the past from the store.

A continue token is upstream's: base64 of `{"v":"meta.k8s.io/v1","rv":REVISION,"start":NEXT KEY}`, where revision -1
stands for "whatever is newest", which an expired token is turned into.

Upstream: apiserver/pkg/storage/continue.go, apiserver/pkg/storage/cacher/cacher.go.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterable
from typing import Any

import orjson

from timonel.machinery import errors
from timonel.machinery.errors import Cause
from timonel.server.options import ListOptions, list_options, unsigned
from timonel.server.registry import Endpoint
from timonel.server.verbs.call import Call, Core, ListResult, Result
from timonel.server.verbs.selection import predicate
from timonel.server.watchcache import Entry, Matches
from timonel.store.base import Compacted, FutureRevision

TOKEN_VERSION = "meta.k8s.io/v1"
AT_ONCE = 100  # stored objects that are read, and maybe decrypted, in one turn of the loop
FRESH = -1  # the revision of a token that continues at whatever is newest
EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)  # fmt: skip


def get_now(call: Call) -> Result | None:
    """From the cache, if it is there yet."""
    endpoint, info = call.endpoint, call.info
    if not endpoint.cache.loaded or endpoint.computed is not None:
        return None
    text = info.first("resourceVersion") if info.query else ""
    if endpoint.cache.others_write and not text:
        return None
    if text:
        try:
            if unsigned(text) > endpoint.cache.window_start:
                return None
        except ValueError as error:
            raise errors.BadRequest(str(error)) from error
    entry = endpoint.cache.entries.get(endpoint.kind.key(info.namespace, info.name))
    if entry is None:
        endpoint.cache.refuse_unreadable(endpoint.kind.key(info.namespace, info.name), exact=True)
        raise endpoint.not_found(info.name)
    return Result(200, entry)


async def get(core: Core, call: Call) -> Result:
    version = call.info.first("resourceVersion")
    registry, endpoint = core.registry, call.endpoint
    if endpoint.computed is not None:
        for entry in await endpoint.computed(endpoint.kind):
            if entry.name == call.name:
                return Result(200, entry)
        raise endpoint.not_found(call.name)
    if not version:
        return Result(200, await registry.read(endpoint, call.namespace, call.name))
    await registry.caches.ensure(endpoint.cache)
    try:
        await wait_for(core, unsigned(version))
    except ValueError as error:
        raise errors.BadRequest(str(error)) from error
    return Result(200, registry.cached(endpoint, call.namespace, call.name))


def scope(endpoint: Endpoint, namespace: str) -> str:
    """The prefix of the keys in a namespace, or in all of them."""
    return (
        f"{endpoint.kind.prefix}{namespace}/"
        if namespace and endpoint.rtype.namespaced
        else endpoint.kind.prefix
    )


def list_now(core: Core, call: Call) -> ListResult | None:
    """The newest state, whole: the common case, without waiting."""
    endpoint, info = call.endpoint, call.info
    cache = endpoint.cache
    if not cache.loaded or cache.others_write or cache.unreadable or endpoint.computed is not None:
        return None
    if info.query:
        options = list_options(info, watch=False)
        if options.continue_token or options.limit > 0 or options.resource_version:
            return None
        matches = predicate(endpoint, options.label_selector, options.field_selector)
    else:
        matches = None
    found = endpoint.cache.select(scope(endpoint, info.namespace))
    entries = list(found) if matches is None else [e for e in found if matches(e)]
    return ListResult(entries, core.registry.caches.version(endpoint.cache))


async def list_(core: Core, call: Call) -> ListResult:
    endpoint = call.endpoint
    options = list_options(call.info, watch=False)
    matches = predicate(endpoint, options.label_selector, options.field_selector)
    if endpoint.computed is not None:
        entries = await endpoint.computed(endpoint.kind)
        return ListResult([e for e in entries if matches is None or matches(e)], 0)
    await core.registry.caches.ensure(endpoint.cache)
    prefix = scope(endpoint, call.namespace)
    revision = _revision(options.resource_version)
    after = ""
    if options.continue_token:
        if options.resource_version not in ("", "0"):
            raise errors.BadRequest("specifying resource version is not allowed when using continue")
        revision, after = decode_token(options.continue_token, prefix)
        if revision == FRESH:
            await core.registry.caches.fresh()
            return _from_cache(core, endpoint, prefix, matches, options, after)
        return await _from_store(core, endpoint, prefix, matches, options, after, revision)
    if options.match == "Exact" or (options.limit > 0 and revision and not options.match):
        return await _from_store(core, endpoint, prefix, matches, options, after, revision)
    if not options.resource_version:
        await core.registry.caches.fresh()
    elif revision:
        await wait_for(core, revision)
    if options.resource_version == "0" and options.limit > 0:
        options = ListOptions(options.label_selector, options.field_selector)  # as upstream's cache: whole
    return _from_cache(core, endpoint, prefix, matches, options, after)


def _revision(text: str) -> int:
    if not text:
        return 0
    try:
        return unsigned(text)
    except ValueError as error:
        raise errors.BadRequest(f"invalid resource version: {error}") from error


async def wait_for(core: Core, revision: int) -> None:
    """For a read that must not be older than `revision`: this one is written, or it is from another cluster."""
    caches = core.registry.caches
    if revision > caches.revision:
        await caches.fresh()
    if revision > caches.revision:
        raise too_large(revision, caches.revision)


def too_large(revision: int, current: int) -> errors.Timeout:
    return errors.Timeout(
        f"Timeout: Too large resource version: {revision}, current: {current}",
        causes=(Cause("ResourceVersionTooLarge", "Too large resource version"),),
        retry_after=1,
    )


def _from_cache(
    core: Core,
    endpoint: Endpoint,
    prefix: str,
    matches: Matches | None,
    options: ListOptions,
    after: str,
) -> ListResult:
    cache = endpoint.cache
    cache.refuse_unreadable(prefix)
    revision = core.registry.caches.version(cache)
    if matches is None and options.limit > 0:  # what is left need not be looked at to be counted
        low, high = cache.range(prefix, after)
        end = min(low + options.limit, high)
        entries = [cache.entries[key] for key in cache.keys[low:end]]
        if end == high:
            return ListResult(entries, revision)
        token = encode_token(revision, entries[-1].key[len(prefix) :] + "\0")
        return ListResult(entries, revision, token, high - end)
    return _page(cache.select(prefix, after), matches, options.limit, revision, prefix)


def _page(
    candidates: Iterable[Entry], matches: Matches | None, limit: int, revision: int, prefix: str
) -> ListResult:
    if limit <= 0:
        entries = [e for e in candidates if matches is None or matches(e)]
        return ListResult(entries, revision)
    rest = iter(candidates)
    entries = list(itertools.islice((e for e in rest if matches is None or matches(e)), limit))
    left = sum(1 for e in rest if matches is None or matches(e))
    if not left:
        return ListResult(entries, revision)
    token = encode_token(revision, entries[-1].key[len(prefix) :] + "\0")
    return ListResult(entries, revision, token, left if matches is None else None)


async def _from_store(
    core: Core,
    endpoint: Endpoint,
    prefix: str,
    matches: Matches | None,
    options: ListOptions,
    after: str,
    revision: int,
) -> ListResult:
    try:
        # What is left need not be looked at to be counted.
        limit = options.limit if matches is None else 0
        page = await core.registry.store.list(prefix, limit=limit, after=after, revision=revision)
    except FutureRevision as error:
        raise too_large(revision, core.registry.caches.revision) from error
    except Compacted as error:
        if not options.continue_token:
            raise errors.Expired("The resourceVersion for the provided list is too old.") from error
        token = encode_token(FRESH, after[len(prefix) :] + "\0")
        raise errors.Expired(EXPIRED, metadata={"continue": token}) from error
    records = await endpoint.kind.prepare(page.records)
    entries: list[Entry] = []
    for start in range(0, len(records), AT_ONCE):
        if start:
            await core.clock.sleep(0)
        entries += [endpoint.kind.entry(record) for record in records[start : start + AT_ONCE]]
    if limit > 0 and page.remaining:
        token = encode_token(page.revision, entries[-1].key[len(prefix) :] + "\0")
        return ListResult(entries, page.revision, token, page.remaining)
    return _page(entries, matches, options.limit, page.revision, prefix)


def encode_token(revision: int, start: str) -> str:
    text = orjson.dumps({"v": TOKEN_VERSION, "rv": revision, "start": start})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode_token(token: str, prefix: str) -> tuple[int, str]:
    """The revision, and the key that the page begins after."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        tree: dict[str, Any] = orjson.loads(raw)
    except (binascii.Error, ValueError) as error:
        raise errors.BadRequest(
            "invalid continue token: continue key is not valid: cannot decode it"
        ) from error
    if not isinstance(tree, dict):
        raise errors.BadRequest("invalid continue token: continue key is not valid: unmarshal")
    problem = ""
    if tree.get("v") != TOKEN_VERSION:
        problem = f"server does not recognize this encoded version {tree.get('v', '')}"
    elif not tree.get("rv"):
        problem = "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
    elif not tree.get("start"):
        problem = "encoded start key empty (version meta.k8s.io/v1)"
    elif ".." in tree["start"].split("/"):
        problem = "continue key is not valid: "
    if problem:
        raise errors.BadRequest(f"invalid continue token: continue key is not valid: {problem}")
    start: str = tree["start"]
    return tree["rv"], prefix + start.removesuffix("\0")
