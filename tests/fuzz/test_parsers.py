"""Whatever a parser is given, it returns or raises the error that it documents, in bounded time."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.strategies import odd
from tests.server.starting import SCHEME
from timonel.machinery import cron, errors, names, selectors
from timonel.machinery.codec import DecodeError
from timonel.machinery.patch.json import PatchFailed, PatchMalformed, json_patch
from timonel.machinery.patch.merge import merge_patch
from timonel.machinery.protobuf.decode import unwrap
from timonel.machinery.quantity import Quantity, QuantityError
from timonel.server import bodytext, negotiate, options
from timonel.server.auth import jwt
from timonel.server.chain.info import parse
from timonel.server.verbs import read

EXAMPLES = int(os.environ.get("TIMONEL_FUZZ", "600"))
fuzzed = settings(
    max_examples=EXAMPLES, deadline=2000, suppress_health_check=list(HealthCheck), print_blob=True
)

# text in the alphabets of what is parsed
words = st.text(
    st.sampled_from("abzAZ019 .,=!()-_/:*+%$#\"'[]{}<>|\\\t\n\0é😀") | st.characters(codec="utf-8"),
    max_size=40,
)
tokens = st.lists(
    st.sampled_from(
        ("a", "in", "notin", "(", ")", ",", "=", "==", "!=", "!", "<", ">", "1", "*/5", "@every", "1h", "TZ=UTC", " ",
         "1-5", "MON", "0", "1e3", "Ki", "m", ".", "-", "eyJ", "eyJhbGciOiJFUzI1NiJ9", "e30", "as=Table", ";", "q=0.1",
         "application/json", "/api", "/apis", "/v1", "/namespaces", "/pods", "%2F", "%", "\x00")
    ),
    max_size=12,
).map("".join)  # fmt: skip
texts = words | tokens

KEYS = jwt.Keys(jwt.new_key())
PARSERS: list[tuple[Callable[[str], Any], tuple[type[Exception], ...]]] = [
    (selectors.parse_label_selector, (selectors.SelectorError,)),
    (selectors.parse_field_selector, (selectors.SelectorError,)),
    (Quantity.parse, (QuantityError,)),
    (cron.parse, (cron.CronError,)),
    (names.parse_ip, ()),
    (names.parse_cidr, ()),
    (options.unsigned, (ValueError,)),
    (KEYS.verify, (jwt.Malformed,)),
    (jwt.peek, (jwt.Malformed,)),
    (negotiate.negotiate, (errors.NotAcceptable,)),
    (lambda text: parse("GET", text.partition("?")[0], text.partition("?")[2]), (errors.StatusError,)),
    (lambda text: read.decode_token(text, "/registry/pods/"), (errors.BadRequest,)),
]


@pytest.mark.parametrize(("parser", "documented"), PARSERS, ids=lambda p: getattr(p, "__qualname__", None))
@fuzzed
@given(text=texts)
def test_a_text_is_read_or_refused(
    parser: Callable[[str], Any], documented: tuple[type[Exception], ...], text: str
) -> None:
    with suppress(*documented):
        parser(text)


@contextmanager
def refused_politely() -> Iterator[None]:
    """An error of the API passes if it blames the client."""
    try:
        yield
    except errors.StatusError as error:
        if error.status_code >= 500:
            raise


json_like = st.recursive(
    odd,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
noise = st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass"))


@fuzzed
@given(raw=noise, is_yaml=st.booleans())
def test_a_body_is_read_or_refused(raw: bytes, is_yaml: bool) -> None:
    with suppress(errors.BadRequest):
        bodytext.read(raw, is_yaml=is_yaml, find_duplicates=True)


@fuzzed
@given(document=json_like, patch=json_like)
def test_a_merge_patch_always_fits(document: Any, patch: Any) -> None:
    once = merge_patch(copy.deepcopy(document), copy.deepcopy(patch))
    assert merge_patch(copy.deepcopy(once), copy.deepcopy(patch)) == once


@fuzzed
@given(document=json_like, operations=json_like)
def test_json_patches_fit_or_are_refused(document: Any, operations: Any) -> None:
    before = copy.deepcopy(document)
    with suppress(PatchFailed, PatchMalformed):
        json_patch(document, operations)
    assert document == before or document != document  # NaN is no one's equal


POD = SCHEME.codec(next(t for t in SCHEME.resources if t.kind == "Pod"))


@fuzzed
@given(tree=json_like)
def test_a_tree_is_a_pod_or_refused(tree: Any) -> None:
    try:
        once, _ = POD.normalize(copy.deepcopy(tree))
    except DecodeError:
        return
    assert POD.normalize(copy.deepcopy(once))[0] == once


@fuzzed
@given(raw=st.binary(max_size=300), wrapped=st.booleans())
def test_protobuf_is_read_or_refused(raw: bytes, wrapped: bool) -> None:
    head = b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12" + bytes([len(raw) % 128]) if wrapped else b""
    with suppress(DecodeError):
        unwrap(head + raw)
        POD.from_protobuf(head + raw)


@fuzzed
@given(live=json_like, patch=json_like)
def test_a_strategic_merge_patch_fits_or_is_refused(live: Any, patch: Any) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c"}]},
    }
    change = {"spec": patch, "metadata": live} if isinstance(patch, dict) else {"spec": {"containers": patch}}
    with refused_politely():
        POD.strategic_merge(document, change)


@fuzzed
@given(config=json_like, place=st.sampled_from(("spec", "metadata", "status", "bogus")))
def test_an_apply_fits_or_is_refused(config: Any, place: str) -> None:
    pod, _ = POD.normalize({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, place: config}
    with refused_politely():
        POD.apply(pod, applied, manager="m", force=True, now=0.0)
