"""The one place where exceptions become `Status` answers, and where trees become bytes of the asked-for media type."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from timonel.machinery import errors
from timonel.machinery.errors import StatusError
from timonel.server.exchange import JSON, TEXT, Header, Response
from timonel.store.base import Corrupt, OutcomeUnknown, StoreError, Unreachable

logger = logging.getLogger(__name__)

YAML = b"application/yaml"
MOST_WARNED, LONGEST_WARNING = (
    4096,
    256,
)  # characters of all warnings, and of one when they are more than that
NOT_FOUND_PAGE = Response(404, b"404 page not found\n", TEXT, ((b"X-Content-Type-Options", b"nosniff"),))


def internal_error(message: str) -> errors.InternalError:
    """A failure inside a handler, as upstream's NewInternalError words it."""
    return errors.InternalError(f"Internal error occurred: {message}", causes=(errors.Cause("", message),))


def from_exception(error: BaseException) -> StatusError:
    if isinstance(error, StatusError):
        return error
    if isinstance(error, OutcomeUnknown):
        return errors.Timeout(str(error))
    if isinstance(error, Unreachable):
        # Without Retry-After: clients obey it ten times before they tell anybody what is wrong.
        return errors.ServiceUnavailable(f"the store cannot serve now: {error}")
    if isinstance(error, Corrupt):
        return errors.InternalError(f"Internal error occurred: {error}")
    if isinstance(error, StoreError):
        return errors.InternalError(f"Internal error occurred: {error!r}")
    logger.error("Handler failed", exc_info=error)
    return internal_error(repr(error))


def status_response(
    error: StatusError, *, as_yaml: bool = False, headers: tuple[Header, ...] = ()
) -> Response:
    if error.retry_after:
        headers += ((b"Retry-After", str(error.retry_after).encode()),)
    return encoded(error.status_code, error.to_status(), as_yaml=as_yaml, headers=headers)


def encoded(status: int, tree: Any, *, as_yaml: bool = False, headers: tuple[Header, ...] = ()) -> Response:
    if as_yaml:
        return Response(status, to_yaml(tree), YAML, headers)
    return Response(status, orjson.dumps(tree, option=orjson.OPT_APPEND_NEWLINE), JSON, headers)


def to_yaml(tree: Any) -> bytes:
    import yaml  # here: most servers never answer YAML, and it is slow to import

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(tree, Dumper=dumper, sort_keys=True, default_flow_style=False, allow_unicode=True)
    return text.encode()


def warning_headers(warnings: list[str]) -> tuple[Header, ...]:
    """One Warning header each, without repetitions. Upstream: apiserver/pkg/endpoints/filters/warning.go."""
    texts = [text for text in dict.fromkeys(warnings) if text]
    if sum(map(len, texts)) > MOST_WARNED:
        texts = _shortened(texts)
    return tuple((b"Warning", b'299 - "%b"' % quoted(text)) for text in texts)


def _shortened(texts: list[str]) -> list[str]:
    """As much as headers may carry: the beginning of each, and not all of them."""
    found, total = [], 0
    for text in texts:
        total += min(len(text), LONGEST_WARNING)
        if total > MOST_WARNED:
            break
        found.append(text[:LONGEST_WARNING])
    return found


def quoted(text: str) -> bytes:
    """The text of a quoted string of RFC 7234; what HTTP headers cannot carry is dropped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(c for c in escaped if c.isprintable() or c == " ").encode()
